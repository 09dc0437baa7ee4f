"""Where a supervisor listens: taken, or refused in words that say why."""

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not listened on
"""Listened on, every address of the machine; clients of this one are told one that they can call."""


class AddressError(Exception):
    """An address that cannot be listened on; its text says why, and what to do."""


@dataclass(frozen=True)
class Listening:
    address: str
    """host:port, for clients of this machine."""
    real: str
    """host:port, as it is listened on."""
    is_open: bool
    """Other machines may reach it."""


def listen(
    server: Any, host: str, port: int, credentials: object = None, *, insecure_network: bool = False
) -> Listening:
    """Takes the address for a server of gRPC. Raises AddressError.

    Without credentials for TLS an address that other machines reach is refused, unless `insecure_network`.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    found = _try(bare, port)
    is_open = not all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)
    if is_open and not credentials and not insecure_network:
        raise AddressError(
            f"{_joined(bare, port)} is open to the network, and without TLS others read the token, prompts and answers "
            f"on their way: `vramd cert` makes a certificate for --tls-cert and --tls-key; or pass "
            "--insecure-network to listen without TLS"
        )
    try:
        taken = _add(server, _joined(bare, port), credentials)
    except RuntimeError:
        taken = 0
    if not taken:
        raise AddressError(f"{_joined(bare, port)} cannot be listened on; --host and --port choose another address")
    return Listening(_joined(WILDCARDS.get(bare, bare), taken), _joined(bare, taken), is_open)


def _add(server: Any, address: str, credentials: object) -> int:
    return int(server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address))


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _try(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, each listened on for a moment: gRPC tells of none why it cannot be."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise AddressError(f"there is no host {host!r} to listen on: {why}; --host names an address") from None
    absent: list[OSError] = []
    for family, kind, _, _, address in found:
        try:
            with contextlib.closing(socket.socket(family, kind)) as probe:
                if sys.platform != "win32":  # where it would let two programs have one port
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise AddressError(_why(host, port, error)) from None
            absent.append(error)
    if len(absent) == len(found):
        raise AddressError(_why(host, port, absent[0]))
    return [str(address[0]) for *_, address in found]


def _why(host: str, port: int, error: OSError) -> str:
    at = _joined(host, port)
    if error.errno == errno.EADDRINUSE:
        return f"{at} is taken by another program: --port 0 picks a free one"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{at} may not be listened on by this user: --port 0 picks a free one"
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return f"{at} cannot be listened on: {host} is no address of this machine"
    return f"{at} cannot be listened on: {error.strerror}"


MOST_DESCRIPTORS = 8192
"""Files and connections that this process wants to have open at once."""

if sys.platform == "win32":

    def raise_limit() -> int:
        """Windows has no limit worth the name; returns how many are to be counted on."""
        return MOST_DESCRIPTORS

else:
    import resource

    def raise_limit() -> int:
        """Takes what the system allows beyond its default, which is small; returns how many there may be now."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if resource.RLIM_INFINITY != soft < MOST_DESCRIPTORS:
            wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(MOST_DESCRIPTORS, hard)
            with contextlib.suppress(OSError, ValueError):  # macOS has a lower bound, which it does not report
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return wanted
        return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
