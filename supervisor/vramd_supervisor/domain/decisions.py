"""Decisions of the scheduler, with cause, numbers, and rejected alternatives. Pure values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .causes import Because, Cause
from .errors import Refusal

_NUMBER = re.compile(r"\d{1,18}(\.\d{1,9})?", re.ASCII)


class DecisionKind(Enum):
    LOAD = "load"
    EVICT = "evict"
    REFUSE = "refuse"
    DEGRADE = "degrade"
    GIVE_BACK = "give_back"
    """A process took more memory than it was promised."""
    THRASH = "thrash"
    QUARANTINE = "quarantine"
    """Processes died too often: a model is not loaded for a while, or loads begin one at a time."""
    UNLOAD = "unload"
    """A process ended, and no other record says why."""
    RESUME = "resume"
    """A request lost its process and goes on in another."""
    THREADS = "threads"
    """A model computes with fewer CPU threads, because other programs take cores."""


def numbers_of(why: Refusal) -> dict[str, float]:
    """Returns the numbers in a refusal's metadata under the journal's names: neededBytes becomes needed_bytes."""
    names = {key: re.sub("([A-Z])", r"_\1", key).lower() for key in why.metadata}
    return {names[key]: float(value) for key, value in why.metadata.items() if _NUMBER.fullmatch(value)}


@dataclass(frozen=True)
class Rejected:
    """An alternative that was considered and rejected."""

    what: str
    why: str


@dataclass(frozen=True)
class Decision:
    kind: DecisionKind
    model: str
    message: str
    """The decision in words, with the numbers."""
    worker_id: int = 0
    for_whom: str = ""
    """Beneficiary: a model, "other programs", or empty."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Numbers by name: bytes end in _bytes, seconds in _s."""
    rejected: tuple[Rejected, ...] = ()
    cause: Cause | None = None
    """Cause of what happened to a model's process."""
    reason: str = ""
    """Reason of a refusal, by its name in the table of reasons."""

    @classmethod
    def because(
        cls,
        because: Because,
        kind: DecisionKind,
        model: str,
        worker_id: int,
        for_whom: str = "",
        numbers: Mapping[str, float] | None = None,
        rejected: tuple[Rejected, ...] = (),
    ) -> "Decision":
        """Builds the record of what happened to a model's process."""
        return cls(kind, model, because.words, worker_id, for_whom, numbers or {}, rejected, because.cause)
