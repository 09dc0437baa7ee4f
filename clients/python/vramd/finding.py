"""Finds a running supervisor: by the address given, else by its runtime folder."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from vramd_common.rendezvous import Address, RuntimeDir, default_runtime_dir

from vramd.errors import InvalidRequest, SupervisorNotFound, TokenRefused

ADDRESS_VARIABLE = "VRAMD_ADDRESS"
TOKEN_VARIABLE = "VRAMD_TOKEN"  # noqa: S105  the name of the variable, no secret
CA_VARIABLE, CLIENT_CERT_VARIABLE, CLIENT_KEY_VARIABLE = "VRAMD_CA", "VRAMD_CLIENT_CERT", "VRAMD_CLIENT_KEY"

PathLike = str | os.PathLike[str]

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  never bound here, only recognised
"""A supervisor on all interfaces is reached through the loopback one."""


@dataclass(frozen=True)
class TlsFiles:
    """Files in PEM, as a program names them."""

    ca: PathLike | None = None
    """Certificates of which the supervisor's must be one, or signed by one."""
    client_cert: PathLike | None = None
    """The program's own, for a supervisor that wants one."""
    client_key: PathLike | None = None


@dataclass(frozen=True)
class Tls:
    """What a channel needs for TLS; all in PEM."""

    roots: bytes
    """Certificates of which the supervisor's must be one, or signed by one."""
    name: str
    """A host that its certificate is for; empty: that of the address."""
    client_cert: bytes | None
    client_key: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Place:
    """The address of a supervisor, and the token that it expects."""

    address: str
    """host:port."""
    token: str = field(repr=False)
    """Empty: none is known, and calls will be refused."""
    address_file: Path | None
    """Lies there as long as the supervisor lives; None if it was found by an address of another place."""
    tls: Tls | None = None
    """None: it is called without TLS."""


class Search:
    """Finds a supervisor, as often as needed: one that was restarted has another port and another token.

    The supervisor at `address`, else in `runtime_dir`, else at VRAMD_ADDRESS, else in the default runtime folder.
    The token is the one given, else that in `token_file`, else VRAMD_TOKEN, else that of the runtime folder; with a
    `runtime_dir` its own comes before VRAMD_TOKEN, which may be another supervisor's. An address that is not the
    runtime folder's own never gets the folder's token. Reads files only: nothing is called.

    With a `ca` it is called by TLS, and trusted by that; without one, the runtime folder says whether its supervisor
    serves by TLS, and has its certificate; at another address VRAMD_CA names one. The client's certificate is the one
    given, else that of VRAMD_CLIENT_CERT and VRAMD_CLIENT_KEY. A certificate given for a place without TLS is refused.
    """

    def __init__(
        self,
        runtime_dir: PathLike | None = None,
        address: str | None = None,
        token: str | None = None,
        token_file: PathLike | None = None,
        tls: TlsFiles = TlsFiles(),
    ) -> None:
        """Raises SupervisorNotFound if there can be no default runtime folder."""
        if address is None and runtime_dir is None:
            address = os.environ.get(ADDRESS_VARIABLE) or None
        self._address = address
        self._folder = _folder(runtime_dir, needed=address is None)
        self._default = runtime_dir is None
        self._token = token
        self._token_file = None if token_file is None else Path(token_file).absolute()
        self._ca = None if tls.ca is None else Path(tls.ca).absolute()
        self._wants_tls = tls.client_cert is not None or tls.client_key is not None
        self._client_cert = _file(tls.client_cert, CLIENT_CERT_VARIABLE)
        self._client_key = _file(tls.client_key, CLIENT_KEY_VARIABLE)
        if (self._client_cert is None) != (self._client_key is None):
            words = "a client's certificate and its key go together: give both, or none"
            raise InvalidRequest(
                "FIELD_INVALID", words, {"field": "client_key" if self._client_cert else "client_cert"}
            )

    def look(self) -> Place:
        """Looks where it is now.

        Raises SupervisorNotFound, TokenRefused for a token file that cannot be read, InvalidRequest for an address
        without a port, a certificate or key that cannot be read, and a client's certificate where there is no TLS.
        """
        recorded = Address.read(self._folder.address_file) if self._folder else None
        address = self._address
        if address is None:
            assert self._folder is not None
            if recorded is None:
                raise SupervisorNotFound("SUPERVISOR_NOT_FOUND", _how_to_start(self._folder.path, self._default))
            address = recorded.address
        own = self._folder if recorded is not None and recorded.address == address else None
        token = _checked(self._its_token(own).strip())
        tls = self._its_tls(own, recorded.tls_name if own and recorded else "")
        return Place(_reachable(address), token, own.address_file if own else None, tls)

    def _its_tls(self, folder: RuntimeDir | None, name: str) -> Tls | None:
        if self._ca is not None:
            roots: Path | None = self._ca
        elif folder is not None:
            roots = folder.certificate_file if name else None
        else:
            roots = _file(None, CA_VARIABLE)
        if roots is None and self._wants_tls:
            words = "a client's certificate is for TLS, which needs `ca`: the certificate to trust"
            raise InvalidRequest("FIELD_INVALID", words, {"field": "ca"})
        if roots is None:
            return None
        own = [None if file is None else _read_pem(file) for file in (self._client_cert, self._client_key)]
        return Tls(_read_pem(roots), name, *own)

    def _its_token(self, folder: RuntimeDir | None) -> str:
        if self._token is not None:
            return self._token
        if self._token_file is not None:
            return _read_token(self._token_file)
        from_environment = os.environ.get(TOKEN_VARIABLE, "")
        if folder is not None and (not self._default or not from_environment) and folder.token_file.exists():
            return _read_token(folder.token_file)
        return from_environment


def find(
    runtime_dir: PathLike | None = None,
    address: str | None = None,
    token: str | None = None,
    token_file: PathLike | None = None,
    tls: TlsFiles = TlsFiles(),
) -> Place:
    """Looks once, as `Search` does. Raises what it raises."""
    return Search(runtime_dir, address, token, token_file, tls).look()


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


def _file(given: PathLike | None, variable: str) -> Path | None:
    named = given if given is not None else os.environ.get(variable) or None
    return None if named is None else Path(named).absolute()


def _read_pem(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        words = f"{file}: the certificate or key cannot be read: {error.strerror}"
        raise InvalidRequest("FIELD_INVALID", words, {"field": "ca"}) from error


def _read_token(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise TokenRefused("TOKEN_MISSING", f"the token file cannot be read: {error}") from error


def _checked(token: str) -> str:
    if not token.isascii() or (token and not token.isprintable()):
        raise TokenRefused("TOKEN_INVALID", "the token has characters that no token of vramd has")
    return token
