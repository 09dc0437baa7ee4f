"""Finds a running supervisor: by the address given, else by its runtime folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from vramd_common.rendezvous import Address, RuntimeDir, default_runtime_dir

from vramd.errors import InvalidRequest, SupervisorNotFound, TokenRefused

ADDRESS_VARIABLE = "VRAMD_ADDRESS"
TOKEN_VARIABLE = "VRAMD_TOKEN"  # noqa: S105  the name of the variable, no secret

PathLike = str | os.PathLike[str]

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  never bound here, only recognised
"""A supervisor on all interfaces is reached through the loopback one."""


@dataclass(frozen=True)
class Place:
    """The address of a supervisor, and the token that it expects."""

    address: str
    """host:port."""
    token: str
    """Empty: none is known, and calls will be refused."""
    address_file: Path | None
    """Lies there as long as the supervisor lives; None if it was found by an address of another place."""


class Search:
    """Finds a supervisor, as often as needed: one that was restarted has another port and another token.

    The supervisor at `address`, else in `runtime_dir`, else at VRAMD_ADDRESS, else in the default runtime folder.
    The token is the one given, else that in `token_file`, else that of the runtime folder, else VRAMD_TOKEN; an address
    that is not the runtime folder's own never gets the folder's token. Reads files only: nothing is called.
    """

    def __init__(
        self,
        runtime_dir: PathLike | None = None,
        address: str | None = None,
        token: str | None = None,
        token_file: PathLike | None = None,
    ) -> None:
        """Raises SupervisorNotFound if there can be no default runtime folder."""
        if address is None and runtime_dir is None:
            address = os.environ.get(ADDRESS_VARIABLE) or None
        self._address = address
        self._folder = _folder(runtime_dir, needed=address is None)
        self._default = runtime_dir is None
        self._token = token
        self._token_file = None if token_file is None else Path(token_file).absolute()

    def look(self) -> Place:
        """Looks where it is now.

        Raises SupervisorNotFound, TokenRefused for a token file that cannot be read, InvalidRequest for an address
        without a port.
        """
        recorded = Address.read(self._folder.address_file) if self._folder else None
        address = self._address
        if address is None:
            assert self._folder is not None
            if recorded is None:
                raise SupervisorNotFound("SUPERVISOR_NOT_FOUND", _how_to_start(self._folder.path, self._default))
            address = recorded.address
        own = self._folder if recorded is not None and recorded.address == address else None
        return Place(_reachable(address), _checked(self._its_token(own).strip()), own.address_file if own else None)

    def _its_token(self, folder: RuntimeDir | None) -> str:
        if self._token is not None:
            return self._token
        if self._token_file is not None:
            return _read_token(self._token_file)
        if folder is not None and folder.token_file.exists():
            return _read_token(folder.token_file)
        return os.environ.get(TOKEN_VARIABLE, "")


def find(
    runtime_dir: PathLike | None = None,
    address: str | None = None,
    token: str | None = None,
    token_file: PathLike | None = None,
) -> Place:
    """Looks once, as `Search` does. Raises what it raises."""
    return Search(runtime_dir, address, token, token_file).look()


def own_runtime_dir() -> Path:
    """The default runtime folder. Raises SupervisorNotFound where the system's place for it cannot be used."""
    try:
        return default_runtime_dir()
    except OSError as error:  # the folder below /tmp that the system would take belongs to another user
        words = f"there is no runtime folder: {error}; VRAMD_RUNTIME_DIR may name another one"
        raise SupervisorNotFound("SUPERVISOR_NOT_FOUND", words) from None


def _folder(given: PathLike | None, *, needed: bool) -> RuntimeDir | None:
    try:
        return RuntimeDir((Path(given) if given is not None else own_runtime_dir()).absolute())
    except SupervisorNotFound:
        if needed:
            raise
        return None


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
        raise TokenRefused("TOKEN_INVALID", "the token has characters that no token of vramd has")
    return token
