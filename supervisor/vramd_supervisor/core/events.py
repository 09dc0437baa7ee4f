"""Events that have happened. Frozen, past tense, each with its moment in monotonic seconds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vramd_common.load_settings import LoadOptions

from ..domain.catalog import Model
from ..domain.config import Config, Priority
from ..domain.device_view import Limits
from ..domain.errors import Refusal
from ..domain.quote import Plan
from ..domain.receipt import Exit, Receipt
from ..quoting.abilities import Ability
from .state import RequestKind


@dataclass(frozen=True, match_args=False)
class Started:
    """The shell runs; the core may begin to want things."""

    at_s: float


@dataclass(frozen=True, match_args=False)
class CatalogueRead:
    """The folders and the configuration were read; these are all models that there are now."""

    at_s: float
    models: Mapping[str, Model]


@dataclass(frozen=True, match_args=False)
class ConfigurationRead:
    """The configuration was read again; this is all that it says now."""

    at_s: float
    config: Config
    limits: Mapping[str, Limits]
    """By device."""
    models: Mapping[str, Model]
    """All that there are now."""
    removed: Sequence[str] = ()
    """Models that the configuration no longer has, so that their processes are to end."""


@dataclass(frozen=True, match_args=False)
class DeviceSampled:
    """A device was measured."""

    at_s: float
    device: str
    total_bytes: int
    external_bytes: int
    """Taken by programs other than vramd's."""
    used_bytes: int | None = None
    """By all programs together; None for a virtual device, which no other program can use."""
    spilled_bytes: int = 0
    """Bytes of our processes that the driver moved to the host's memory."""
    attributed: bool = True
    """Whether the driver tells what each process takes; else what a load takes looks like others' until it is ready."""
    taken_bytes: Mapping[int, int] = field(default_factory=dict)
    """By each of our processes, by its pid; empty where the driver does not tell."""


@dataclass(frozen=True, match_args=False)
class CpuSampled:
    """The use of the CPU was measured."""

    at_s: float
    cores: int
    """CPU threads that vramd's processes may run on."""
    foreign_cores: float
    """Cores' worth of time that other programs took of these."""


@dataclass(frozen=True, match_args=False)
class Requested:
    """A caller wants a place in a model, or wants it ready."""

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
    """The caller wants to hear the reason for its wait."""
    reload: bool = False
    """If the model is loaded with other settings, give it a new process."""
    caller: str = ""
    """Name of a hold's caller, or where it is connected from."""
    needs: Ability | None = None
    """Ability that the call needs; None: none in particular."""
    fingerprint: str = ""
    """Keyed hash of its text and settings, the same for the same request."""
    resume: bool = True
    """It goes on in another process if it loses its own; False: it then ends with an error."""


@dataclass(frozen=True, match_args=False)
class UnloadRequested:
    """A caller wants a model unloaded."""

    at_s: float
    request: int
    model: str
    limit_s: float
    force: bool = False
    """End running requests at once."""


@dataclass(frozen=True, match_args=False)
class RestartRequested:
    """A caller wants a new process for a loaded model, with the same settings."""

    at_s: float
    request: int
    model: str
    limit_s: float
    force: bool = False
    """End running requests at once."""


@dataclass(frozen=True, match_args=False)
class ModelUpdated:
    """A caller has changed how long a model stays; None leaves a value as it is."""

    at_s: float
    model: str
    pinned: bool | None = None
    keep_alive_s: float | None = None
    priority: Priority | None = None


@dataclass(frozen=True, match_args=False)
class ModelReset:
    """A caller has what is remembered of a model's deaths forgotten."""

    at_s: float
    model: str


@dataclass(frozen=True, match_args=False)
class Streamed:
    """The first part of an answer has reached the caller."""

    at_s: float
    request: int


@dataclass(frozen=True, match_args=False)
class Resumed:
    """An interrupted request has been handed to its next process."""

    at_s: float
    request: int
    sent_tokens: int
    """Tokens that its caller had before; it goes on behind them."""
    exact: bool
    """Whether they are computed again as they were the first time."""


@dataclass(frozen=True, match_args=False)
class Ended:
    """A granted request has ended, well or not; its place is free."""

    at_s: float
    request: int


@dataclass(frozen=True, match_args=False)
class Cancelled:
    """A caller has left."""

    at_s: float
    request: int


@dataclass(frozen=True, match_args=False)
class ReservationRequested:
    """A caller wants bytes kept free for another program."""

    at_s: float
    request: int
    device: str
    size_bytes: int
    ttl_s: float
    """Seconds that the reservation lasts, once it is granted."""
    label: str
    limit_s: float
    """Seconds that it may take to make room."""


@dataclass(frozen=True, match_args=False)
class ReservationReleased:
    """A caller gives a reservation back."""

    at_s: float
    reservation: int


@dataclass(frozen=True, match_args=False)
class PlansFound:
    """How a model can be placed, best first, with quotes. Answers FindPlans."""

    at_s: float
    model: str
    turn: int
    """Number of the load that this answers; a later one has another."""
    plans: Sequence[Plan]
    alternatives: Sequence[Plan] = ()
    """Settings that would fit, if none of the plans can."""


@dataclass(frozen=True, match_args=False)
class PlansRefused:
    """A model cannot be placed. Answers FindPlans."""

    at_s: float
    model: str
    turn: int
    refusal: Refusal


@dataclass(frozen=True, match_args=False)
class WorkerStarted:
    """A process said hello. Answers Spawn."""

    at_s: float
    worker_id: int
    pid: int
    idle_bytes: int
    """Host memory that it takes without a model."""


@dataclass(frozen=True, match_args=False)
class LoadProgressed:
    """A process has read this share of its weights, 0 to 1."""

    at_s: float
    worker_id: int
    share: float


@dataclass(frozen=True, match_args=False)
class WorkerReady:
    """A process answers for its model. Answers Load."""

    at_s: float
    worker_id: int
    context_tokens: int
    measured: Mapping[str, int] = field(default_factory=dict)
    """Bytes that it takes, on the devices where they can be measured."""


@dataclass(frozen=True, match_args=False)
class LoadRefused:
    """A process could not load its model. Answers Load."""

    at_s: float
    worker_id: int
    refusal: Refusal


@dataclass(frozen=True, match_args=False)
class WorkerStalled:
    """A process hangs: it owes something and makes no progress."""

    at_s: float
    worker_id: int
    how: str
    """In which way, in words."""
    limit_s: float
    """Seconds that it had for some progress."""
    before: bool = False
    """It hung before it was given anything: what waits for it is not the cause."""


@dataclass(frozen=True, match_args=False)
class WorkerExited:
    """A process is gone, asked to or not."""

    at_s: float
    worker_id: int
    exit: str
    """How it ended, in words."""
    how: Exit = Exit.DIED


@dataclass(frozen=True, match_args=False)
class MemoryReleased:
    """The memory of a process that is gone is back, or the wait for it is over. Follows WorkerExited."""

    at_s: float
    worker_id: int
    receipt: Receipt


@dataclass(frozen=True, match_args=False)
class DeadlinePassed:
    """Timer: the deadline of a request."""

    at_s: float
    request: int


@dataclass(frozen=True, match_args=False)
class KeepAliveEnded:
    """Timer: the keep-alive of an idle model."""

    at_s: float
    worker_id: int


@dataclass(frozen=True, match_args=False)
class DrainEnded:
    """Timer: the limit of a drain."""

    at_s: float
    worker_id: int


@dataclass(frozen=True, match_args=False)
class LoadLimitReached:
    """Timer: the limit of a load."""

    at_s: float
    worker_id: int


@dataclass(frozen=True, match_args=False)
class PatienceEnded:
    """Timer: something has waited long enough for busy models, which may now be drained for it."""

    at_s: float
    turn: int


@dataclass(frozen=True, match_args=False)
class PauseEnded:
    """Timer: a model whose process died may be loaded again."""

    at_s: float
    model: str


@dataclass(frozen=True, match_args=False)
class QuarantineEnded:
    """Timer: a model may be loaded on probation."""

    at_s: float
    model: str


@dataclass(frozen=True, match_args=False)
class TogetherFound:
    """Settings under which models would fit together. Answers FindTogether."""

    at_s: float
    models: tuple[str, ...]
    plans: Sequence[Plan]
    """One for each, in their order; none if they would not."""


@dataclass(frozen=True, match_args=False)
class ReservationExpired:
    """Timer: the end of a reservation."""

    at_s: float
    reservation: int


@dataclass(frozen=True, match_args=False)
class AdmissionClosed:
    """Nothing new is to be admitted; what was admitted before goes on."""

    at_s: float


@dataclass(frozen=True, match_args=False)
class AdmissionOpened:
    """Work is to be admitted again."""

    at_s: float


@dataclass(frozen=True, match_args=False)
class ShutdownRequested:
    """The supervisor is to exit."""

    at_s: float
    force: bool = False
    """End running requests at once."""


Timed = (
    DeadlinePassed
    | KeepAliveEnded
    | DrainEnded
    | LoadLimitReached
    | PatienceEnded
    | ReservationExpired
    | PauseEnded
    | QuarantineEnded
)
"""Events that timers send."""

Event = (
    Started
    | CatalogueRead
    | ConfigurationRead
    | DeviceSampled
    | CpuSampled
    | Requested
    | UnloadRequested
    | RestartRequested
    | ModelUpdated
    | ModelReset
    | Streamed
    | Resumed
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
    | WorkerStalled
    | WorkerExited
    | MemoryReleased
    | Timed
    | AdmissionClosed
    | AdmissionOpened
    | ShutdownRequested
)
