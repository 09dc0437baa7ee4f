"""Starts a supervisor that outlives the command, and sees whether one listens."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
from vramd_proto.v1.rendezvous import Address, RuntimeDir

START_LIMIT_S = 20.0
CONNECT_LIMIT_S = 1.0
ALREADY_RUNNING = 69
"""Exit code of `serve` when another supervisor has the folder."""

SERVE = (sys.executable, "-m", "vramd", "serve")
"""`-m` imports from the current folder first; it is started in the runtime folder, which has nothing to import."""

_LOOK_EVERY_S = 0.05
_TAIL_BYTES = 4096


def listens(address: str) -> bool:
    """Whether something takes connections at host:port; waits a second at most."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_LIMIT_S):
            return True
    except (OSError, ValueError):
        return False


def ensure_running(runtime_dir: Path, serve: Sequence[str] = SERVE) -> subprocess.Popen[bytes] | None:
    """Returns when a supervisor listens for this folder; starts one with `serve` if none does.

    Returns the process that was started, which outlives this one. Raises ClickException with the end of its log if
    none listens in time.
    """
    folder = RuntimeDir(runtime_dir.absolute())
    if _answers(folder):
        return None
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    folder.path.mkdir(mode=0o700, exist_ok=True)
    folder.logs.mkdir(mode=0o700, exist_ok=True)
    log = folder.logs / "start.log"
    with log.open("wb") as output:
        process = _detached([*serve, "--runtime-dir", str(folder.path)], folder.path, output.fileno())
    end_s = time.monotonic() + START_LIMIT_S
    while not _answers(folder):
        if process.poll() not in (None, ALREADY_RUNNING):
            raise click.ClickException(f"the supervisor ended with exit code {process.returncode}:\n{_tail(log)}")
        if time.monotonic() > end_s:
            process.terminate()
            raise click.ClickException(f"no supervisor after {START_LIMIT_S:.0f} s:\n{_tail(log)}")
        time.sleep(_LOOK_EVERY_S)
    return process


def _answers(folder: RuntimeDir) -> bool:
    address = Address.read(folder.address_file)
    return address is not None and listens(address.address)


def _detached(command: list[str], current: Path, output: int) -> subprocess.Popen[bytes]:
    """Starts vramd in a session of its own, so that neither Ctrl-C nor the terminal's end reaches it."""
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        flags = 0
    return subprocess.Popen(
        command,
        cwd=current,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        creationflags=flags,
        start_new_session=True,
    )


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read().decode("utf-8", "replace").strip() or "it said nothing"
