"""One supervisor per runtime folder: the lock, the token, the address file, and a short folder for sockets."""

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_state_dir
from vramd_common.rendezvous import Address, RuntimeDir, default_runtime_dir, system_runtime_dir, write_private

from .files.private import tighten
from .threads.serial_calls import NoAnswerError, SerialCalls

log = logging.getLogger(__name__)

PERIOD_S = 1.0
KEEP_S = 10.0

MOST_SOCKET_FOLDER_BYTES = 70
"""A Unix socket's path ends at about 100 bytes, of which its name takes up to 30."""


class AlreadyRunningError(Exception):
    """Another supervisor has this runtime folder."""

    def __init__(self, folder: RuntimeDir) -> None:
        other = Address.read(folder.address_file)
        who = f"pid {other.pid} at {other.address}" if other else "it is starting"
        command = f"vramd shutdown{_named(folder.path)}"
        super().__init__(f"a supervisor runs in {folder.path} already ({who}); `{command}` ends it")


def _named(folder: Path) -> str:
    """Returns the options with which a command finds this folder; empty for the default one."""
    with contextlib.suppress(OSError):
        if folder == default_runtime_dir().absolute():
            return ""
    return f' --runtime-dir "{folder}"'


class Instance:
    """This supervisor's hold on its runtime folder, from before binding until the very end."""

    def __init__(self, path: Path) -> None:
        """Takes the folder. Raises AlreadyRunningError, or OSError for a folder that cannot be had."""
        self.folder = RuntimeDir(path.absolute())
        self.tokens = {file: secrets.token_urlsafe(32) for file in self.folder.token_files}
        """By the file that each is written into."""
        self._address: Address | None = None
        self._certificate = b""
        self._told: dict[int, tuple[str, str]] = {}
        self._take()
        for old in (self.folder.address_file, self.folder.workers_file):
            old.unlink(missing_ok=True)
        self._fill()
        for left in _own_files(self.folder):
            tighten(left)
        if not os.environ.get("VRAMD_STATE_DIR"):  # a folder that the user has chosen may have others' files
            tighten(state_folder())
        self._socket_dir = ""
        if sys.platform != "win32":
            self._socket_dir = _socket_folder(self.folder.path)

    def _take(self) -> None:
        self._make_folder()
        # Any thread may look after the folder.
        lock = FileLock(self.folder.lock_file, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise AlreadyRunningError(self.folder) from None
        self._lock, self._lock_id = lock, _identity(self.folder.lock_file)

    def _make_folder(self) -> None:
        # `parents=True` gives those the usual mode, and the system's place for such folders has to be its user's alone.
        for folder in (*reversed(self.folder.path.parents), self.folder.path):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.path.mkdir(exist_ok=True)  # raises for what is no folder
        if sys.platform != "win32":
            # What lies in here opens the supervisor to whoever can read it.
            self.folder.path.chmod(0o700)

    def _fill(self) -> None:
        (self.folder.logs / "models").mkdir(parents=True, exist_ok=True)
        for file, token in self.tokens.items():
            write_private(file, token + "\n")
        if self._address:
            self._announce(self._address)

    def announce(self, address: Address, certificate: bytes = b"") -> None:
        """Tells clients where to go; called once the server answers. `certificate` is its own, in PEM."""
        self._address, self._certificate = address, certificate
        self._announce(address)

    def tell_worker(self, pid: int, address: str, nonce: str) -> None:
        """Writes down how a worker is called. Raises OSError."""
        self._told[pid] = (address, nonce)
        write_private(self.folder.workers_file, json.dumps(self._told))

    def _announce(self, address: Address) -> None:
        if self._certificate:
            write_private(self.folder.certificate_file, self._certificate.decode("utf-8"))
        address.write(self.folder.address_file)

    def keep(self) -> bool:
        """Restores what was removed of the folder, such as by a cleaner of /tmp; returns whether anything was.

        Raises AlreadyRunningError if another supervisor has taken the folder meanwhile, or OSError if it cannot be had.
        """
        held = _identity(self.folder.lock_file) == self._lock_id
        files = [*self.tokens, self.folder.address_file, self.folder.logs / "models"]
        if self._certificate:
            files.append(self.folder.certificate_file)
        if held and all(map(os.path.exists, files)):
            return False
        if not held:
            self._take()
        self._fill()
        return True

    def socket_dir(self) -> str:
        """Returns the folder for workers' sockets, restored if it is gone; empty for TCP. Raises OSError."""
        if self._socket_dir and not Path(self._socket_dir).is_dir():
            self._make_folder()
            Path(self._socket_dir).mkdir(mode=0o700)
        return self._socket_dir

    def leave(self) -> None:
        """Takes everything back that others could stumble over; the last thing a supervisor does."""
        if _identity(self.folder.lock_file) == self._lock_id:
            self.folder.address_file.unlink(missing_ok=True)
            for file in (*self.tokens, self.folder.certificate_file, self.folder.workers_file):
                file.unlink(missing_ok=True)
            if self._socket_dir:
                shutil.rmtree(self._socket_dir, ignore_errors=True)
        self._lock.release()


def _own_files(folder: RuntimeDir) -> Iterator[Path]:
    """What a supervisor has left in its folder, which may be one that the user keeps other files in."""
    yield from (*folder.token_files, folder.address_file, folder.certificate_file, folder.lock_file, folder.logs)
    for kind in ("decisions.sqlite3*", "skeletons", "skeletons/*.gguf", "logs/*.log", "logs/models", "logs/models/*"):
        yield from folder.path.glob(kind)


def _identity(file: Path) -> tuple[int, int] | None:
    """Identifies a file, as long as it is the same one; None if there is none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _socket_folder(runtime: Path) -> str:
    """A folder (0700) of our own whose path is short and plain.

    gRPC fails in odd ways for socket paths that are long or have `%`, `?`, `#` or the like in them, so a runtime folder
    of that kind is passed over for a temporary one.
    """
    sockets = runtime / "sockets"
    if _is_plain(str(sockets)):
        shutil.rmtree(sockets, ignore_errors=True)
        sockets.mkdir(mode=0o700)
        return str(sockets)
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108  the last resort
        if base and _is_plain(base + "/vramd-12345678"):
            with contextlib.suppress(OSError):
                return tempfile.mkdtemp(prefix="vramd-", dir=base)
    raise OSError("no folder for sockets: XDG_RUNTIME_DIR, the temporary folder and /tmp cannot be written")


def _is_plain(path: str) -> bool:
    return len(path) <= MOST_SOCKET_FOLDER_BYTES and re.fullmatch(r"[A-Za-z0-9/._-]+", path) is not None


def state_folder() -> Path:
    """Returns the folder for what all supervisors of this user have learned. `VRAMD_STATE_DIR` names another."""
    return Path(os.environ.get("VRAMD_STATE_DIR") or user_state_dir("vramd", appauthor=False)).absolute()


def journal_folder(runtime: Path) -> Path:
    """Returns the folder for decisions: with a private runtime folder they lie there, not among others'."""
    if os.environ.get("VRAMD_STATE_DIR") or runtime == system_runtime_dir():
        return state_folder()
    return runtime


async def keep(instance: Instance, on_taken: Callable[[], None], period_s: float = PERIOD_S) -> None:
    """Restores the runtime folder when it is removed. Once another supervisor has it, calls `on_taken` and returns."""
    calls, folder, said = SerialCalls(str(instance.folder.path), KEEP_S), instance.folder.path, ""
    while True:
        await asyncio.sleep(period_s)
        why = ""
        try:
            if await calls.run(instance.keep):
                log.warning("the runtime folder %s, or what belongs there, was removed; it is restored", folder)
        except AlreadyRunningError as error:
            log.error("the runtime folder was removed, and now %s: this one ends, as nobody can find it", error)
            on_taken()
            return
        except (OSError, NoAnswerError) as error:
            why = str(error)
        if why and why != said:
            log.error("the runtime folder cannot be kept: new clients may not find this supervisor: %s", why)
        said = why
