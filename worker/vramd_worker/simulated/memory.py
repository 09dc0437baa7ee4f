"""Host memory that is really taken, so that what others measure is what a simulated model declares."""

import sys

import psutil
from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError

CHUNK_BYTES = 16 * 1024 * 1024
FILL = b"\x5a" * (1024 * 1024)


class TakenMemory:
    """Grows until this process as a whole takes what was declared. It never shrinks: that is the process's end."""

    def __init__(self) -> None:
        self._chunks: list[bytearray] = []

    def grow_to(self, process_bytes: int) -> None:
        """Takes what is missing, every page touched; nothing if the process is larger already.

        Raises EngineError if the system refuses.
        """
        missing = process_bytes - process_size_bytes()
        try:
            while missing > 0:
                chunk = bytearray(min(missing, CHUNK_BYTES))
                # A page that was only asked for takes no memory; one that is written does.
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
    """What this process takes, between what it has alone (USS) and its share of what it shares (PSS, on Linux only).

    PSS falls by some 10 MiB as other workers come that map the same libraries, and rises again as they go. The mean of
    both stays right within half of that, whoever measures, and when.
    """
    used = psutil.Process().memory_full_info()
    if sys.platform == "linux":
        return (used.uss + used.pss) // 2
    else:  # noqa: RET505  mypy leaves out a branch of another platform, not what follows it
        return used.uss
