"""Starts a supervisor as a process, and waits for the line that it says when it listens."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import IO

from vramd_common.handshake import Failed, Ready, parse
from vramd_common.rendezvous import RuntimeDir

from vramd.errors import StartFailed

CONNECT_LIMIT_S = 1.0

SERVE = (sys.executable, "-m", "vramd", "serve")
"""`-m` imports from the current folder first: it starts in the runtime folder, which has nothing to import."""

_LOOK_EVERY_S = 0.05
_TAIL_BYTES = 4096


def listens(address: str) -> bool:
    """Whether a program takes connections at host:port; waits a second at most."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_LIMIT_S):
            return True
    except (OSError, ValueError):
        return False


def log_tail(folder: RuntimeDir) -> str:
    """The last lines that a supervisor started by `launch` wrote to stderr."""
    with folder.start_log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").strip()


class Launched:
    """A started supervisor, or a wrapper around one, and what it says on stdout.

    A thread reads that to its end, so that it never waits for this program.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", folder: RuntimeDir) -> None:
        """For `launch`."""
        self.process = process
        self._folder = folder
        self._line: Future[Ready | Failed | None] = Future()
        self._said = b""
        assert process.stdout is not None
        threading.Thread(target=self._read, args=(process.stdout,), name="handshake", daemon=True).start()

    def wait_until_ready(self, limit_s: float) -> Ready:
        """Waits for its line.

        Raises StartFailed, with the end of its log, if it says that it failed, ends without a word, or says nothing in
        time; then it may still live. `metadata["exitCode"]` tells how it ended.
        """
        end_s = time.monotonic() + limit_s
        try:
            line = self._line.result(limit_s)
            if isinstance(line, Ready):
                return line
            # Its last words on stderr may come behind the line.
            code = self.process.wait(max(0.0, end_s - time.monotonic()))
        except (FutureTimeout, subprocess.TimeoutExpired):
            raise self._failed(f"no supervisor after {limit_s:g} s", "", {}) from None
        code = line.code if line else code  # that of a wrapper may be another
        what = f"the supervisor ended with exit code {code}"
        raise self._failed(what, line.message if line else "", {"exitCode": str(code)})

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            for raw in iter(stdout.readline, b""):
                if line := None if self._line.done() else parse(raw.decode("utf-8", "replace")):
                    self._line.set_result(line)
                elif not self._line.done():
                    self._said = (self._said + raw)[-_TAIL_BYTES:]
        if not self._line.done():
            self._line.set_result(None)

    def _failed(self, what: str, why: str, metadata: dict[str, str]) -> StartFailed:
        log = "\n".join(filter(None, (log_tail(self._folder), self._said.decode("utf-8", "replace").strip())))
        text = f"{what}:\n{why or log or 'it said nothing'}"
        return StartFailed("START_FAILED", text, {**metadata, "log": log})


def launch(folder: RuntimeDir, command: Sequence[str], stdin: int) -> Launched:
    """Starts a supervisor in a new session: neither Ctrl-C nor the end of the terminal reaches it.

    The folder is made (0700) if need be. Raises StartFailed if there is no such command.
    """
    if sys.platform == "win32":
        # A new console, hidden; its workers share it.
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        flags = 0
    try:
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700, exist_ok=True)
        folder.logs.mkdir(mode=0o700, exist_ok=True)
        with folder.start_log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--handshake", "stdout", "--runtime-dir", str(folder.path)],
                bufsize=0,  # a buffer has a lock, which the interpreter would wait for at its end
                cwd=folder.path,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=output,
                env=_environment(os.environ, Path.cwd()),
                creationflags=flags,
                start_new_session=True,
            )
            return Launched(process, folder)
    except OSError as error:
        raise StartFailed("START_FAILED", f"the supervisor cannot be started: {error}") from error


class Wrapped:
    """A supervisor that is not the process of `launch`, but of a wrapper: it has left the wrapper's session."""

    def __init__(self, pid: int) -> None:
        """Called while it lives."""
        self.pid = pid
        self._began_s = self._start_s()

    def send(self, number: int) -> bool:
        """Sends its process group a signal, 0 for none; false if it is gone, or cannot be told from a later process."""
        if sys.platform == "win32":
            return False
        else:  # noqa: RET505  the types of each system are checked apart
            began_s = self._start_s()
            if began_s is None or began_s != self._began_s:
                return False
            try:
                if os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, number)
                else:
                    os.kill(self.pid, number)
            except (ProcessLookupError, PermissionError):
                return False
            return True

    def _start_s(self) -> float | None:
        try:
            import psutil  # noqa: PLC0415  the extra `server` has it: a client alone may lack it

            process = psutil.Process(self.pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
        except (ImportError, psutil.Error):
            return None


def end(process: "subprocess.Popen[bytes]", grace_s: float, wrapped: Wrapped | None = None) -> None:
    """Ends a process of `launch` and its session, and what it has `wrapped`; after a rest by force.

    On Windows no signal asks for it; the end of its stdin does.
    """
    if sys.platform == "win32":
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        process.kill()
    else:

        def send(number: int) -> bool:
            process.poll()  # else it stays in the session, as a zombie
            lives = wrapped is not None and wrapped.send(number)
            with contextlib.suppress(ProcessLookupError):  # the session is empty
                os.killpg(process.pid, number)
                lives = True
            return lives

        end_s = time.monotonic() + grace_s
        lives = send(signal.SIGTERM)
        while lives and time.monotonic() < end_s:
            time.sleep(_LOOK_EVERY_S)
            lives = send(0)
        if lives:
            send(signal.SIGKILL)
    process.wait()


def _environment(own: Mapping[str, str], here: Path) -> dict[str, str]:
    """The caller's environment, relative paths made absolute: the supervisor starts in another folder."""
    changed = dict(own)
    if folders := own.get("VRAMD_MODELS"):
        whole = [str(here / Path(folder).expanduser()) for folder in folders.split(os.pathsep) if folder]
        changed["VRAMD_MODELS"] = os.pathsep.join(whole)
    for name in ("VRAMD_CONFIG", "VRAMD_TLS_CERT", "VRAMD_TLS_KEY", "VRAMD_TLS_CLIENT_CA"):
        if file := own.get(name):
            changed[name] = str(here / file)
    return changed
