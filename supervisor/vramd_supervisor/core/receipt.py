"""What an unload gave back. Pure values; the shell measures, the core adds what was promised."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Observed:
    """What was measured on one device."""

    size_bytes: int | None
    """None: it cannot be known here."""
    reason: str
    """How it was measured, or why it could not be."""


@dataclass(frozen=True)
class Receipt:
    """The end of one process."""

    incarnation: int
    pid: int
    exit: str
    """How it ended, in words."""
    exit_s: float
    """From the decision to stop until it was gone; 0 for one that went by itself."""
    release_s: float
    """From then until its memory was seen to be free."""
    observed: Mapping[str, Observed]
    """Per device that it had bytes on."""
    model: str = ""
    expected: Mapping[str, int] = field(default_factory=dict)
    """Bytes per device that were promised to it."""
