"""Ends this process when its supervisor is gone, whatever else it is doing.

The other half is in `boot`: Linux's parent-death signal, which also ends a stopped process. Each half alone misses a
case. Standard library only.
"""

import os
import select
import sys
import threading

GONE = 1
"""Exit code of a worker that lost its supervisor."""


def hold(parent_pid: int) -> None:
    """Takes stdin as the lifeline and watches it from a thread: end of file ends this process."""
    threading.Thread(target=_until_end_of_file, args=(take(parent_pid),), name="lifeline", daemon=True).start()


def take(parent_pid: int) -> int:
    """Takes stdin as the lifeline and returns its descriptor; its reader must end the process at end of file.

    Descriptor 0 is the null device afterwards: no child may inherit the lifeline, and on Windows a descriptor that a
    thread reads blocks every query of its type, such as native libraries make when they start.
    """
    line = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.platform == "darwin":
        threading.Thread(target=_until_exit, args=(parent_pid,), name="parent", daemon=True).start()
    return line


def _until_end_of_file(line: int) -> None:
    try:
        while os.read(line, 4096):
            pass
    finally:
        os._exit(GONE)


def _until_exit(parent_pid: int) -> None:
    """Waits on macOS for the parent's exit, which a leaked descriptor that keeps stdin open does not hide."""
    if sys.platform == "darwin":
        try:
            queue = select.kqueue()
            exits = select.kevent(parent_pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
            queue.control([exits], 1)
        finally:
            os._exit(GONE)
