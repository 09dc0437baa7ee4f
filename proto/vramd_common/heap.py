"""What large requests took goes back to the system.

The allocator of glibc keeps what was freed, in one heap per thread of gRPC's: a few large messages would stay for good.
Other systems' allocators give back by themselves.
"""

import asyncio
import ctypes
import gc
import sys

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
M_ARENA_MAX = -8
LARGE_BYTES = 1024 * 1024
"""A message of this size is worth a look at the heap."""
PAUSE_S = 0.5
"""Large messages seldom come alone; one look serves all of them."""


def share_one() -> None:
    """No thread has a heap of its own. For the first moment of the process: what a thread has it keeps."""
    if _LIBC and hasattr(_LIBC, "mallopt"):
        _LIBC.mallopt(M_ARENA_MAX, 1)


class Heap:
    """Of this process."""

    def __init__(self, *, collects: bool = False) -> None:
        """`collects` what refers to itself first: calls that have ended do, and their messages hang on them."""
        self._collects = collects
        self._soon: asyncio.TimerHandle | None = None

    def freed(self, size_bytes: int) -> None:
        """A message is done with: its bytes go back soon, if they are worth it."""
        if size_bytes >= LARGE_BYTES and not self._soon and hasattr(_LIBC, "malloc_trim"):
            self._soon = asyncio.get_running_loop().call_later(PAUSE_S, self._trim)

    def _trim(self) -> None:
        self._soon = None
        if self._collects:
            gc.collect()
        assert _LIBC
        _LIBC.malloc_trim(0)
