"""A load on its way: it runs in a thread of its own, and its progress is seen in the event loop."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from typing import TypeVar

import psutil

from vramd_worker.engine import Activity, Engine, Loaded

PROGRESS_STEP = 0.01
"""Least growth of the progress that is passed on: a load reports each tensor."""

COUNTED_BYTES = 1 << 20
"""Bytes read that count as progress: the event loop reads a few as well."""

Item = TypeVar("Item")


class Loading:
    """The one load of a process. Used in the event loop's thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reports = 0
        self._read_bytes = 0
        self._at_work = True

    async def steps(self) -> AsyncIterator[float | Loaded]:
        """Yields its progress, then its result. Raises what the load raises."""
        steps: asyncio.Queue[float | Loaded | Exception] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def report(share: float) -> None:
            self._reports += 1
            post(loop, steps, share)

        def work() -> None:
            try:
                post(loop, steps, self._engine.load(report))
            except Exception as failed:  # it is raised again where the call waits
                post(loop, steps, failed)
            finally:
                self._at_work = False

        threading.Thread(target=work, name="load", daemon=True).start()
        reported = 0.0
        while True:
            step = await steps.get()
            if isinstance(step, Exception):
                raise step
            if isinstance(step, Loaded):
                yield step
                return
            if step >= reported + PROGRESS_STEP:
                reported = step
                yield step

    def activity(self) -> Activity:
        """Returns how far it is. A large tensor of a slow drive is one report, so that bytes count as well."""
        if self._at_work:
            self._read_bytes = _read_bytes()
        return Activity("load", self._at_work, self._reports + self._read_bytes // COUNTED_BYTES)


def post(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Item]", item: Item) -> None:
    """Puts an item into a queue of the loop. Thread-safe; never blocks."""
    loop.call_soon_threadsafe(queue.put_nowait, item)


def _read_bytes() -> int:
    """Returns the bytes that this process has read so far; 0 where the system does not tell (macOS)."""
    try:
        if sys.platform == "linux":
            return psutil.Process().io_counters().read_chars
        elif sys.platform == "win32":  # noqa: RET505  mypy leaves out a branch of another platform, not what follows
            return psutil.Process().io_counters().read_bytes
        else:
            return 0
    except (psutil.Error, OSError, RuntimeError, NotImplementedError, AttributeError):
        return 0  # psutil has no such method on a Linux without these counters
