"""Models, their loads, and the receipts of unloads."""

from dataclasses import dataclass

from vramd.values.former_names import FormerNames
from vramd.values.plans import PlanSettings, Quote
from vramd.values.words import Awaited, Cause, Engine, Exit, Lowered, ModelState, Priority


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
    """Measured in its process."""


@dataclass(frozen=True)
class Deaths:
    """Deaths of a model's processes of late, and what follows from them.

    >>> client.model("talker").deaths is None
    True
    """

    strikes: int
    """Those within the last 10 minutes."""
    limit: int
    """Strikes from which on it is quarantined; 0: it never is."""
    exit: Exit | str
    """The way in which the last one ended."""
    message: str
    """The same in words."""
    quarantined_s: float | None
    """Seconds until its quarantine ends."""
    returns_s: float | None
    """Seconds until it is loaded again by itself."""
    probation: bool
    """It was quarantined, and no process has proven itself since: one more death quarantines it again."""


@dataclass(frozen=True)
class ResidentModel(FormerNames):
    """A model that has a process, waits for one, or may have none for a while.

    >>> [(model.model, model.state, model.pid, model.in_flight) for model in client.resident()]
    [('talker', 'READY', 4711, 1)]
    """

    model: str
    worker_id: int
    """Counts the processes of the model; 0 while it has none yet."""
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
    """The settings that were lowered so that it fits, in words and in the order of the steps."""
    lowered: tuple[Lowered | str, ...]
    """The setting of each of these steps."""
    cautions: tuple[str, ...]
    """Risks of the settings for the answers, in words: a context longer than the model was trained for."""
    settings: PlanSettings | None
    """The settings that it is loaded with; None while it waits for memory."""
    quote: Quote | None
    """The memory that it was expected to need; None while it waits for memory."""
    holders: tuple[str, ...]
    """Its holders: the label of each, else the address of its connection."""
    keep_alive_s: float | None
    """Seconds that it stays after its last use; -1 stays. None while it has no process."""
    keep_alive_left_s: float | None
    """Seconds until it is unloaded unless it is used; None while it works, is pinned or held, or stays."""
    priority: Priority | str
    """The priority of calls that do not give one."""
    deaths: Deaths | None = None
    """Of its processes, of late."""


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
    """The size of all its files."""
    architecture: str | None
    parameters: int | None
    quantization: str | None
    trained_context_tokens: int | None
    has_chat_template: bool
    projector_path: str | None
    pinned: bool
    state: ModelState | str
    problem: str | None
    """The reason that it cannot be loaded."""
    keep_alive_s: float
    """Seconds that it stays after its last use where a load does not say; -1 stays."""
    priority: Priority | str
    """The priority of calls that do not give one."""
    aliases: tuple[str, ...] = ()
    """Other names for it, from the configuration: they may stand wherever its id may."""
    cautions: tuple[str, ...] = ()
    """Risks of its settings, those of its load or else of the configuration, for its answers, in words."""
    deaths: Deaths | None = None
    """Of its processes, of late."""
    resident: ResidentModel | None = None
    """Only in the answer of `Client.model`."""


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
    """The thing that it waits for, in words."""
    awaited: Awaited | str
    """The thing that it waits for."""


@dataclass(frozen=True)
class Held:
    """The state of a model that is kept warm.

    >>> with client.hold("talker") as hold:
    ...     step = next(hold)
    >>> step.state, step.cause, step.awaited
    ('LOADING', 'loading', 'weights')
    """

    state: ModelState | str
    message: str
    """The cause, in words."""
    model: str
    """Its id: of "task:NAME", the one that was chosen."""
    cause: Cause | str
    """The cause of the change of state; "unspecified" if there was none."""
    awaited: Awaited | str
    """The thing that it waits for until it is ready."""


@dataclass(frozen=True)
class DeviceReceipt:
    """The memory that an unload freed on one device.

    >>> for device in client.unload("talker").devices:
    ...     print(device.id, device.expected_bytes, device.observed_bytes, device.reason)
    host 209715200 None no way to tell
    """

    id: str
    expected_bytes: int
    observed_bytes: int | None
    reason: str
    """The way in which it was observed, or why it could not be."""


@dataclass(frozen=True)
class Receipt(FormerNames):
    """The memory that an unload freed, and the end of the process.

    >>> client.unload("talker").exit
    'ended'
    """

    model: str
    worker_id: int
    pid: int | None
    exit: Exit | str
    """The way in which the process ended."""
    exit_s: float
    """Seconds from the decision to stop until the process was gone."""
    release_s: float
    """Seconds from then until its memory was seen to be free."""
    expected_bytes: int
    observed_bytes: int | None
    reason: str
    devices: tuple[DeviceReceipt, ...]
    message: str
    """The end of the process, in words."""


@dataclass(frozen=True)
class Rescan:
    """The outcome of a new look into the folders.

    >>> client.rescan()
    Rescan(added=('reader',), removed=(), known=2)
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    known: int
    """Models known now."""
