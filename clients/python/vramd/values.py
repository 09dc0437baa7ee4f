"""What calls return: frozen values, no protobuf. Sizes are bytes, durations seconds; None is what nobody knows.

Field names are the keys of the command line's JSON.
"""

from dataclasses import dataclass
from typing import Literal

from vramd.plan_values import Lowered, PlanSettings, Quote
from vramd.pressure import Pressure, PressureChanged
from vramd.scheduling_values import Awaited, ModelState, QueueChanged, Thrashing

Engine = Literal["unspecified", "llama", "simulated"]

Exit = Literal["unspecified", "ended", "forced", "died", "not_started"]
"""How a process came to its end: as asked, killed, by itself, or it was never there."""

DeviceKind = Literal["unspecified", "host", "nvidia", "virtual", "backend"]

Cause = Literal[
    "unspecified",
    "asked_for",
    "preload",
    "loading",
    "no_room",
    "refused",
    "took_too_much",
    "hung",
    "crashed",
    "idle",
    "unload",
    "restart",
    "reload",
    "evicted_for_model",
    "evicted_for_group",
    "evicted_for_limit",
    "evicted_for_reservation",
    "evicted_for_others",
    "shutdown",
]
"""Why a model changed its state, or why its process ended. A newer supervisor may know more."""

Priority = Literal["unspecified", "interactive", "normal", "batch"]

EventKind = Literal["UNSPECIFIED", "MODEL", "LEDGER", "EVICTION", "RELEASE", "PRESSURE", "THRASH", "QUEUE"]


@dataclass(frozen=True)
class DeviceUse:
    """Bytes of one loaded model on one device.

    >>> [(use.id, use.reserved_bytes, use.measured_bytes) for use in client.resident()[0].devices]
    [('gpu0', 3221225472, 2147483648)]
    """

    id: str
    reserved_bytes: int
    """Promised to the model in the ledger."""
    measured_bytes: int | None
    """What its process really takes."""


@dataclass(frozen=True)
class ResidentModel:
    """A model that has a process, or waits for one.

    >>> [(model.model, model.state, model.pid, model.in_flight) for model in client.resident()]
    [('talker', 'READY', 4711, 1)]
    """

    model: str
    incarnation: int
    """Which life of the model this is; 0 while it has no process yet."""
    state: ModelState | str
    pid: int | None
    devices: tuple[DeviceUse, ...]
    reserved_bytes: int
    measured_bytes: int | None
    parallel: int
    """Sequences that may run at the same time."""
    in_flight: int
    """Requests it works on."""
    queued: int
    """Requests that wait for it."""
    loaded_s: float | None
    """Seconds since it became ready."""
    last_used_s: float | None
    """Seconds since its last request began or ended."""
    pinned: bool
    context_tokens: int | None
    degraded: tuple[str, ...]
    """Where its settings are less than the usual ones, so that it fits, in words and in the order of the steps."""
    lowered: tuple[Lowered | str, ...]
    """The setting of each of these steps."""
    cautions: tuple[str, ...]
    """What the settings may do to the answers, in words: a context beyond what it was trained for."""
    settings: PlanSettings | None
    """What it is loaded with; None while it waits for room."""
    quote: Quote | None
    """What it was expected to need; None while it waits for room."""
    holders: tuple[str, ...]
    """Who holds it: what each calls itself, else the address of its connection."""
    keep_alive_s: float | None
    """Seconds that it stays after its last use; -1 stays. None while it has no process."""
    keep_alive_left_s: float | None
    """Seconds until it leaves if nobody uses it; None while it works, is pinned or held, or stays."""
    priority: Priority | str
    """Of calls that do not give one."""


@dataclass(frozen=True)
class Model:
    """A model that vramd knows.

    >>> [(model.id, model.architecture, model.state) for model in client.models()]
    [('reader', 'llama', 'UNLOADED'), ('talker', 'llama', 'UNLOADED')]
    """

    id: str
    engine: Engine | str
    path: str | None
    """File, or the first of its shards; None for a simulated model."""
    size_bytes: int
    """Of all its files."""
    architecture: str | None
    parameters: int | None
    quantization: str | None
    trained_context_tokens: int | None
    has_chat_template: bool
    projector_path: str | None
    pinned: bool
    state: ModelState | str
    problem: str | None
    """Why it cannot be loaded."""
    keep_alive_s: float
    """Seconds that it stays after its last use where a load does not say; -1 stays."""
    priority: Priority | str
    """Of calls that do not give one."""
    aliases: tuple[str, ...] = ()
    """Other names for it, from the configuration: they may stand wherever its id may."""
    cautions: tuple[str, ...] = ()
    """What its settings, of its load or else of the configuration, may do to its answers, in words."""
    resident: ResidentModel | None = None
    """Told by `Client.model` only."""


@dataclass(frozen=True)
class LoadProgress:
    """One step of a load.

    >>> loaded = client.load("talker", on_progress=lambda step: print(step.state, step.progress))
    LOADING 0.5
    READY None
    """

    state: ModelState | str
    progress: float | None
    """Share of the weights that is read, 0 to 1; None while there is none."""
    message: str
    """What it waits for, in words."""
    awaited: Awaited | str
    """What it waits for."""


@dataclass(frozen=True)
class Held:
    """What a model that is kept warm is doing.

    >>> with client.hold("talker") as hold:
    ...     step = next(hold)
    >>> step.state, step.cause, step.awaited
    ('LOADING', 'loading', 'weights')
    """

    state: ModelState | str
    message: str
    """Why, in words."""
    model: str
    """Its id: of "task:NAME", the one that was chosen."""
    cause: Cause | str
    """Why its state has changed; "unspecified" if it has not."""
    awaited: Awaited | str
    """What is waited for until it is ready."""


@dataclass(frozen=True)
class DeviceReceipt:
    """What an unload gave back on one device.

    >>> for device in client.unload("talker").devices:
    ...     print(device.id, device.expected_bytes, device.observed_bytes, device.reason)
    host 209715200 None no way to tell
    """

    id: str
    expected_bytes: int
    observed_bytes: int | None
    reason: str
    """How they were observed, or why they could not be."""


@dataclass(frozen=True)
class Receipt:
    """What an unload gave back.

    >>> client.unload("talker").exit
    'ended'
    """

    model: str
    incarnation: int
    pid: int | None
    exit: Exit | str
    """How the process ended."""
    exit_s: float
    """From the decision to stop until the process was gone."""
    release_s: float
    """From then until its memory was seen to be free."""
    expected_bytes: int
    observed_bytes: int | None
    reason: str
    devices: tuple[DeviceReceipt, ...]
    message: str
    """How the process ended, in words."""


@dataclass(frozen=True)
class Rescan:
    """What a new look into the folders found.

    >>> client.rescan()
    Rescan(added=('reader',), removed=(), known=2)
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    known: int
    """Models known now."""


@dataclass(frozen=True)
class Device:
    """One device of the ledger.

    >>> [(device.id, device.kind, device.budget_bytes) for device in client.devices()]
    [('gpu0', 'nvidia', 7516192768)]
    """

    id: str
    kind: DeviceKind | str
    name: str
    total_bytes: int
    budget_bytes: int
    """What vramd may promise at most."""
    reserved_bytes: int
    external_bytes: int
    """Taken by programs that are not vramd's."""
    headroom_bytes: int
    free_bytes: int
    """What can be promised now."""
    temperature_c: int | None
    utilisation_percent: int | None
    uuid: str | None
    unusable: str | None
    """Why no model is placed here, and what to do about it; None if models are."""
    pressure: Pressure | str


@dataclass(frozen=True)
class SupervisorInfo:
    """The supervisor's process.

    >>> client.status().supervisor.address
    '127.0.0.1:50151'
    """

    pid: int
    version: str
    uptime_s: float
    rss_bytes: int
    address: str
    usable_cores: int
    """CPU threads that generating workers share."""
    api: int
    """Number of the contract that it speaks; it counts up with each change that breaks clients."""


@dataclass(frozen=True)
class Status:
    """The supervisor, its devices and the resident models, at one moment.

    >>> status = client.status()
    >>> [device.id for device in status.devices], [model.model for model in status.models]
    (['gpu0'], ['talker'])
    """

    supervisor: SupervisorInfo
    devices: tuple[Device, ...]
    models: tuple[ResidentModel, ...]


@dataclass(frozen=True)
class ModelChanged:
    """A model went from one state to another.

    >>> with client.watch(["MODEL"]) as events:
    ...     change = next(events).detail
    >>> isinstance(change, vramd.ModelChanged) and change.after
    'READY'
    """

    model: str
    incarnation: int
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
    """What is promised after a change.

    >>> with client.watch(["LEDGER"]) as events:
    ...     change = next(events).detail
    >>> isinstance(change, vramd.LedgerChanged) and change.message
    'talker is loaded'
    """

    devices: tuple[LedgerRow, ...]
    message: str
    """What changed it, in words."""


@dataclass(frozen=True)
class Evicted:
    """A model has to go: for another model, for a reservation, or for other programs.

    >>> with client.watch(["EVICTION"]) as events:
    ...     gone = next(events).detail
    >>> isinstance(gone, vramd.Evicted) and (gone.model, gone.cause, gone.for_model)
    ('reader', 'evicted_for_model', 'talker')
    """

    model: str
    incarnation: int
    cause: Cause | str
    message: str
    """The cause in words, with the numbers, and why it was this one."""
    for_model: str | None
    """The model that is to come."""
    for_reservation: int | None
    """Id of the reservation that it goes for."""


Detail = ModelChanged | LedgerChanged | Evicted | Receipt | PressureChanged | Thrashing | QueueChanged
"""What an event tells, by its kind: MODEL, LEDGER, EVICTION, RELEASE, PRESSURE, THRASH, QUEUE."""


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
