"""The data of the core: models, their processes, requests, loads and reservations. Pure.

Only the core changes these.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from vramd_common.load_settings import DEFAULT_KEEP_ALIVE_S, LoadOptions, Settings

from ..domain.catalog import Model, ModelFile, Simulation
from ..domain.causes import ASKED_FOR, Awaited, Because
from ..domain.config import Priority
from ..domain.device_view import HOST
from ..domain.errors import Refusal
from ..domain.quote import Plan
from .queues import PriorityQueue
from .restarts import History

MOST_NAMED = 8
"""Models, processes or callers that one sentence names."""


class ModelState(Enum):
    UNLOADED = auto()
    QUEUED = auto()
    STARTING = auto()
    LOADING = auto()
    READY = auto()
    DRAINING = auto()
    STOPPING = auto()
    BACKOFF = auto()
    """Its process died; the next one is started after a pause."""
    QUARANTINED = auto()
    """Its processes died too often; no process of it is started."""


HAS_NO_PROCESS = frozenset({ModelState.UNLOADED, ModelState.QUEUED, ModelState.BACKOFF, ModelState.QUARANTINED})
COMING = frozenset({ModelState.STARTING, ModelState.LOADING})
GOING = frozenset({ModelState.DRAINING, ModelState.STOPPING})


class RequestKind(Enum):
    """Kind of a call, by the outcome that its caller wants."""

    RUN = auto()
    """A place in the model; it is granted, and ends when the caller says so."""
    LOAD = auto()
    """A ready model; the call ends once it is ready."""
    HOLD = auto()
    """A ready model that stays; the call ends with the caller."""
    UNLOAD = auto()
    """An unloaded model whose memory is free; the call ends with the receipt."""


class RequestState(Enum):
    """Where a request is. One that has ended is forgotten."""

    QUEUED = auto()
    DISPATCHED = auto()
    """Granted; nothing has reached the caller."""
    STREAMING = auto()
    """A part of the answer has come from the process."""


@dataclass(frozen=True)
class Lost:
    """A process that a request has lost: the next one is to compute like it."""

    why: Refusal
    options: LoadOptions
    """Options of its load, as they were asked for."""
    source: ModelFile | Simulation
    settings: Settings
    threads: frozenset[int]
    """Numbers of CPU threads that it computed the answer with."""

    def is_like(self, worker: "WorkerProcess", threads: int) -> bool:
        """Whether another process computes the same with so many threads.

        On the CPU flash attention divides a cache of 512 cells and more among the threads (ggml-cpu, ops.cpp), so their
        number is part of how its sums are rounded.
        """
        assert worker.plan is not None
        on_card = self.settings.device != HOST and self.settings.gpu_layers < 0
        same = on_card or self.settings.flash_attention == "off" or self.threads == {threads}
        return same and replace(worker.plan.settings, threads=self.settings.threads) == self.settings


@dataclass(eq=False)
class Request:
    id: int
    model: str
    kind: RequestKind
    options: LoadOptions
    deadline_s: float
    """The moment it has to end by."""
    limit_s: float
    """How long that was from its arrival."""
    priority: Priority = Priority.INTERACTIVE
    since_s: float = 0.0
    """The moment from which it waits: its arrival, or the loss of its process."""
    progress: bool = False
    """Its caller wants to hear the reason for its wait."""
    reload: bool = False
    """If the model is there with other settings, its process is to be replaced."""
    planned: bool = False
    """A process was planned by its options, or ended for them: none is ended for them once more."""
    state: RequestState = RequestState.QUEUED
    worker_id: int | None = None
    """Where it runs, once granted."""
    threads: set[int] = field(default_factory=set)
    """Numbers of CPU threads that it has been computed with there."""
    fingerprint: str = ""
    """Stands for its text and settings; empty: for nothing."""
    failed_loads: int = 0
    """Loads whose process died while it waited."""
    caller: str = ""
    """Label of a hold's caller, or the address of its connection."""
    held_from_s: float = math.inf
    """The moment from which it has held its model; inf: not yet."""
    resume: bool = True
    """It goes on in another process if it loses its own."""
    resumes: int = 0
    """Number of processes that it has lost and went on from."""
    sent: bool = False
    """A part of the answer has reached the caller."""
    lost: "Lost | None" = None
    """Its last process, if it has lost one."""

    @property
    def order(self) -> int:
        return self.id


class Phase(Enum):
    """Where a process is in its life."""

    SPARE = auto()
    LOADING = auto()
    """It starts or loads its model."""
    SERVING = auto()
    DRAINING = auto()
    """It admits no more requests, and ends with the last one."""
    ENDING = auto()
    """It was stopped, or is gone and its memory is not back yet."""


@dataclass(eq=False)
class WorkerProcess:
    """One process: of a model, or a spare that waits for one."""

    id: int
    owner: "ModelRuntime | None" = field(default=None, repr=False)
    """Its model; None: it is, or was, a spare."""
    pid: int = 0
    """0 until it said hello."""
    plan: Plan | None = None
    """None: a spare."""
    options: LoadOptions = field(default_factory=LoadOptions)
    """Options of its load, as they were asked for."""
    source: ModelFile | Simulation | None = None
    """What it loads, as the catalogue had it then."""
    keep_alive_s: float = DEFAULT_KEEP_ALIVE_S
    in_flight: set[int] = field(default_factory=set)
    context_tokens: int = 0
    room_from_s: float = 0.0
    """The moment from which others were sent away for it."""
    begun_s: float = 0.0
    """The moment it was chosen for its model, with the room for it."""
    load_from_s: float = 0.0
    measured: Mapping[str, int] = field(default_factory=dict)
    """Bytes that it took of each device when it became ready."""
    outgrown: dict[str, int] = field(default_factory=dict)
    """Bytes that were its due on each device where it took far more while it worked; its row may say more since."""
    ready_s: float | None = None
    last_used_s: float = 0.0
    """The moment its last request began or ended, its last hold ended, or it became ready."""
    free_from_s: float = 0.0
    """The moment from which nothing but its time to stay keeps it: it was unpinned, or that time was changed."""
    used: bool = False
    """Whether it had a request."""
    alone: int = 0
    """A request under which a process died before, and which has had nothing of this one yet: no other begins."""
    poisoned: bool = False
    """A request is to blame for its end."""
    answered: bool = False
    """Whether a request has had something of it."""
    leaves: Because | None = None
    """Why it drains, or was stopped."""
    drained_by_s: float = 0.0
    """The moment by which what runs on it has to end, once it drains."""
    outdated: bool = False
    """Its model is configured otherwise by now."""
    dismissed: bool = False
    """A caller wanted it unloaded, or its model was removed: however it ends, nothing takes its place by itself."""
    stopping: bool = False
    exited: bool = False
    unload_waiters: list[int] = field(default_factory=list)
    slowed_told_s: float = -math.inf
    """When it was last told that it has fewer CPU threads because of other programs."""

    @property
    def name(self) -> str:
        return self.owner.spec.id if self.owner else "a spare worker"

    @property
    def phase(self) -> Phase:
        """A further process of a model, which is to take the place of the one that serves, counts as loading."""
        owner = self.owner
        if self.stopping or self.exited:
            return Phase.ENDING
        if owner is None:
            return Phase.SPARE
        if owner.current is not self:
            return Phase.LOADING
        if owner.state is ModelState.READY:
            return Phase.SERVING
        return Phase.DRAINING if owner.state is ModelState.DRAINING else Phase.LOADING

    @property
    def stays_until_s(self) -> float:
        """The moment its keep-alive ends, if it is not used before."""
        return math.inf if self.keep_alive_s < 0 else max(self.last_used_s, self.free_from_s) + self.keep_alive_s


@dataclass(eq=False)
class Renewal:
    """A new process that is to take the place of the one that serves."""

    request: int
    """The request for it; in no queue meanwhile."""
    because: Because
    force: bool = False
    """Requests on the old process are ended once the new one is ready."""
    turn: int = 0
    """Turn of FindPlans for it; 0: not asked, -1: answered."""
    options: LoadOptions = field(default_factory=LoadOptions)
    worker: WorkerProcess | None = None
    """Once it is loaded beside the old one."""
    ready: bool = False
    """It answers, and waits for the old one to be gone."""
    behind: list[int] = field(default_factory=list)
    """Further requests for a new process, which wait for the end of this."""


@dataclass(eq=False)
class ModelRuntime:
    """A model that is known, and its life."""

    spec: Model
    """As the catalogue has it."""
    queue: PriorityQueue[Request]
    """Waiting requests, in the order of being served."""
    state: ModelState = ModelState.UNLOADED
    current: WorkerProcess | None = None
    renewal: Renewal | None = None
    loads: dict[int, Request] = field(default_factory=dict)
    """Those of the queue that only wait until it is ready, and take no place."""
    progress_watchers: dict[int, Request] = field(default_factory=dict)
    """Requests of the queue whose callers want to hear the reason for their wait."""
    holds: dict[int, Request] = field(default_factory=dict)
    """Requests of callers that hold it."""
    again: LoadOptions | None = None
    """How it is loaded again by itself once its process is gone: no caller wanted it unloaded."""
    outdated: bool = False
    """Its process was ended because it is configured otherwise by now, to be loaded again."""
    restarts: History = field(default_factory=History)
    """What is remembered of the deaths of its processes."""
    told_queued: int = 0
    """The length of its queue that watchers were told last."""
    pinned_now: bool | None = None
    """Runtime override of pinned; None uses the configuration."""
    keep_alive_now_s: float | None = None
    """Runtime override of keep_alive_s; None uses the configuration."""
    priority_now: Priority | None = None
    """Runtime override of the default priority of its requests."""
    removed: bool = False
    """The configuration no longer has it: it ends once nothing runs on it, and is not loaded again."""
    listed: bool = True
    """False: the catalogue has dropped it; a loaded model stays, and changes by callers are remembered."""
    taken: dict[Settings, Mapping[str, int]] = field(default_factory=dict)
    """Bytes per device that loads took which were given back for taking too much."""
    ran_out: bool = False
    """A device ran out of memory in its last load."""
    load_s: float | None = None
    """How long its last load took, process start aside."""
    because: Because | None = None
    """Cause of its last change of state."""
    story: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    """Its last changes of state, printed when an impossible one comes."""

    @property
    def id(self) -> str:
        return self.spec.id


@dataclass(eq=False)
class PendingLoad:
    """A load that has no process yet: it waits for its plans, then for room."""

    model: str
    options: LoadOptions
    turn: int
    """Its place among all that wait for room."""
    priority: Priority
    since_s: float
    """The moment it was first asked for."""
    because: Because = ASKED_FOR
    opportunistic: bool = False
    """A preload: it is loaded only if it fits without evicting anything."""
    plans: Sequence[Plan] = ()
    ways: Sequence[Mapping[str, int]] = ()
    """Bytes per device of each plan."""
    alternatives: Sequence[Plan] = ()
    """Settings that would fit, if none of the plans can."""
    room_from_s: float = math.inf
    """The moment from which others were evicted for it."""
    patience_until_s: float = -math.inf
    """The moment for which the timer is set that has busy models drained for it."""
    awaited: Awaited = Awaited.PLAN
    told: str = ""
    """The last report to its callers."""

    @property
    def order(self) -> int:
        return self.turn

    @property
    def devices(self) -> frozenset[str]:
        """All that one of its plans would touch."""
        return frozenset(device for plan in self.plans for device in plan.quote.devices)

    def found(self, plans: Sequence[Plan], alternatives: Sequence[Plan]) -> None:
        """Takes in how it can be placed, and what would fit instead."""
        self.plans, self.alternatives = plans, alternatives
        self.ways = [plan.quote.needs for plan in plans]


@dataclass(eq=False)
class Reservation:
    """Bytes that another program is about to take: a caller waits for them, or they are kept free in the ledger."""

    id: int
    """Its row in the ledger, once it is granted."""
    request: int
    """The call that asked for it."""
    device: str
    size_bytes: int
    ttl_s: float
    """How long it lasts, once it is granted."""
    label: str
    limit_s: float
    """How long its caller waits at most."""
    since_s: float
    turn: int
    """Its place among all that wait for room."""
    priority: Priority = Priority.INTERACTIVE
    until_s: float = 0.0
    """The moment it ends by itself, once it is granted."""
    patience_until_s: float = -math.inf
    """As of a load."""

    @property
    def order(self) -> int:
        return self.turn

    @property
    def name(self) -> str:
        return f"reservation {self.id} ({self.label})" if self.label else f"reservation {self.id}"


def is_known(model: ModelRuntime) -> bool:
    """Whether callers find a model: it is listed, or still there although its file is gone."""
    return model.listed or model.state is not ModelState.UNLOADED


def is_pinned(model: ModelRuntime) -> bool:
    """Whether a model is never evicted and never idle for too long."""
    return model.spec.pinned if model.pinned_now is None else model.pinned_now


def keep_alive_s(model: ModelRuntime) -> float:
    """Seconds that a model stays after its last use, where a load does not say."""
    changed = model.spec.options.keep_alive_s if model.keep_alive_now_s is None else model.keep_alive_now_s
    return DEFAULT_KEEP_ALIVE_S if changed is None else changed


def priority(model: ModelRuntime) -> Priority:
    """How urgent requests are that do not say."""
    return model.spec.priority if model.priority_now is None else model.priority_now


def why_kept(model: ModelRuntime) -> str:
    """Why a model is protected from eviction; empty if it is not."""
    return "held by a client" if model.holds else "pinned" if is_pinned(model) else ""


def is_kept(model: ModelRuntime) -> bool:
    """Whether a model is protected from eviction: it is pinned, or callers hold it."""
    return bool(model.holds) or is_pinned(model)


def comes_back(model: ModelRuntime) -> bool:
    """Whether a model whose process died is loaded again without being asked for."""
    return (is_pinned(model) or model.spec.preload) and not model.spec.expendable


def is_held_again(request: Request) -> bool:
    """Whether a request has held its model before, and waits for it to come back."""
    return request.held_from_s < math.inf


def is_idle(model: ModelRuntime) -> bool:
    """Whether a model is ready, has no requests, and none wait for it."""
    current = model.current
    return (
        model.state is ModelState.READY
        and current is not None
        and not current.in_flight
        and not model.queue
        and not model.renewal
    )


def is_changed(model: ModelRuntime) -> bool:
    """Whether a caller has changed how long a model stays or how urgent it is, which its file's return brings back."""
    return (model.pinned_now, model.keep_alive_now_s, model.priority_now) != (None, None, None)


def has_place(model: ModelRuntime) -> bool:
    """Whether a model can take one more request at this moment."""
    current = model.current
    if model.state is not ModelState.READY or current is None or current.plan is None:
        return False
    return not current.alone and len(current.in_flight) < current.plan.settings.parallel
