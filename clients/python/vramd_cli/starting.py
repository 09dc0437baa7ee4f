"""Starts a supervisor that outlives the command."""

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from vramd.errors import StartFailed
from vramd.launching import SERVE, launch, listens, wait_until_listening
from vramd_common.rendezvous import Address, RuntimeDir

START_LIMIT_S = 20.0
END_LIMIT_S = 10.0
ALREADY_RUNNING = 69
"""Exit code of `serve` when another supervisor has the folder."""


def ensure_running(runtime_dir: Path, serve: Sequence[str] = SERVE) -> "subprocess.Popen[bytes] | None":
    """Returns when a supervisor listens for this folder; starts one with `serve` if none does.

    Returns the process that was started, which outlives this one. Raises StartFailed with the end of its log if none
    listens in time.
    """
    folder = RuntimeDir(runtime_dir.absolute())
    recorded = Address.read(folder.address_file)
    if recorded is not None and listens(recorded.address):
        return None
    process = launch(folder, serve, subprocess.DEVNULL)
    # Without a wait it would stay a zombie if it ends before this program does.
    threading.Thread(target=process.wait, name="started", daemon=True).start()
    try:
        wait_until_listening(process, folder, START_LIMIT_S, harmless_exits=(ALREADY_RUNNING,))
    except StartFailed:
        process.terminate()
        raise
    return process


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a started supervisor and waits for its exit."""
    process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
