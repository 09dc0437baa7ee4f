"""Returns the memory of large requests to the system.

The allocator of glibc keeps freed memory in one heap per gRPC thread, so the bytes of a few large messages would never
return. Other systems' allocators return them by themselves.
"""

import asyncio
import ctypes
import gc
import sys

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
M_ARENA_MAX = -8
LARGE_BYTES = 1024 * 1024
"""Least size of a message after which the heap is trimmed."""
PAUSE_S = 0.5
"""Delay before the heap is trimmed: large messages seldom come alone, and one trim serves all of them."""


def share_one() -> None:
    """Makes all threads share one heap. Call it first in the process: a thread keeps the heap that it has."""
    if _LIBC and hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(M_ARENA_MAX, 1)


class Heap:
    """The heap of this process."""

    def __init__(self, *, collects: bool = False) -> None:
        """`collects` runs the garbage collector first: ended calls are in cycles, and keep their messages alive."""
        self._collects = collects
        self._soon: asyncio.TimerHandle | None = None

    def freed(self, size_bytes: int) -> None:
        """Schedules a trim of the heap after a large message is no longer needed."""
        if size_bytes >= LARGE_BYTES and not self._soon and hasattr(_LIBC, "malloc_trim"):
            self._soon = asyncio.get_running_loop().call_later(PAUSE_S, self._trim)

    def _trim(self) -> None:
        self._soon = None
        if self._collects:
            gc.collect()
        assert _LIBC
        _LIBC.malloc_trim(0)
