"""Ends this process when its supervisor is gone, whatever else it is doing.

The other half is in `boot`: Linux's parent-death signal, which also ends a stopped process. Each half alone misses a
case. Standard library only.
"""

import os
import select
import signal
import sys
import threading

GONE = 1
"""Exit code of a worker that lost its supervisor."""


def hold(parent_pid: int, alone: bool) -> None:
    """Takes stdin as the lifeline and watches it from a thread: end of file ends this process.

    Unless it is `alone`, that is, can have no children, its process group ends with it.
    """
    line = take(parent_pid, alone)
    threading.Thread(target=_until_end_of_file, args=(line, alone), name="lifeline", daemon=True).start()


def take(parent_pid: int, alone: bool = True) -> int:
    """Takes stdin as the lifeline and returns its descriptor; its reader must end the process at end of file.

    Descriptor 0 is the null device afterwards: no child may inherit the lifeline, and on Windows a descriptor that a
    thread reads blocks every query of its type, such as native libraries make when they start.
    """
    line = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.platform == "darwin":
        threading.Thread(target=_until_exit, args=(parent_pid, alone), name="parent", daemon=True).start()
    return line


def _until_end_of_file(line: int, alone: bool) -> None:
    try:
        while os.read(line, 4096):
            pass
    finally:
        _end(alone)


def _until_exit(parent_pid: int, alone: bool) -> None:
    """Waits on macOS for the parent's exit, which a leaked descriptor that keeps stdin open does not hide."""
    if sys.platform == "darwin":
        try:
            queue = select.kqueue()
            exits = select.kevent(parent_pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            queue.control([exits], 1)
        finally:
            _end(alone)


def _end(alone: bool) -> None:
    # Only where it leads its group, that is, where its supervisor has started it as one.
    if not alone and sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(GONE)
