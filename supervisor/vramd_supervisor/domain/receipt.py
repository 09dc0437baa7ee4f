"""What an unload gave back. Pure values; the shell measures, the core adds what was promised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


@dataclass(frozen=True)
class Observed:
    """What was measured on one device."""

    size_bytes: int | None
    """None: it cannot be known here."""
    reason: str
    """How it was measured, or why it could not be."""


class Exit(Enum):
    """How a process came to its end."""

    ENDED = auto()
    """As it was asked to."""
    FORCED = auto()
    """It was killed: it did not end when it was asked, or something was wrong with it."""
    DIED = auto()
    """By itself."""
    NOT_STARTED = auto()
    """There was none."""


@dataclass(frozen=True)
class Receipt:
    """The end of one process."""

    worker_id: int
    pid: int
    message: str
    """How it ended, in words."""
    exit_s: float
    """From the decision to stop until it was gone; 0 for one that went by itself."""
    release_s: float
    """From then until its memory was seen to be free."""
    observed: Mapping[str, Observed]
    """Per device that it had bytes on."""
    exit: Exit | None = None
    """None: that is not known."""
    model: str = ""
    expected: Mapping[str, int] = field(default_factory=dict)
    """Bytes per device that were promised to it."""
