"""Starts a supervisor as a process, and waits until it listens."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vramd_common.rendezvous import Address, RuntimeDir

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
    """The last lines that a supervisor started by `launch` printed."""
    with folder.start_log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").strip()


def launch(folder: RuntimeDir, command: Sequence[str], stdin: int) -> "subprocess.Popen[bytes]":
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
            return subprocess.Popen(
                [*command, "--runtime-dir", str(folder.path)],
                cwd=folder.path,
                stdin=stdin,
                stdout=output,
                stderr=output,
                env=_environment(os.environ, Path.cwd()),
                creationflags=flags,
                start_new_session=True,
            )
    except OSError as error:
        raise StartFailed("START_FAILED", f"the supervisor cannot be started: {error}") from error


def end(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """Ends a process of `launch` and its session, since the command may be a wrapper; after a rest by force.

    On Windows no signal asks for it; the end of its stdin does.
    """
    if sys.platform == "win32":
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):  # the session is empty
            os.killpg(process.pid, signal.SIGTERM)
            end_s = time.monotonic() + grace_s
            while time.monotonic() < end_s:
                process.poll()  # else it stays in the session, as a zombie
                os.killpg(process.pid, 0)
                time.sleep(_LOOK_EVERY_S)
            os.killpg(process.pid, signal.SIGKILL)
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


def wait_until_listening(
    process: "subprocess.Popen[bytes]",
    folder: RuntimeDir,
    limit_s: float,
    *,
    stale: Address | None = None,
    harmless_exits: Collection[int] = (),
) -> Address:
    """Waits until a supervisor listens for the folder, other than the `stale` one that was recorded there before.

    Raises StartFailed, with the end of its log, if the process ends with any code but `harmless_exits`, or none listens
    in time; then the process may still live.
    """
    end_s = time.monotonic() + limit_s
    while True:
        found = Address.read(folder.address_file)
        if found is not None and found != stale and listens(found.address):
            return found
        code = process.poll()
        if code is not None and code not in harmless_exits:
            raise _failed(folder, f"the supervisor ended with exit code {code}", {"exitCode": str(code)})
        if time.monotonic() > end_s:
            raise _failed(folder, f"no supervisor after {limit_s:g} s", {})
        time.sleep(_LOOK_EVERY_S)


def _failed(folder: RuntimeDir, what: str, metadata: dict[str, str]) -> StartFailed:
    log = log_tail(folder)
    return StartFailed("START_FAILED", f"{what}:\n{log or 'it said nothing'}", {**metadata, "log": log})
