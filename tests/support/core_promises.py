"""What the core must hold whatever happens, checked from outside after every event."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import (
    Action,
    Complete,
    Decided,
    Evicted,
    Grant,
    GrantReservation,
    Interrupted,
    ModelChanged,
    QueueChanged,
    Refuse,
    Report,
    Stop,
)
from vramd_supervisor.core.admission import claim_of
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import (
    CatalogueRead,
    ConfigurationRead,
    DeadlinePassed,
    Event,
    LoadLimitReached,
    LoadRefused,
    MemoryReleased,
    ModelReset,
    PatienceEnded,
    RestartRequested,
    ShutdownRequested,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
    WorkerStalled,
)
from vramd_supervisor.core.pump import Pump
from vramd_supervisor.core.restarts import BREAKER_DEATHS, BREAKER_S, LEAST_BETWEEN_S, MOST_RUNS_AGAIN
from vramd_supervisor.core.room import Wait, decide_admission
from vramd_supervisor.core.state import (
    COMING,
    GOING,
    ModelRuntime,
    ModelState,
    Phase,
    RequestKind,
    RequestState,
    Reservation,
    has_place,
    is_kept,
    is_pinned,
)
from vramd_supervisor.domain.catalog import Model
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.config import BOUND_FACTORS, Priority
from vramd_supervisor.domain.decisions import Decision, DecisionKind
from vramd_supervisor.domain.errors import Refusal

MOST_DETAIL_BYTES = 4096
EPSILON_S = 1e-6
"""Sums of seconds in another order differ by less."""


@dataclass(frozen=True)
class Asked:
    """A call as its caller knows it."""

    model: str
    kind: RequestKind
    priority: Priority
    since_s: float
    deadline_s: float
    ahead: bool = False
    """It stands before all others: a restart, or a load with other settings."""


class Promises:
    """Follows a core from outside and asserts what it has promised; raises AssertionError."""

    def __init__(self, core: Core, most_wait_s: float, pump: Pump) -> None:
        """`most_wait_s` is what others may take before a load, beside its bound; `pump` has the timers."""
        self.core = core
        self.most_wait_s = most_wait_s
        self.pump = pump
        self.open: dict[int, Asked] = {}
        """Calls that were not answered for good."""
        self.granted: dict[int, int] = {}
        self.states: dict[str, ModelState] = {}
        self.memory: dict[int, dict[str, int]] = {}
        """Bytes that each process really holds until its memory is back."""
        self.waiting_since_s: dict[str, float] = {}
        """Loads that nothing but other models keeps out, and since when."""
        self.accepted = self.answered = self.loads = 0
        self.interrupted: Counter[int] = Counter()
        """Processes that a call has lost."""
        self.answering: set[int] = set()
        """Processes that have said that they answer."""
        self._begun_s: dict[str, float] = {}
        """When its last load began."""
        self._forced: set[str] = set()
        """Models that are to have a new process, whatever runs on the old one."""
        self._promised: dict[str, int] = {}
        """Bytes of each device, as of the last event."""
        self._drains_s: dict[str, float] = {}
        """Since when it drains, or did the last time."""
        self.deaths = Deaths(core)
        self.suspects: set[int] = set()
        """Requests that were granted although a process died under them before."""

    def accept(self, request: int, asked: Asked) -> None:
        self.open[request] = asked
        self.accepted += 1

    def close(self, request: int) -> None:
        assert request in self.open, f"request {request} was ended twice, or after its caller had left"
        del self.open[request]
        self.granted.pop(request, None)
        self.answered += 1

    def follow(self, event: Event, actions: Sequence[Action], now_s: float) -> None:
        """Everything that one event has brought, in its order, then what must hold behind it."""
        self._note(event)
        self.deaths.follow(event, actions, now_s)
        evicted: list[Evicted] = []
        records: list[Decision] = []
        told: dict[str, int] = {}
        for action in actions:
            match action:
                case Grant():
                    self._granted(action, now_s)
                case Refuse(request=request, refusal=why):
                    self._refused(request, why, event, now_s)
                    self.close(request)
                case Interrupted(request=request):
                    self._interrupted(request)
                case Complete(request=request) | GrantReservation(request=request):
                    self.close(request)
                case Report(request=request):
                    assert request in self.open, f"request {request} is told something after its end"
                case ModelChanged():
                    self._changed(action, now_s)
                case Evicted():
                    self._evicted(action, now_s)
                    evicted.append(action)
                case QueueChanged(model=model, queued=queued):
                    told[model] = queued
                case Decided(decision=decision):
                    records.append(decision)
                case _:
                    pass
        for model, queued in told.items():
            runtime = self.core.state.models.get(model)
            assert queued == (len(runtime.queue) if runtime else 0), f"{model}: a wrong queue was told"
        self._rescanned(event, actions)
        self._failed(event, actions)
        self._recorded(evicted, records, actions)
        back = event.worker_id if isinstance(event, MemoryReleased) else 0
        alive = back in self.core.state.workers and not self.core.state.workers[back].exited
        assert alive or back not in self.core.state.ledger.rows, f"the bytes of process {back} are back, and promised"
        self.core.check()
        self._check_books()
        self._check_limits()
        self._check_requests(now_s)
        self._check_nobody_is_left_behind()
        self._check_waits(now_s)

    def _note(self, event: Event) -> None:
        match event:
            case WorkerReady():
                self.answering.add(event.worker_id)
            case RestartRequested() if event.force:
                self._forced.add(event.model)
            case _:
                pass

    def _interrupted(self, request: int) -> None:
        """It had a place, and goes on before all others, not for ever."""
        assert self.granted.pop(request, None), f"request {request} is interrupted, and had no place"
        self.open[request] = replace(self.open[request], ahead=True)
        self.interrupted[request] += 1
        assert self.interrupted[request] <= MOST_RUNS_AGAIN, f"request {request} is begun again and again"

    def _failed(self, event: Event, actions: Sequence[Action]) -> None:
        """A process that was to take another's place, and did not load, has that one go on."""
        if isinstance(event, LoadRefused | LoadLimitReached):
            worker = self.core.state.workers.get(event.worker_id)
            owner = worker.owner if worker else None
            for change in actions:
                if owner and isinstance(change, ModelChanged) and change.model == owner.id:
                    replaced = change.because.cause in {Cause.RESTART, Cause.RELOAD}
                    assert not replaced, f"a new process that failed has ended that of {change.model}"

    def _rescanned(self, event: Event, actions: Sequence[Action]) -> None:
        """A look into the folders ends nothing that is held, pinned or at work, and refuses nobody."""
        for action in actions if isinstance(event, CatalogueRead) else ():
            assert not isinstance(action, Refuse), "a rescan has refused a caller"
            if isinstance(action, ModelChanged) and action.after in GOING:
                working = action.worker_id in self.granted.values()
                assert not working, f"a rescan has ended {action.model} while it worked"
                assert not self._may_stay(action.model), f"a rescan has ended {action.model}, which may stay"

    def _granted(self, grant: Grant, now_s: float) -> None:
        asked = self.open.get(grant.request)
        assert asked, f"request {grant.request} is served after its end"
        assert grant.request not in self.granted, "granted twice"
        assert now_s <= asked.deadline_s, "served after its deadline"
        assert self.states[asked.model] is ModelState.READY, f"{asked.model} admits while {self.states[asked.model]}"
        assert grant.worker_id in self.memory, "served by a process that is gone"
        worker = self.core.state.workers[grant.worker_id]
        running = (self.core.state.requests[one] for one in worker.in_flight if one != grant.request)
        silent = [one for one in running if one.state is RequestState.DISPATCHED and one.id in self.suspects]
        assert not silent, f"request {grant.request} begins beside a suspect"
        request = self.core.state.requests[grant.request]
        if self.core.state.suspects.is_marked(request.fingerprint, now_s):
            self.suspects.add(grant.request)
        self.granted[grant.request] = grant.worker_id
        if asked.ahead:
            return
        for other in self.core.state.models[asked.model].queue:
            first = self.open[other.id]
            late = self._key(other.id, first) < self._key(grant.request, asked)
            assert not late, f"request {grant.request} overtakes {other.id}"

    def _key(self, request: int, asked: Asked) -> tuple[float, int]:
        age_s = self.core.state.config.scheduling.starvation_bound_s
        return (int(asked.priority) * age_s + asked.since_s, request)

    def _refused(self, request: int, why: Refusal, event: Event, now_s: float) -> None:
        """With a reason of the table and all that it tells; what runs and what loads had its time."""
        asked = self.open.get(request)
        assert asked, f"request {request} was refused after its end"
        said = len(why.message) + sum(len(key) + len(value) for key, value in why.metadata.items())
        assert set(why.reason.value.metadata) <= set(why.metadata), f"{why.reason.name} tells too little"
        assert said < MOST_DETAIL_BYTES, f"{why.reason.name} says {said} bytes"
        config = self.core.state.config
        if why.reason is Reason.DRAINING:
            assert self.core.draining, "a supervisor that is not drained turns callers away"
        if why.reason is Reason.LOAD_TIMEOUT and not isinstance(event, WorkerStalled):
            begun_s = self._begun_s[asked.model]
            assert now_s + EPSILON_S >= begun_s + config.server.load_deadline_s, "a load was given up before its time"
        forced = isinstance(event, UnloadRequested | ShutdownRequested) and event.force
        forced = forced or asked.model in self._forced
        if why.reason is Reason.MODEL_UNLOADED and request in self.granted and not forced:
            drained_s = now_s - self._drains_s[asked.model]
            assert drained_s + EPSILON_S >= config.scheduling.drain_s, "an answer was cut off before its time"

    def _changed(self, change: ModelChanged, now_s: float) -> None:
        if change.after is ModelState.READY:
            assert change.worker_id in self.answering, f"{change.model} is ready before its process says so"
        if change.after is ModelState.UNLOADED:
            self._forced.discard(change.model)
        if change.before is ModelState.QUEUED:
            self._begun_s[change.model] = now_s
        if change.after is ModelState.DRAINING:
            self._drains_s[change.model] = now_s
        scheduling = self.core.state.config.scheduling
        assert self.states.get(change.model, ModelState.UNLOADED) is change.before, "a change of state was not told"
        self.states[change.model] = change.after
        if change.after is ModelState.DRAINING and change.because.cause in {Cause.IDLE, Cause.EVICTED_FOR_OTHERS}:
            left = sum(state is ModelState.READY for state in self.states.values())
            assert left >= scheduling.keep_resident, f"{left} stay of {scheduling.keep_resident} that have to"

    def _evicted(self, evicted: Evicted, now_s: float) -> None:
        """Idle ones go; busy ones only for what has waited long enough, after their least time."""
        state = self.core.state
        assert self.states[evicted.model] is ModelState.READY, f"{evicted.model} goes twice, or before it was ready"
        assert not self._may_stay(evicted.model), "a pinned or held model was made a victim"
        served = evicted.worker_id in self.granted.values()
        if not served and not state.models[evicted.model].queue:
            return
        wrong = hurry(self.core, evicted.worker_id, evicted.beneficiary.name, now_s)
        assert not wrong, wrong

    def _may_stay(self, model: str) -> bool:
        """Whether it is pinned, or somebody holds it, by what callers were told."""
        requests = self.core.state.requests
        holds = (request for request, asked in self.open.items() if asked.kind is RequestKind.HOLD)
        held = any(requests[one].model == model and requests[one].state is RequestState.STREAMING for one in holds)
        return held or is_pinned(self.core.state.models[model])

    def _recorded(self, evicted: Sequence[Evicted], records: Sequence[Decision], actions: Sequence[Action]) -> None:
        """Every load and eviction has its record; of the idle ones nobody is spared for one that was used later."""
        evictions = {one.worker_id: one for one in records if one.kind is DecisionKind.EVICT}
        assert set(evictions) == {one.worker_id for one in evicted}, "an eviction without its record"
        begun = {a.model for a in actions if isinstance(a, ModelChanged) and a.before is ModelState.QUEUED}
        begun -= {a.model for a in actions if isinstance(a, ModelChanged) and a.after is ModelState.UNLOADED}
        self.loads += len(begun)
        assert begun <= {one.model for one in records if one.kind is DecisionKind.LOAD}, "a load without its record"
        state = self.core.state
        idle = [model for model in state.models.values() if _is_idle(model) and not is_kept(model)]
        for victim, record in evictions.items():
            gone = state.models[record.model]
            lacking = [d for d in state.ledger.accounts if record.numbers.get(f"lacking_on_{d}_bytes", 0) > 0]
            for model in idle if lacking and "idle_s" in record.numbers and record.for_whom in state.models else ():
                assert model.current
                own, other = state.ledger.rows[model.current.id], state.ledger.rows[victim]
                enough = all(own.get(device, 0) >= other.get(device, 0) for device in lacking)
                assert not enough or _rank(model) > _rank(gone), f"{record.model} goes, {model.id} is older"

    def _check_books(self) -> None:
        """What a process really holds is promised to it, until its memory is back."""
        ledger = self.core.state.ledger
        for worker_id, held in self.memory.items():
            row = ledger.rows.get(worker_id)
            assert row is not None, f"process {worker_id} holds memory that nobody has promised"
            for device, size in held.items():
                assert size <= row.get(device, 0), f"{size} really taken on {device} by process {worker_id}: {row}"
        for device, account in ledger.accounts.items():
            reserved = ledger.reserved_bytes(device)
            most = max(account.budget_bytes, self._promised.get(device, 0))  # a lower budget takes nothing away
            assert 0 <= reserved <= most, f"{device} is over its budget"
            self._promised[device] = reserved

    def _check_limits(self) -> None:
        """At most so many are there at once, and one of a group."""
        state = self.core.state
        there = {worker.owner.id: worker.owner for worker in state.workers.values() if worker.owner}
        most = state.config.scheduling.at_most_resident
        assert not most or len(there) <= most, f"{len(there)} models are there, {most} may be"
        groups = [owner.spec.group for owner in there.values() if owner.spec.group]
        assert len(groups) == len(set(groups)), f"two models of one group are there: {sorted(there)}"

    def _check_requests(self, now_s: float) -> None:
        state = self.core.state
        known = set(state.requests) | set(state.pending_reservations)
        assert set(self.open) == known, f"somebody was never answered: {sorted(set(self.open) ^ known)}"
        for request in state.requests.values():
            timed = self.pump.is_set(DeadlinePassed(0.0, request.id))
            holding = request.kind is RequestKind.HOLD
            assert timed or holding, f"request {request.id} has no deadline"
            if request.kind is not RequestKind.HOLD:
                assert now_s <= request.deadline_s, f"request {request.id} was forgotten past its deadline"
            running = request.kind is RequestKind.RUN and request.state is not RequestState.QUEUED
            assert running == (request.id in self.granted), f"request {request.id} was granted, and was not"

    def _check_nobody_is_left_behind(self) -> None:
        """Whatever could go on has gone on: between two events nobody waits for what is there."""
        state = self.core.state
        for model in state.models.values():
            name, current = model.id, model.current
            assert model.told_queued == len(model.queue), f"{name}: the length of its queue was not told"
            assert not (model.queue and has_place(model)), f"{name} has a place that nobody is let in to"
            draining = model.state is ModelState.DRAINING and current is not None
            assert not (draining and current and not current.in_flight), f"{name} drains for nobody"
        first = state.admission_queue.first(())
        if first:
            claim = claim_of(first)
            decision = decide_admission(state, claim)
            assert isinstance(decision, Wait), f"{claim.name} waits for what is there: {decision}"
            wanted = isinstance(first, Reservation) or bool(state.models[first.model].queue)
            if decision.drain and wanted:
                assert self.pump.is_set(PatienceEnded(0.0, first.turn)), (
                    f"nobody looks after {claim.name} when its time comes"
                )
            assert decision.drain or self._moves(), f"{claim.name} waits for nothing: {decision.message}"

    def _moves(self) -> bool:
        """Whether something is on its way that changes what there is room for, or others may."""
        state = self.core.state
        moving = COMING | {ModelState.DRAINING, ModelState.STOPPING}
        if any(process.stopping or process.exited for process in state.workers.values()):
            return True
        if any(model.state in moving or model.holds or model.renewal for model in state.models.values()):
            return True
        return any(
            state.is_closed(d) or state.ledger.steady_free_bytes(d) < state.ledger.free_bytes(d)
            for d in state.ledger.accounts
        )

    def _check_waits(self, now_s: float) -> None:
        """No load waits longer than its bound while other models alone keep it out."""
        state = self.core.state
        excused = bool(state.reservations or state.pending_reservations) or any(map(is_kept, state.models.values()))
        excused = excused or any(state.is_closed(d) or a.external_bytes for d, a in state.ledger.accounts.items())
        excused = excused or any(
            state.ledger.steady_free_bytes(d) < state.ledger.free_bytes(d) for d in state.ledger.accounts
        )
        for model in [model for model in self.waiting_since_s if excused or model not in state.pending_loads]:
            del self.waiting_since_s[model]
        for model, pending in state.pending_loads.items() if not excused else ():
            if not state.models[model].queue:
                self.waiting_since_s.pop(model, None)
                continue
            since_s = self.waiting_since_s.setdefault(model, now_s)
            bound_s = state.config.scheduling.starvation_bound_s * BOUND_FACTORS[pending.priority]
            waited_s = now_s - since_s
            assert waited_s <= bound_s + self.most_wait_s, f"{model} starves: {waited_s:.1f} s"


class Deaths:
    """Follows which processes died, and which loads may follow."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.quarantines = self.probations = 0
        self._model_of: dict[int, tuple[str, float]] = {}
        """Whose process it is, and when it was chosen."""
        self._wanted: set[int] = set()
        """Processes that the core has ended, but for those that hung."""
        self._gone: set[int] = set()
        self._strikes_s: dict[str, list[float]] = {}
        self._until_s: dict[str, float] = {}
        """The end of its quarantine; past: the next load is on probation."""
        self._next_s: dict[str, float] = {}
        """When a process may be started again."""
        self._all_s: list[float] = []
        self._specs: dict[str, Model] = {}

    def follow(self, event: Event, actions: Sequence[Action], now_s: float) -> None:
        if isinstance(event, WorkerExited):
            self._died(event, now_s)
        if isinstance(event, ModelReset):
            self._forget(event.model)
        models = self.core.state.models
        for model in [model for model in self._strikes_s if model not in models]:
            self._forget(model)
        if isinstance(event, CatalogueRead | ConfigurationRead):  # another file or other settings
            for model, runtime in models.items():
                if self._specs.setdefault(model, runtime.spec) != runtime.spec:
                    self._specs[model] = runtime.spec
                    self._forget(model)
        for action in actions:
            match action:
                case Decided(decision=decision) if decision.kind is DecisionKind.LOAD:
                    self._loaded(decision, now_s)
                case ModelChanged() if action.after is ModelState.STOPPING and action.because.cause is not Cause.HUNG:
                    self._wanted.add(action.worker_id)
                case Stop(worker_id=worker_id):
                    owner = self.core.state.workers[worker_id].owner
                    if owner is None or owner.current is None or owner.current.id != worker_id:
                        self._wanted.add(worker_id)
                case _:
                    pass

    def _forget(self, model: str) -> None:
        for known in (self._strikes_s, self._until_s, self._next_s):
            known.pop(model, None)

    def _died(self, event: WorkerExited, now_s: float) -> None:
        model, begun_s = self._model_of.get(event.worker_id, ("", 0.0))
        if event.worker_id in self._gone or not model:
            return
        self._gone.add(event.worker_id)
        if event.worker_id in self._wanted:
            return
        worker = self.core.state.workers.get(event.worker_id)
        if worker and worker.poisoned:  # it counts against the request
            self._next_s[model] = begun_s + LEAST_BETWEEN_S
            return
        limits = self.core.state.limits
        strikes_s = self._strikes_s.setdefault(model, [])
        strikes_s.append(now_s)
        self._all_s.append(now_s)
        self._next_s[model] = begun_s + LEAST_BETWEEN_S
        if limits.strikes and (len(strikes_s) >= limits.strikes or model in self._until_s):
            self.probations += model in self._until_s
            self.quarantines += 1
            self._until_s[model] = now_s + limits.quarantine_s

    def _loaded(self, decision: Decision, now_s: float) -> None:
        model = decision.model
        self._model_of[decision.worker_id] = model, now_s
        if decision.cause in {Cause.RESTART, Cause.RELOAD}:
            return  # beside a process that serves
        assert now_s + EPSILON_S >= self._until_s.get(model, 0.0), f"{model} is loaded in its quarantine"
        assert now_s + EPSILON_S >= self._next_s.get(model, 0.0), f"{model} is loaded again too soon"
        if sum(now_s - at_s < BREAKER_S for at_s in self._all_s) >= BREAKER_DEATHS:
            loading = [one for one in self.core.state.workers.values() if one.phase is Phase.LOADING]
            assert len(loading) <= 1, "loads begin side by side although processes die"


def hurry(core: Core, worker_id: int, for_whom: str, now_s: float) -> str:
    """Why a busy model may not be sent away yet; empty if somebody has waited long enough for it."""
    state, scheduling = core.state, core.state.config.scheduling
    reservations = {one.name: one for one in state.pending_reservations.values()}
    waits = state.pending_loads.get(for_whom) or reservations.get(for_whom)
    if waits is None:
        return f"a busy model was made a victim for {for_whom}"
    bound_s = scheduling.starvation_bound_s * BOUND_FACTORS[waits.priority]
    patience_s = max(0.0, bound_s - min(scheduling.stop_s, bound_s / 2) - scheduling.drain_s)
    if now_s + EPSILON_S < waits.since_s + patience_s:
        return "a busy model was made a victim before its time"
    ready_s = state.workers[worker_id].ready_s
    early = ready_s is None or now_s + EPSILON_S < ready_s + scheduling.minimum_residency_s
    return "a busy model goes within its least time" if early else ""


def _is_idle(model: ModelRuntime) -> bool:
    idle = model.state is ModelState.READY and model.current and not model.current.in_flight and not model.queue
    return bool(idle and not model.renewal)


def _rank(model: ModelRuntime) -> tuple[bool, float, float, int]:
    assert model.current
    return not model.spec.expendable, model.current.last_used_s, model.load_s or 0.0, model.current.id
