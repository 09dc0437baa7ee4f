"""Takes host memory for real, so that others measure what a simulated model declares."""

import sys

import psutil
from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError

CHUNK_BYTES = 16 * 1024 * 1024
FILL = b"\x5a" * (1024 * 1024)


class TakenMemory:
    """Grows this process to the declared size; it never shrinks before the process ends."""

    def __init__(self) -> None:
        self._chunks: list[bytearray] = []

    def grow_to(self, process_bytes: int) -> None:
        """Takes the missing bytes and touches every page; does nothing if the process is larger.

        Raises EngineError if the system refuses.
        """
        missing = process_bytes - process_size_bytes()
        try:
            while missing > 0:
                chunk = bytearray(min(missing, CHUNK_BYTES))
                # Only a page that was written takes memory.
                for start in range(0, len(chunk), len(FILL)):
                    end = min(start + len(FILL), len(chunk))
                    chunk[start:end] = FILL[: end - start]
                self._chunks.append(chunk)
                missing -= len(chunk)
        except MemoryError:
            free = psutil.virtual_memory().available
            raise EngineError(
                Reason.MEMORY_EXHAUSTED,
                f"the host refuses memory for a process of {process_bytes} bytes",
                device="host",
                neededBytes=process_bytes,
                freeBytes=free,
                heldBy="",
            ) from None


def process_size_bytes() -> int:
    """Returns the bytes that this process takes: on Linux the mean of its own (USS) and its proportional share (PSS).

    PSS falls by some 10 MiB when other workers map the same libraries, and rises again when they end. The mean of both
    stays right within half of that.
    """
    used = psutil.Process().memory_full_info()
    if sys.platform == "linux":
        return (used.uss + used.pss) // 2
    else:  # noqa: RET505  mypy leaves out a branch of another platform, not what follows it
        return used.uss
