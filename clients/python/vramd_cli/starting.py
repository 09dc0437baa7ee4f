"""Starts a supervisor that outlives the command."""

import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from vramd.errors import StartFailed
from vramd.launching import SERVE, launch, listens
from vramd_common.rendezvous import Address, RuntimeDir

START_LIMIT_S = 20.0
END_LIMIT_S = 10.0
ALREADY_RUNNING = 69
"""Exit code of `serve` when another supervisor has the folder."""
SAME_S = 1.0
"""Two start times of one process differ by less, as clocks are read."""

_LOOK_EVERY_S = 0.05


def ensure_running(runtime_dir: Path, serve: Sequence[str] = SERVE) -> "subprocess.Popen[bytes] | None":
    """Returns when a supervisor listens for this folder; starts one with `serve` if none does.

    Returns the process that was started, which outlives this one; None if there is another, of which several programs
    that start one at once get the same. Raises StartFailed with the end of its log if none listens in time.
    """
    folder = RuntimeDir(runtime_dir.absolute())
    if _serves(Address.read(folder.address_file)):
        return None
    launched = launch(folder, serve, subprocess.DEVNULL)
    # Without a wait it would stay a zombie if it ends before this program does.
    threading.Thread(target=launched.process.wait, name="started", daemon=True).start()
    try:
        launched.wait_until_ready(START_LIMIT_S)
    except StartFailed as error:
        if error.metadata.get("exitCode") == str(ALREADY_RUNNING) and _comes(folder):
            return None
        launched.process.terminate()
        raise
    return launched.process


def _serves(recorded: Address | None) -> bool:
    """Whether a supervisor that has recorded itself lives: its process is the same one, and its port takes calls."""
    if recorded is None or not listens(recorded.address):
        return False
    try:
        began_s = psutil.Process(recorded.pid).create_time()
    except psutil.Error:  # of another process namespace, or gone, and another program has its port
        return not recorded.started_s
    return not recorded.started_s or abs(began_s - recorded.started_s) < SAME_S


def _comes(folder: RuntimeDir) -> bool:
    """Waits until the supervisor that has the folder listens; False if it does not in time."""
    end_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end_s:
        recorded = Address.read(folder.address_file)
        if recorded is not None and listens(recorded.address):
            return True
        time.sleep(_LOOK_EVERY_S)
    return False


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a started supervisor and waits for its exit."""
    process.terminate()
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
