"""Finds a running supervisor: by the address given, else by its runtime folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from vramd_proto.v1.rendezvous import Address, RuntimeDir, default_runtime_dir

from vramd.errors import InvalidRequest, SupervisorNotFound, TokenRefused

ADDRESS_VARIABLE = "VRAMD_ADDRESS"
TOKEN_VARIABLE = "VRAMD_TOKEN"  # noqa: S105  the name of the variable, no secret

PathLike = str | os.PathLike[str]

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  never bound here, only recognised
"""A supervisor on all interfaces is reached through the loopback one."""


@dataclass(frozen=True)
class Place:
    """Where a supervisor listens, and what it wants to see."""

    address: str
    """host:port."""
    token: str
    """Empty: none is known, and calls will be refused."""
    address_file: Path | None
    """Lies there as long as the supervisor lives; None if it was found by an address of another place."""


def find(
    runtime_dir: PathLike | None = None,
    address: str | None = None,
    token: str | None = None,
    token_file: PathLike | None = None,
) -> Place:
    """The supervisor at `address`, else in `runtime_dir`, else at VRAMD_ADDRESS, else in the default runtime folder.

    The token is the one given, else that in `token_file`, else that of the runtime folder, else VRAMD_TOKEN; an address
    that is not the runtime folder's own gets the folder's token never. Reads files only: nothing is called.

    Raises SupervisorNotFound, TokenRefused for a token file that cannot be read, InvalidRequest for an address
    without a port.
    """
    if address is None and runtime_dir is None:
        address = os.environ.get(ADDRESS_VARIABLE) or None
    folder = RuntimeDir(Path(runtime_dir) if runtime_dir is not None else default_runtime_dir())
    recorded = Address.read(folder.address_file)
    if address is None:
        if recorded is None:
            raise SupervisorNotFound("SUPERVISOR_NOT_FOUND", _how_to_start(folder.path, runtime_dir is None))
        address = recorded.address
    own = recorded is not None and recorded.address == address
    if token is None:
        if token_file is not None:
            token = _read_token(Path(token_file))
        elif own and folder.token_file.exists():
            token = _read_token(folder.token_file)
        else:
            token = os.environ.get(TOKEN_VARIABLE, "")
    return Place(_reachable(address), _checked(token.strip()), folder.address_file if own else None)


def _how_to_start(folder: Path, default: bool) -> str:
    flag = "" if default else f' --runtime-dir "{folder}"'
    return f"no supervisor runs in {folder}; start one with: vramd serve --models DIR{flag}"


def _reachable(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidRequest("FIELD_INVALID", f"the address is no HOST:PORT: {address}", {"field": "address"})
    return f"{_ANY_HOST.get(host, host)}:{port}"


def _read_token(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise TokenRefused("TOKEN_MISSING", f"the token file cannot be read: {error}") from error


def _checked(token: str) -> str:
    if not token.isascii() or (token and not token.isprintable()):
        raise TokenRefused("TOKEN_INVALID", "the token has characters that none of vramd's tokens has")
    return token
