"""What large requests took goes back to the system.

The allocator of glibc keeps what was freed, in one heap per thread of gRPC's: a few large messages would stay for good.
Other systems' allocators give back by themselves.
"""

import asyncio
import ctypes
import sys

M_ARENA_MAX = -8
LARGE_BYTES = 1024 * 1024
"""A message of this size is worth a look at the heap."""
PAUSE_S = 0.5
"""Large messages seldom come alone; one look serves all of them."""


class Heap:
    """Of this process. Make it before threads have heaps of their own."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._soon: asyncio.TimerHandle | None = None
        if self._libc and hasattr(self._libc, "mallopt"):
            self._libc.mallopt(M_ARENA_MAX, 1)

    def freed(self, size_bytes: int) -> None:
        """A message is done with: its bytes go back soon, if they are worth it."""
        if size_bytes >= LARGE_BYTES and not self._soon and hasattr(self._libc, "malloc_trim"):
            self._soon = asyncio.get_running_loop().call_later(PAUSE_S, self._trim)

    def _trim(self) -> None:
        self._soon = None
        assert self._libc
        self._libc.malloc_trim(0)
