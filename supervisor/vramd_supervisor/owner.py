"""Notices when the program that owns this supervisor is gone (`vramd serve --owned`)."""

import asyncio
import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable


def watch(loop: asyncio.AbstractEventLoop, on_gone: Callable[[], None]) -> None:
    """Calls `on_gone` once, in the loop's thread, when stdin ends or, on Linux, the parent does.

    stdin is what ends on every system, also when the owner is killed. Its parent is looked at because a child that the
    owner forked holds the other end of the pipe too, and may live on.
    """
    line = os.dup(0)
    # No child may inherit it; and on Windows a descriptor that a thread waits on blocks whoever asks for its kind.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    parent_pid = os.getppid()

    def wait() -> None:
        _until_gone(line, parent_pid)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the supervisor has ended by itself
            loop.call_soon_threadsafe(on_gone)

    threading.Thread(target=wait, name="owner", daemon=True).start()


def _until_gone(line: int, parent_pid: int) -> None:
    watched = [line]
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an old kernel, or the parent is gone already: stdin has to do
            watched.append(os.pidfd_open(parent_pid))
    while len(watched) == 1 or line in select.select(watched, [], [])[0]:
        if not os.read(line, 4096):
            return
