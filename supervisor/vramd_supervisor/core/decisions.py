"""What the scheduler has decided, with its cause, the numbers, and what it did not do instead. Pure values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .errors import Refusal

_NUMBER = re.compile(r"\d{1,18}(\.\d{1,9})?", re.ASCII)


class DecisionKind(Enum):
    """What was decided."""

    LOAD = "load"
    EVICT = "evict"
    REFUSE = "refuse"
    DEGRADE = "degrade"
    GIVE_BACK = "give_back"
    """A load took more than it was promised."""
    THRASH = "thrash"


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
    cause: str
    """In words, with the numbers."""
    incarnation: int = 0
    for_whom: str = ""
    """For whose sake: a model, "other programs", or nobody."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """By name: bytes end in _bytes, seconds in _s."""
    rejected: tuple[Rejected, ...] = ()
