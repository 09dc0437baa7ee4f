"""How requests wait, and what comes of it, as values."""

from dataclasses import dataclass
from typing import Literal

ModelState = Literal["UNSPECIFIED", "UNLOADED", "QUEUED", "STARTING", "LOADING", "READY", "DRAINING", "STOPPING"]
"""What a model is doing. A newer supervisor may know more."""

Awaited = Literal[
    "unspecified",
    "plan",
    "memory",
    "busy_models",
    "other_programs",
    "exclusion",
    "process",
    "weights",
    "place",
    "former_process",
]
"""What is waited for until a model answers; "unspecified": nothing. A newer supervisor may know more."""


@dataclass(frozen=True)
class Waiting:
    """What a request waits for.

    >>> client.generate("talker", "Once upon a", on_waiting=lambda step: print(step.ahead, step.message)).text
    3 reader is DRAINING
    ' time.'
    """

    ahead: int
    """Requests that the same model serves before it."""
    message: str
    """What the model is doing, and why, in words."""
    progress: float | None
    """Share of the weights that is read, 0 to 1; None while there is none."""
    state: ModelState | str = "UNSPECIFIED"
    """What the model is doing."""
    awaited: Awaited | str = "unspecified"
    """What is waited for."""


@dataclass(frozen=True)
class QueueChanged:
    """The queue of a model became longer or shorter.

    >>> with client.watch(["QUEUE"]) as events:
    ...     next(events).detail
    QueueChanged(model='talker', queued=3, queued_in_all=5)
    """

    model: str
    queued: int
    """Requests that wait for it."""
    queued_in_all: int
    """Requests that wait for any model."""


@dataclass(frozen=True)
class CoResident:
    """Settings under which a model would take less.

    >>> with client.watch(["THRASH"]) as events:
    ...     found = next(events).detail
    >>> isinstance(found, vramd.Thrashing) and found.together
    (CoResident(model='talker', changes=('kv-type q8_0',), needed_bytes=2147483648, lowered=('kv_type',)),)
    """

    model: str
    changes: tuple[str, ...]
    """What would have to change, in words."""
    needed_bytes: int
    """Over all devices, then."""
    lowered: tuple[str, ...] = ()
    """The setting of each of these changes."""


@dataclass(frozen=True)
class Thrashing:
    """Models drive each other out again and again.

    >>> with client.watch(["THRASH"]) as events:
    ...     found = next(events).detail
    >>> isinstance(found, vramd.Thrashing) and (found.models, found.loads_per_minute, found.useful_share)
    (('reader', 'talker'), 7.5, 0.25)
    """

    models: tuple[str, ...]
    loads_per_minute: float
    useful_share: float
    """Share of the time that went into answers and not into loads, 0 to 1."""
    together: tuple[CoResident, ...]
    """Settings under which they would fit together; empty if there are none."""
