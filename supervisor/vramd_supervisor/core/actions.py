"""Actions: commands of the core. Frozen, imperative; the loop carries them out, and the outcome returns as events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vramd_common.load_settings import LoadOptions

from ..domain.catalog import Model
from ..domain.causes import Awaited, Because, Beneficiary, Cause
from ..domain.decisions import Decision
from ..domain.errors import Refusal
from ..domain.quote import Plan
from ..domain.receipt import Receipt
from .events import Timed
from .pressure import Level
from .state import ModelState


@dataclass(frozen=True, match_args=False)
class FindPlans:
    """Quote a model under these options on every device that it may use: PlansFound or PlansRefused."""

    model: Model
    options: LoadOptions
    turn: int
    """Identifies the load; the answer carries it."""
    available_if_evicted: Mapping[str, int]
    """Bytes of each device that the load could have once everything evictable is gone."""


@dataclass(frozen=True, match_args=False)
class Spawn:
    """Start a worker process: WorkerStarted or WorkerExited."""

    worker_id: int


@dataclass(frozen=True, match_args=False)
class Load:
    """Have a started worker load a model: LoadProgressed …, then WorkerReady, LoadRefused or WorkerExited."""

    worker_id: int
    model: Model
    plan: Plan
    threads: int


@dataclass(frozen=True, match_args=False)
class Stop:
    """Measure what a process takes, ask it to exit, then kill it: WorkerExited, then MemoryReleased."""

    worker_id: int


@dataclass(frozen=True, match_args=False)
class Grant:
    """Let a request run on a worker with this many CPU threads; its place is already taken."""

    request: int
    worker_id: int
    threads: int
    timeline: Mapping[str, float] = field(default_factory=dict)
    """Seconds that it waited, by phase: queued_s, drained_s, spawned_s, loaded_s; only phases that occurred."""
    alike: bool = True
    """The worker computes like the one that the request has lost, if it has lost one."""


@dataclass(frozen=True, match_args=False)
class Interrupted:
    """Break off a granted request that lost its process: it waits again, for another Grant or a Refuse."""

    request: int
    refusal: Refusal
    """Why it was lost; the end of the request if the shell cannot go on."""


@dataclass(frozen=True, match_args=False)
class SetThreads:
    """Change the CPU threads of a worker that generates."""

    worker_id: int
    threads: int


@dataclass(frozen=True, match_args=False)
class Refuse:
    """End a request with an error, whether it waits or runs."""

    request: int
    refusal: Refusal


@dataclass(frozen=True, match_args=False)
class Complete:
    """End a request for a load or an unload successfully."""

    request: int
    receipt: Receipt | None = None


@dataclass(frozen=True, match_args=False)
class GrantReservation:
    """Tell a caller that its reservation is granted: the bytes are free, and kept so."""

    request: int
    reservation: int


@dataclass(frozen=True, match_args=False)
class Report:
    """Tell a caller the reason for its wait, and the progress."""

    request: int
    state: ModelState
    share: float | None
    message: str
    awaited: Awaited | None = None
    """None: nothing any more, as the model answers or the caller hears why it does not."""
    ahead: int = 0
    """Requests that are served before it."""
    cause: Cause | None = None
    """Cause of the change of state that this reports."""


@dataclass(frozen=True, match_args=False)
class SetTimer:
    """Send this event back at its moment `at_s`; a timer about the same is replaced."""

    timer: Timed


@dataclass(frozen=True, match_args=False)
class CancelDeadline:
    """Forget the timer of a request that has ended."""

    request: int


@dataclass(frozen=True, match_args=False)
class CancelExpiry:
    """Forget the timer of a reservation that has ended."""

    reservation: int


@dataclass(frozen=True, match_args=False)
class Exit:
    """Exit: everything has ended."""


@dataclass(frozen=True, match_args=False)
class ModelChanged:
    """Notify watchers: a model changed its state."""

    model: str
    worker_id: int
    before: ModelState
    after: ModelState
    because: Because


@dataclass(frozen=True, match_args=False)
class LedgerChanged:
    """Notify watchers: the promised bytes of the devices have changed."""

    reserved_and_budget: Mapping[str, tuple[int, int]]
    message: str


@dataclass(frozen=True, match_args=False)
class Evicted:
    """Notify watchers: a model is evicted."""

    model: str
    worker_id: int
    beneficiary: Beneficiary
    because: Because


@dataclass(frozen=True, match_args=False)
class Released:
    """Notify watchers: a process is gone and its memory is back."""

    receipt: Receipt


@dataclass(frozen=True, match_args=False)
class PressureChanged:
    """Notify watchers: the memory of a device became scarcer, or less so."""

    device: str
    before: Level
    after: Level
    free_bytes: int
    external_bytes: int
    headroom_bytes: int
    message: str
    """The reason, with the numbers."""


@dataclass(frozen=True, match_args=False)
class FindTogether:
    """Find settings under which these models would fit together: TogetherFound."""

    models: Sequence[Model]
    available_if_evicted: Mapping[str, int]


@dataclass(frozen=True, match_args=False)
class QueueChanged:
    """Notify watchers: how many requests wait for a model, and in all."""

    model: str
    queued: int
    queued_in_all: int


@dataclass(frozen=True, match_args=False)
class Thrashing:
    """Notify watchers: models evict each other again and again."""

    models: tuple[str, ...]
    loads_per_minute: float
    useful_share: float
    """Share of the time in which neither was being loaded."""
    together: Sequence[Plan]
    """Settings under which they would fit together, in their order; empty: there are none."""


@dataclass(frozen=True, match_args=False)
class Decided:
    """Record a decision in the journal."""

    decision: Decision


Notice = ModelChanged | LedgerChanged | Evicted | Released | PressureChanged | QueueChanged | Thrashing
"""Actions that notify watchers."""

WorkerAction = Spawn | Load | Stop | SetThreads
"""Actions on a worker process."""

Answer = Grant | Interrupted | Complete | GrantReservation | Refuse | Report
"""Actions that answer a caller."""

TimerAction = SetTimer | CancelDeadline | CancelExpiry

Effect = WorkerAction | FindPlans | FindTogether | Answer | Exit | Decided | Notice
"""Actions carried out by the shell; all but the timers, which `pump` keeps."""

Action = Effect | TimerAction
