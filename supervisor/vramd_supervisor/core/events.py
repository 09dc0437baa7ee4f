"""What has happened, told to the core. Frozen, past tense, each with its moment in monotonic seconds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vramd_common.load_settings import LoadOptions

from ..domain.catalog import Model
from ..domain.config import Priority
from ..domain.errors import Refusal
from ..domain.quote import Plan
from ..domain.receipt import Receipt
from ..quoting.abilities import Ability
from .state import RequestKind


@dataclass(frozen=True)
class Started:
    """The shell runs; the core may begin to want things."""

    at_s: float


@dataclass(frozen=True)
class CatalogueRead:
    """The folders and the configuration were read; this is every model there is now."""

    at_s: float
    models: Mapping[str, Model]


@dataclass(frozen=True)
class DeviceSampled:
    """A device was looked at."""

    at_s: float
    device: str
    total_bytes: int
    external_bytes: int
    """What programs take that are not ours."""
    used_bytes: int | None = None
    """By all programs together; None for a virtual device, which nobody else can use."""
    spilled_bytes: int = 0
    """Of our processes, moved to the host's memory by the driver."""
    attributed: bool = True
    """Whether the driver tells what our processes take; else what a load takes looks like others' until it is ready."""
    taken_bytes: Mapping[int, int] = field(default_factory=dict)
    """By our processes, each for itself, by their pids; empty where the driver does not tell."""


@dataclass(frozen=True)
class Requested:
    """A caller wants a place in a model, or that it is ready."""

    at_s: float
    request: int
    model: str
    kind: RequestKind
    limit_s: float
    """Seconds that it may take."""
    options: LoadOptions = field(default_factory=LoadOptions)
    priority: Priority | None = None
    """None: the model's own."""
    progress: bool = False
    """The caller wants to hear what is waited for."""
    reload: bool = False
    """If the model is there with other settings, give it a new process."""
    caller: str = ""
    """Who wants to hold it: what it calls itself, or where it is connected from."""
    needs: Ability | None = None
    """What the model has to be able to do; None: nothing in particular."""


@dataclass(frozen=True)
class UnloadRequested:
    """A caller wants a model gone."""

    at_s: float
    request: int
    model: str
    limit_s: float
    force: bool = False
    """End what runs at once."""


@dataclass(frozen=True)
class RestartRequested:
    """A caller wants a loaded model to have a new process with the same settings."""

    at_s: float
    request: int
    model: str
    limit_s: float
    force: bool = False
    """End what runs at once."""


@dataclass(frozen=True)
class ModelUpdated:
    """A caller has changed how long a model stays; None leaves a thing as it is."""

    at_s: float
    model: str
    pinned: bool | None = None
    keep_alive_s: float | None = None
    priority: Priority | None = None


@dataclass(frozen=True)
class Streamed:
    """The first part of an answer has reached the caller."""

    at_s: float
    request: int


@dataclass(frozen=True)
class Ended:
    """A granted request is over, well or not; its place is free."""

    at_s: float
    request: int


@dataclass(frozen=True)
class Cancelled:
    """A caller has left."""

    at_s: float
    request: int


@dataclass(frozen=True)
class ReservationRequested:
    """A caller says that another program is about to take bytes."""

    at_s: float
    request: int
    device: str
    size_bytes: int
    ttl_s: float
    """Seconds that the reservation stands, once there is room."""
    label: str
    limit_s: float
    """Seconds that it may take to make room."""


@dataclass(frozen=True)
class ReservationReleased:
    """A caller has no need of a reservation any more."""

    at_s: float
    reservation: int


@dataclass(frozen=True)
class PlansFound:
    """The ways a model can be placed, best first, with their quotes. Answers FindPlans."""

    at_s: float
    model: str
    turn: int
    """Of the wish that this answers; a newer one has another."""
    plans: Sequence[Plan]
    alternatives: Sequence[Plan] = ()
    """What would fit, if none of the plans can."""


@dataclass(frozen=True)
class PlansRefused:
    """There is no way to place a model. Answers FindPlans."""

    at_s: float
    model: str
    turn: int
    refusal: Refusal


@dataclass(frozen=True)
class WorkerStarted:
    """A process said hello. Answers Spawn."""

    at_s: float
    worker_id: int
    pid: int
    idle_bytes: int
    """Host memory it takes without a model."""


@dataclass(frozen=True)
class LoadProgressed:
    """A process has read this share of its weights, 0 to 1."""

    at_s: float
    worker_id: int
    share: float


@dataclass(frozen=True)
class WorkerReady:
    """A process answers for its model. Answers Load."""

    at_s: float
    worker_id: int
    context_tokens: int
    measured: Mapping[str, int] = field(default_factory=dict)
    """Bytes that it takes, on the devices where that can be known."""


@dataclass(frozen=True)
class LoadRefused:
    """A process could not load its model, and said why. Answers Load."""

    at_s: float
    worker_id: int
    refusal: Refusal


@dataclass(frozen=True)
class WorkerExited:
    """A process is known to be gone: asked to or not."""

    at_s: float
    worker_id: int
    exit: str
    """How it ended, in words."""


@dataclass(frozen=True)
class MemoryReleased:
    """The memory of a process that is gone is back, or the wait for it is over. Follows WorkerExited."""

    at_s: float
    worker_id: int
    receipt: Receipt


@dataclass(frozen=True)
class DeadlinePassed:
    """Timer: a request has had its time."""

    at_s: float
    request: int


@dataclass(frozen=True)
class KeepAliveEnded:
    """Timer: a model was idle for as long as it may be."""

    at_s: float
    worker_id: int


@dataclass(frozen=True)
class DrainEnded:
    """Timer: a model that drains has had its time."""

    at_s: float
    worker_id: int


@dataclass(frozen=True)
class LoadLimitReached:
    """Timer: a load has had its time."""

    at_s: float
    worker_id: int


@dataclass(frozen=True)
class PatienceEnded:
    """Timer: something has waited for busy models as long as it has to."""

    at_s: float
    turn: int


@dataclass(frozen=True)
class TogetherFound:
    """Settings under which models would fit beside each other. Answers FindTogether."""

    at_s: float
    models: tuple[str, ...]
    plans: Sequence[Plan]
    """One for each, in their order; none if they would not."""


@dataclass(frozen=True)
class ReservationExpired:
    """Timer: a reservation has stood for as long as its caller said."""

    at_s: float
    reservation: int


@dataclass(frozen=True)
class ShutdownRequested:
    """The supervisor is to end."""

    at_s: float
    force: bool = False
    """End what runs at once."""


Timed = DeadlinePassed | KeepAliveEnded | DrainEnded | LoadLimitReached | PatienceEnded | ReservationExpired
"""What a timer turns into when its time has come."""

Event = (
    Started
    | CatalogueRead
    | DeviceSampled
    | Requested
    | UnloadRequested
    | RestartRequested
    | ModelUpdated
    | Streamed
    | Ended
    | Cancelled
    | ReservationRequested
    | ReservationReleased
    | PlansFound
    | PlansRefused
    | TogetherFound
    | WorkerStarted
    | LoadProgressed
    | WorkerReady
    | LoadRefused
    | WorkerExited
    | MemoryReleased
    | Timed
    | ShutdownRequested
)
