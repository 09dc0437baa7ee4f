"""Events of the supervisor, and its decisions."""

from collections.abc import Mapping
from dataclasses import dataclass

from vramd.values.former_names import FormerNames
from vramd.values.models import Receipt
from vramd.values.words import Cause, DecisionKind, EventKind, ModelState, Pressure


@dataclass(frozen=True)
class ModelChanged(FormerNames):
    """A model went from one state to another.

    >>> with client.watch(["MODEL"]) as events:
    ...     change = next(events).detail
    >>> isinstance(change, vramd.ModelChanged) and change.after
    'READY'
    """

    model: str
    worker_id: int
    before: ModelState | str
    after: ModelState | str
    cause: Cause | str
    message: str
    """The cause in words."""


@dataclass(frozen=True)
class LedgerRow:
    """One device's row of the ledger.

    >>> with client.watch(["LEDGER"]) as events:
    ...     change = next(events).detail
    >>> isinstance(change, vramd.LedgerChanged) and change.devices
    (LedgerRow(id='gpu0', reserved_bytes=3221225472, budget_bytes=7516192768),)
    """

    id: str
    reserved_bytes: int
    budget_bytes: int


@dataclass(frozen=True)
class LedgerChanged:
    """The ledger after a change.

    >>> with client.watch(["LEDGER"]) as events:
    ...     change = next(events).detail
    >>> isinstance(change, vramd.LedgerChanged) and change.message
    'talker is loaded'
    """

    devices: tuple[LedgerRow, ...]
    message: str
    """The cause of the change, in words."""


@dataclass(frozen=True)
class Evicted(FormerNames):
    """A model is evicted: for another model, for a reservation, or for other programs.

    >>> with client.watch(["EVICTION"]) as events:
    ...     gone = next(events).detail
    >>> isinstance(gone, vramd.Evicted) and (gone.model, gone.cause, gone.for_model)
    ('reader', 'evicted_for_model', 'talker')
    """

    model: str
    worker_id: int
    cause: Cause | str
    message: str
    """The cause in words, with the numbers, and why it was this one."""
    for_model: str | None
    """The model that it is evicted for."""
    for_reservation: int | None
    """Id of the reservation that it is evicted for."""


@dataclass(frozen=True)
class PressureChanged:
    """The memory of a device became scarcer, or less so: one event for each crossing.

    >>> with client.watch(["PRESSURE"]) as events:
    ...     change = next(events).detail
    >>> isinstance(change, vramd.PressureChanged) and (change.device, change.before, change.after)
    ('gpu0', 'WARN', 'CLOSED')
    """

    device: str
    before: Pressure | str
    after: Pressure | str
    free_bytes: int
    """Taken by no program."""
    external_bytes: int
    """Taken by programs that are not vramd's."""
    headroom_bytes: int
    """Left to them."""
    message: str
    """The reason, with the numbers."""


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
    """The changes that are needed, in words."""
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


Detail = ModelChanged | LedgerChanged | Evicted | Receipt | PressureChanged | Thrashing | QueueChanged
"""The detail of an event, by its kind: MODEL, LEDGER, EVICTION, RELEASE, PRESSURE, THRASH, QUEUE."""


@dataclass(frozen=True)
class Event:
    """Something that happened in the supervisor.

    >>> with client.watch() as events:
    ...     next(events).kind
    'EVICTION'
    """

    sequence: int
    """Counts up from 1 without gaps as long as the supervisor lives."""
    time_s: float
    """Unix time."""
    kind: EventKind | str
    detail: Detail | None


@dataclass(frozen=True)
class Rejected:
    """An alternative that was considered and rejected.

    >>> client.decisions("reader")[0].rejected
    (Rejected(what='evict listener', why='it is pinned'),)
    """

    what: str
    why: str


@dataclass(frozen=True)
class Decision(FormerNames):
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
    worker_id: int
    """Which of the model's processes it was about; 0 for none."""
    for_whom: str
    """The beneficiary, in words: the id of a model, a reservation, "other programs", or empty."""
    cause: Cause | str
    """The cause of a change of the process; "unspecified" for refusals and mere reports."""
    reason: str | None
    """The reason of the error, for refusals; for example "QUEUE_FULL"."""
    message: str
    """In words, with the numbers."""
    numbers: Mapping[str, float]
    """By name: bytes end in _bytes, seconds in _s."""
    rejected: tuple[Rejected, ...]
