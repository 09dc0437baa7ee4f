"""The certificate that a supervisor serves with: read, and tried once before anybody connects."""

import logging
import ssl
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .domain.config import ServerConfig

MOST_BYTES = 1 << 20
log = logging.getLogger(__name__)


class CertificateError(Exception):
    """A certificate that cannot be served with; its text says why."""


@dataclass(frozen=True)
class Certificate:
    """A certificate with its key, and who may call."""

    chain: bytes
    """PEM: the certificate, and those that signed it."""
    key: bytes = field(repr=False)
    client_ca: bytes | None
    """PEM: a client needs a certificate that is one of these or signed by one; None: a client needs none."""
    name: str
    """A host that it is for."""


def read_certificate(server: ServerConfig) -> Certificate:
    """The certificate that a configuration names. Blocks. Raises CertificateError."""
    chain = _read(server.tls_cert)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        own.load_cert_chain(server.tls_cert, server.tls_key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        text = f"{server.tls_cert} and {server.tls_key} are no certificate and its key without a password: {error}"
        raise CertificateError(text) from error
    client_ca = _read(server.tls_client_ca) if server.tls_client_ca else None
    if client_ca is not None:
        _trusting(server.tls_client_ca, client_ca)
    names = _names(own, _trusting(server.tls_cert, chain), server.tls_cert)
    if _others_read(server.tls_key):
        log.warning("%s, the key of the certificate, can be read by other users: `chmod 600` closes it", server.tls_key)
    return Certificate(chain, _read(server.tls_key), client_ca, names[0])


def _others_read(file: str) -> bool:
    """Whether the mode lets users read it that are neither its owner nor, as for keys of the system, of its group."""
    return sys.platform != "win32" and bool(Path(file).stat().st_mode & stat.S_IROTH)


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MOST_BYTES)
    except OSError as error:
        raise CertificateError(f"{file}: {error.strerror}") from error


def _no_password() -> str:
    raise ValueError("the key has a password")


def _trusting(file: str, roots: bytes) -> ssl.SSLContext:
    """What a client that trusts these has."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(cadata=roots.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise CertificateError(f"{file} has no certificate in PEM: {error}") from error
    return client


def _names(own: ssl.SSLContext, client: ssl.SSLContext, file: str) -> Sequence[str]:
    """The hosts that a certificate is for, names before addresses, as a client sees them that connects to it.

    The client is in this process, and nothing is sent: the standard library reads a certificate in no other way.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = own.wrap_bio(to_server, to_client, server_side=True)
    calling = client.wrap_bio(to_client, to_server)
    try:
        for side in (calling, serving, calling):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error
        raise CertificateError(f"{file} would be refused by every client: {why}") from error
    seen: Mapping[str, Any] = calling.getpeercert() or {}
    pairs: Sequence[tuple[str, str]] = seen.get("subjectAltName", ())
    names = [name for kind, name in pairs if kind == "DNS" and "*" not in name]
    addresses = [name for kind, name in pairs if kind == "IP Address"]
    if not names + addresses:
        raise CertificateError(f"{file} names no host (subjectAltName); `vramd cert` makes one that does")
    return names + addresses
