"""Receipts of the memory that an unload gave back. Pure values; the shell measures, the core adds the promises."""

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
    """It was killed: it did not end when asked, or it was faulty."""
    DIED = auto()
    """It died unasked."""
    NOT_STARTED = auto()


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
