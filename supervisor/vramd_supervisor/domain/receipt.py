"""Ends of processes, and receipts of the memory that they gave back. Pure values.

The shell measures, the core adds the promises.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


@dataclass(frozen=True)
class Observed:
    size_bytes: int | None
    """Bytes; None where they cannot be measured."""
    reason: str
    """Method of the measurement, or the reason why there is none."""


class Exit(Enum):
    ENDED = auto()
    """It ended when asked to."""
    FORCED = auto()
    """vramd killed it: it did not end when asked, or it was faulty."""
    DIED = auto()
    """It exited unasked, with an exit code."""
    NOT_STARTED = auto()
    KILLED = auto()
    """A signal from outside ended it, such as SIGKILL or SIGTERM."""
    CRASHED = auto()
    """A signal for a fault in its code ended it, such as SIGSEGV."""
    ASSERTION = auto()
    """Its native code gave itself up, and said in which line."""
    OUT_OF_MEMORY = auto()
    """The kernel killed it for want of memory, or it gave itself up because it got none."""
    DRIVER_LOST = auto()
    """The driver of its device failed."""
    HUNG = auto()
    """It did nothing any more, and vramd ended it."""
    REFUSED = auto()
    """It refused its file, and vramd ended it."""


OWN_FAULT = frozenset({Exit.DIED, Exit.CRASHED, Exit.ASSERTION, Exit.OUT_OF_MEMORY, Exit.HUNG})
"""Ends that a request may have caused."""


@dataclass(frozen=True)
class Receipt:
    worker_id: int
    pid: int
    message: str
    exit_s: float
    """Time from the decision to stop until the process was gone; 0 if it died unasked."""
    release_s: float
    """Time from then until its memory was seen to be free."""
    observed: Mapping[str, Observed]
    """Measurements by device that it had bytes on."""
    exit: Exit | None = None
    """The way in which it ended; None if that is not known."""
    model: str = ""
    expected: Mapping[str, int] = field(default_factory=dict)
    """Bytes that were promised to it, by device."""
