"""What the supervisor has decided, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vramd.values import Cause

DecisionKind = Literal["load", "evict", "refuse", "degrade", "give_back", "thrash", "unload"]
"""What was decided. A newer supervisor may know more kinds."""


@dataclass(frozen=True)
class Rejected:
    """What was weighed and not done.

    >>> client.decisions("reader")[0].rejected
    (Rejected(what='evict listener', why='it is pinned'),)
    """

    what: str
    why: str


@dataclass(frozen=True)
class Decision:
    """One thing that the supervisor has decided, and why.

    >>> decision = client.decisions("reader")[0]
    >>> decision.kind, decision.for_whom, decision.cause
    ('evict', 'talker', 'evicted_for_model')
    >>> decision.message
    'talker lacks 52.0 MiB on gpu0; reader is the least recently used of the idle'
    """

    id: int
    """Counts up, over restarts of the supervisor too."""
    time_s: float
    """Unix time."""
    kind: DecisionKind | str
    model: str
    incarnation: int
    """Which life of the model it was about; 0 for none."""
    for_whom: str
    """For whose sake, in words: the id of a model, a reservation, "other programs", or empty."""
    cause: Cause | str
    """Of what happened to a model's process; "unspecified" for refusals and for what is only told."""
    reason: str | None
    """Of a refusal: that of the error, for example "QUEUE_FULL"."""
    message: str
    """In words, with the numbers."""
    numbers: Mapping[str, float]
    """By name: bytes end in _bytes, seconds in _s."""
    rejected: tuple[Rejected, ...]
