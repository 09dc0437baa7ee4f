"""What the scheduler has decided, with its cause, the numbers, and what it did not do instead. Pure values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .causes import Because, Cause
from .errors import Refusal

_NUMBER = re.compile(r"\d{1,18}(\.\d{1,9})?", re.ASCII)


class DecisionKind(Enum):
    """What was decided."""

    LOAD = "load"
    EVICT = "evict"
    REFUSE = "refuse"
    DEGRADE = "degrade"
    GIVE_BACK = "give_back"
    """A process took more than it was promised."""
    THRASH = "thrash"
    UNLOAD = "unload"
    """A process has ended, if no other record says why."""


def numbers_of(why: Refusal) -> dict[str, float]:
    """The numbers of a refusal's metadata, by the journal's names: neededBytes is needed_bytes."""
    names = {key: re.sub("([A-Z])", r"_\1", key).lower() for key in why.metadata}
    return {names[key]: float(value) for key, value in why.metadata.items() if _NUMBER.fullmatch(value)}


@dataclass(frozen=True)
class Rejected:
    """What was weighed and not done."""

    what: str
    why: str


@dataclass(frozen=True)
class Decision:
    """One record of the journal."""

    kind: DecisionKind
    model: str
    message: str
    """In words, with the numbers."""
    worker_id: int = 0
    for_whom: str = ""
    """For whose sake: a model, "other programs", or nobody."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """By name: bytes end in _bytes, seconds in _s."""
    rejected: tuple[Rejected, ...] = ()
    cause: Cause | None = None
    """Of what happened to a model's process."""
    reason: str = ""
    """Of a refusal, by its name in the table of reasons."""

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
        """The record of what happened to a model's process."""
        return cls(kind, model, because.words, worker_id, for_whom, numbers or {}, rejected, because.cause)
