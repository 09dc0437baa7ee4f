"""How processes of vramd find and recognise each other: the runtime folder, metadata keys, the worker's first message.

Only the runtime folder touches the system: its place is asked for, and its files are read and written.
"""

import json
import os
import re
import warnings
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from platformdirs import user_runtime_path

PROTOCOL = 1
"""Version of the private wire between supervisor and worker; both ship together and must agree."""

API = 1
"""Version of the public API, raised by each change that breaks clients."""

TOKEN_KEY = "authorization"  # noqa: S105  the name of the key, not a secret
"""Metadata key of every public call; the value is `Bearer TOKEN`."""

NONCE_KEY = "vramd-nonce"
"""Metadata key of every call to a worker; the value was given to that one process when it was spawned."""


def default_runtime_dir() -> Path:
    """The folder of this user's supervisor: `VRAMD_RUNTIME_DIR`, else the system's place for runtime files."""
    chosen = os.environ.get("VRAMD_RUNTIME_DIR")
    return Path(chosen) if chosen else system_runtime_dir()


def system_runtime_dir() -> Path:
    """The system's place for the folder, used if the user has chosen none."""
    with warnings.catch_warnings():
        # Without XDG_RUNTIME_DIR, as in containers, the folder is below /tmp: no warning is needed for that.
        warnings.simplefilter("ignore")
        return user_runtime_path("vramd", appauthor=False)


def log_name(model: str) -> str:
    """Name of a model's log file without `.log`: its id, or a safe form of it with a checksum to keep it distinct."""
    name = re.sub(r"[^\w.-]", "_", model)[:100]
    return name if name == model else f"{name}-{zlib.crc32(model.encode('utf-8', 'backslashreplace')):08x}"


def write_private(file: Path, text: str) -> None:
    """Writes a file atomically with mode 0600, whatever the umask and an earlier file have. Raises OSError."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    fresh.replace(file)


@dataclass(frozen=True)
class RuntimeDir:
    """Paths of the files in a runtime folder (0700)."""

    path: Path

    @property
    def address_file(self) -> Path:
        """JSON of `Address` (0600); written after binding, removed at the end."""
        return self.path / "supervisor.json"

    @property
    def token_file(self) -> Path:
        """The token of this start for everything (0600), one line."""
        return self.path / "token"

    @property
    def use_token_file(self) -> Path:
        """The token of this start for use only: it asks models, and changes nothing."""
        return self.path / "token-use"

    @property
    def token_files(self) -> tuple[Path, ...]:
        """All of them."""
        return self.token_file, self.use_token_file

    @property
    def certificate_file(self) -> Path:
        """The certificate that it serves with, in PEM; there only if it serves by TLS."""
        return self.path / "certificate.pem"

    @property
    def workers_file(self) -> Path:
        """JSON (0600): address and nonce of each worker, by its process id; there only if it was asked to tell."""
        return self.path / "workers.json"

    @property
    def lock_file(self) -> Path:
        """Locked as long as the supervisor lives."""
        return self.path / "lock"

    @property
    def logs(self) -> Path:
        """Folder of the log files: `supervisor.log` and `models/ID.log`."""
        return self.path / "logs"

    @property
    def start_log(self) -> Path:
        """Output of a supervisor started by a client, until it listens; its log has the rest."""
        return self.logs / "start.log"

    def log_of(self, model: str) -> Path:
        """The log file of a model, or of the supervisor if `model` is empty."""
        return self.logs / "models" / f"{log_name(model)}.log" if model else self.logs / "supervisor.log"


@dataclass(frozen=True)
class Address:
    """Where a supervisor listens."""

    address: str
    """host:port."""
    pid: int
    version: str
    api: int = API
    """Version of the API that it serves; 0 if the file does not say."""
    tls_name: str = ""
    """A host that its certificate is for; empty: it serves without TLS."""
    started_s: float = 0.0
    """The moment its process began, in Unix time, by which it is told from a later one of the same id; 0: unknown."""

    def write(self, file: Path) -> None:
        """Writes the file atomically, for this user alone."""
        write_private(file, json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> "Address | None":
        """Reads the file; None if it is missing or unreadable."""
        try:
            raw = json.loads(file.read_text("utf-8"))
            address, pid, version = str(raw["address"]), int(raw["pid"]), str(raw["version"])
            api, tls_name = int(raw.get("api", 0)), str(raw.get("tls_name", ""))
            return cls(address, pid, version, api, tls_name, float(raw.get("started_s", 0)))
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class Orders:
    """Message of a supervisor to a new worker's stdin: one line of JSON. The pipe then stays open as its lifeline."""

    paths: tuple[str, ...]
    """Import folders, searched after the standard library and before installed packages."""
    parent_pid: int
    nonce: str
    socket_dir: str
    """Folder (0700) for the Unix socket; empty: listen on 127.0.0.1."""
    untested_engine: bool

    def line(self) -> bytes:
        """The line as written, with its line break."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "Orders":
        """Reads the line. Raises ValueError, KeyError or TypeError if it is no such message."""
        raw = json.loads(line)
        return cls(
            tuple(map(str, raw["paths"])),
            int(raw["parent_pid"]),
            str(raw["nonce"]),
            str(raw["socket_dir"]),
            bool(raw["untested_engine"]),
        )


@dataclass(frozen=True)
class Hello:
    """Message of a worker to its original stdout when it listens: one line of JSON, and nothing after it."""

    protocol: int
    nonce: str
    pid: int
    address: str
    """gRPC target: `unix:PATH` or `127.0.0.1:PORT`."""
    llama_version: str
    """Version of llama-cpp-python; empty without it."""
    llama_problem: str
    """Why llama.cpp cannot be used here, and how to fix that; empty if it can."""
    backends: tuple[str, ...]
    """Kinds of devices that its llama.cpp was built for: "cpu", "cuda", …"""

    def line(self) -> bytes:
        """The line as written, with its line break."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> "Hello":
        """Reads the line. Raises ValueError, KeyError or TypeError if it is no such message."""
        raw = json.loads(line)
        return cls(
            int(raw["protocol"]),
            str(raw["nonce"]),
            int(raw["pid"]),
            str(raw["address"]),
            str(raw["llama_version"]),
            str(raw["llama_problem"]),
            tuple(map(str, raw["backends"])),
        )
