"""A model's life: its changes of state, and the events of its processes. Pure.

`move` is the one place where a model changes its state; `TRANSITIONS` says what follows from each change.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import ModelFile
from ..domain.causes import RECORDED, Because, Cause
from ..domain.decisions import Decision, DecisionKind
from ..domain.device_view import HOST
from ..domain.errors import Refusal, refusal
from .actions import Complete, FindPlans, Load, ModelChanged, Released, SetTimer, Stop
from .core_state import CoreState, Handlers
from .deaths import (
    as_before,
    blame,
    crashed,
    final,
    keep_or_refuse_queue,
    refuse_running,
    take_death_in,
    try_again_later,
)
from .events import (
    DrainEnded,
    KeepAliveEnded,
    LoadLimitReached,
    LoadProgressed,
    LoadRefused,
    MemoryReleased,
    PauseEnded,
    QuarantineEnded,
    WorkerExited,
    WorkerReady,
    WorkerStarted,
)
from .eviction import available_if_evicted
from .reconcile import reconcile, too_much
from .requests import (
    abort,
    end,
    hold_again,
    interrupt,
    quarantined,
    refuse_holds,
    refuse_queue,
    report,
    unloaded,
)
from .state import COMING, GOING, ModelRuntime, ModelState, WorkerProcess, comes_back


class ImpossibleTransitionError(Exception):
    """A change of state that must not happen: a fault of the core. Tells how it came about."""

    def __init__(self, model: ModelRuntime, after: ModelState, words: str) -> None:
        story = "\n  ".join(model.story)
        super().__init__(f"{model.id}: {model.state.name} -> {after.name} ({words}); before:\n  {story}")


def move(state: CoreState, model: ModelRuntime, after: ModelState, because: Because) -> None:
    """Changes a model's state, tells of it, and does what the change brings. Raises ImpossibleTransitionError."""
    before = model.state
    transition = TRANSITIONS.get((before, after))
    if transition is None:
        raise ImpossibleTransitionError(model, after, because.words)
    worker_id = model.current.id if model.current else 0
    model.state, model.because = after, because
    model.story.append(f"{state.now_s:.3f} {before.name} -> {after.name}: {because.words}")
    state.emit(ModelChanged(model.id, worker_id, before, after, because))
    report(state, model, None, because.words, because.cause)
    state.touch(model)
    transition(state, model)


def _ask_for_plans(state: CoreState, model: ModelRuntime) -> None:
    """A load is wanted: how it can be placed is asked for."""
    pending, history, available = state.pending_loads[model.id], model.restarts, available_if_evicted(state)
    if history.ran_out(state.now_s):
        available |= {d: min(size, available[d]) for d, size in history.less_bytes.items() if d in available}
    state.emit(FindPlans(model.spec, pending.options, pending.turn, available))


def _leave_queue(state: CoreState, model: ModelRuntime) -> None:
    """The load waits no longer, for its plans or for room."""
    state.admission_queue.remove(state.pending_loads.pop(model.id))


def _load_on_spare(state: CoreState, model: ModelRuntime) -> None:
    """There is room, and a process that waits for a model."""
    _leave_queue(state, model)
    _hand_over(state, model)


def _hand_over(state: CoreState, model: ModelRuntime) -> None:
    """The process has started: it is given its model."""
    assert model.current
    hand_over(state, model, model.current)


def _learn_of_load(state: CoreState, model: ModelRuntime) -> None:
    assert model.current
    learn_of_load(state, model, model.current)


def _set_drain_timer(state: CoreState, model: ModelRuntime) -> None:
    """Running requests have their time to end."""
    assert model.current
    state.emit(SetTimer(DrainEnded(model.current.drained_by_s, model.current.id)))


def _stop(state: CoreState, model: ModelRuntime) -> None:
    assert model.current
    state.emit(Stop(model.current.id))


def _lose_process(state: CoreState, model: ModelRuntime) -> None:
    """The process is gone; callers that hold the model want it back."""
    assert model.because
    model.current = None
    hold_again(state, model, model.because)


def _wait_for_nothing(state: CoreState, model: ModelRuntime) -> None:
    """It is at rest: the scheduler sees what it needs next."""


def _quarantine(state: CoreState, model: ModelRuntime) -> None:
    """Nothing of it is started for a while: callers that wait are refused."""
    state.emit(SetTimer(QuarantineEnded(model.restarts.quarantined_until_s, model.id)))
    refuse_queue(state, model, quarantined(state, model))


def _go_on(state: CoreState, model: ModelRuntime) -> None:
    """A new process has taken the place of the one that is gone, loading or ready."""


TRANSITIONS: Mapping[tuple[ModelState, ModelState], Callable[[CoreState, ModelRuntime], None]] = {
    (ModelState.UNLOADED, ModelState.QUEUED): _ask_for_plans,
    (ModelState.UNLOADED, ModelState.STARTING): _go_on,
    (ModelState.UNLOADED, ModelState.LOADING): _go_on,
    (ModelState.UNLOADED, ModelState.READY): _go_on,
    (ModelState.QUEUED, ModelState.STARTING): _leave_queue,
    (ModelState.QUEUED, ModelState.LOADING): _load_on_spare,
    (ModelState.QUEUED, ModelState.UNLOADED): _leave_queue,
    (ModelState.STARTING, ModelState.LOADING): _hand_over,
    (ModelState.LOADING, ModelState.READY): _learn_of_load,
    (ModelState.READY, ModelState.DRAINING): _set_drain_timer,
    (ModelState.READY, ModelState.STOPPING): _stop,
    (ModelState.STARTING, ModelState.STOPPING): _stop,
    (ModelState.LOADING, ModelState.STOPPING): _stop,
    (ModelState.DRAINING, ModelState.STOPPING): _stop,
    (ModelState.STARTING, ModelState.UNLOADED): _lose_process,
    (ModelState.LOADING, ModelState.UNLOADED): _lose_process,
    (ModelState.READY, ModelState.UNLOADED): _lose_process,
    (ModelState.DRAINING, ModelState.UNLOADED): _lose_process,
    (ModelState.STOPPING, ModelState.UNLOADED): _lose_process,
    (ModelState.UNLOADED, ModelState.BACKOFF): _wait_for_nothing,
    (ModelState.BACKOFF, ModelState.QUEUED): _ask_for_plans,
    (ModelState.BACKOFF, ModelState.UNLOADED): _wait_for_nothing,
    (ModelState.UNLOADED, ModelState.QUARANTINED): _quarantine,
    (ModelState.QUARANTINED, ModelState.UNLOADED): _wait_for_nothing,
}
"""Every change that is possible, and what it brings. UNLOADED is reachable from everywhere: a process can die at any
time."""


def drain(
    state: CoreState,
    model: ModelRuntime,
    because: Because,
    *,
    force: bool = False,
    within_s: float | None = None,
) -> None:
    """Lets a ready model admit nothing new and stop once nothing runs, within drain_s at most; at once if forced."""
    assert model.current is not None
    if model.state not in GOING:
        model.current.leaves = because
        model.current.drained_by_s = state.now_s + (state.config.scheduling.drain_s if within_s is None else within_s)
        move(state, model, ModelState.DRAINING, because)
    if force:
        abort(state, model.current, unloaded(state, model))


def stop(state: CoreState, worker: WorkerProcess, because: Because | None = None) -> None:
    """Ends a process; idempotent. Its row stays until its memory is back. Only a spare needs no cause."""
    if worker.stopping or worker.exited:
        return
    worker.stopping = True
    if worker is state.spare:
        state.spare = None
    if worker.owner:
        assert because
        worker.leaves = worker.leaves or because
    if worker.owner and because and worker.owner.current is worker:
        move(state, worker.owner, ModelState.STOPPING, because)
    else:
        state.emit(Stop(worker.id))


def hand_over(state: CoreState, model: ModelRuntime, worker: WorkerProcess) -> None:
    """Gives a started process its model."""
    assert worker.plan is not None
    worker.load_from_s = state.now_s
    threads = min(worker.plan.settings.threads, state.cpu.left)
    state.emit(Load(worker.id, model.spec, worker.plan, threads))


def learn_of_load(state: CoreState, model: ModelRuntime, worker: WorkerProcess) -> None:
    """A load has ended well; how long it took is remembered, to predict the next one."""
    assert worker.plan is not None
    model.ran_out = False
    worker.ready_s = worker.last_used_s = state.now_s
    model.load_s = state.now_s - worker.load_from_s
    state.loads.loaded(state.now_s, model.id, state.now_s - worker.begun_s)
    weights_bytes = sum(need.weights_bytes for need in worker.plan.quote.devices.values())
    if isinstance(model.spec.source, ModelFile) and model.load_s > 0:
        state.load_bytes_per_s = weights_bytes / model.load_s


def _served_by(state: CoreState, worker_id: int) -> tuple[ModelRuntime, WorkerProcess] | tuple[None, None]:
    """The model whose present process this is: news and timers of a former one, whose memory is not back, are late."""
    worker = state.workers.get(worker_id)
    return (worker.owner, worker) if worker and worker.owner and worker.owner.current is worker else (None, None)


def started(state: CoreState, event: WorkerStarted) -> None:
    """A process said hello: it loads its model, or waits as the spare with the bytes it really takes.

    The very first one is started even where no spare is wanted: its hello tells what the engine can do.
    """
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.exited:
        return
    learn_of_start(state, worker, event)
    if worker.owner:
        if worker.owner.state is ModelState.STARTING:
            move(state, worker.owner, ModelState.LOADING, causes.STARTED)
    elif not state.spare_wanted:
        stop(state, worker)
    elif event.idle_bytes <= state.ledger.free_bytes(HOST) + state.ledger.held_bytes([worker.id], HOST):
        state.promise(worker, {HOST: event.idle_bytes}, "the spare was measured")


def learn_of_start(state: CoreState, worker: WorkerProcess, event: WorkerStarted) -> None:
    """Takes in what a started process has reported: its pid and the bytes that it takes without a model."""
    worker.pid = event.pid
    state.spare_bytes = event.idle_bytes
    state.spare_wanted = state.config.server.spare


def progressed(state: CoreState, event: LoadProgressed) -> None:
    """Reports the progress of a load to its callers."""
    model, _ = _served_by(state, event.worker_id)
    if model and model.state is ModelState.LOADING:
        report(state, model, event.share, "reads the weights")


def ready(state: CoreState, event: WorkerReady) -> None:
    """A model serves if it takes no more than it may; else it is given back, and planned once more with what it took.

    Its callers keep their places. An expendable model gets no second try.
    """
    model, worker = _served_by(state, event.worker_id)
    if model is None or worker is None or model.state is not ModelState.LOADING:
        return
    overrun = reconcile(state, model, worker, event.measured)
    if overrun is None:
        worker.context_tokens, worker.measured = event.context_tokens, event.measured
        move(state, model, ModelState.READY, causes.loaded(event.context_tokens))
        return
    assert worker.plan is not None
    settings = worker.plan.settings
    if settings in model.taken or model.spec.expendable:
        give_up_queue(state, model, final(model, too_much(model, overrun)))
    try_again_later(state, model, worker.options, worker.id, too_much(model, overrun))
    model.taken[settings] = overrun.needs
    numbers = {f"{device}_bytes": float(size) for device, size in overrun.needs.items()}
    because = causes.took_too_much(overrun.message)
    state.decide(Decision.because(because, DecisionKind.GIVE_BACK, model.id, worker.id, numbers=numbers))
    stop(state, worker, because)


def load_refused(state: CoreState, event: LoadRefused) -> None:
    """A process could not load: its callers hear why, and it is stopped.

    A file for which a device ran out of memory is planned once more, unless it is expendable: others may have taken
    what was free, and from now on it is quoted higher.
    """
    model, worker = _served_by(state, event.worker_id)
    if model is None or worker is None or model.state not in COMING:
        return
    try_again_later(state, model, worker.options, worker.id, event.refusal)
    exhausted = event.refusal.reason is Reason.MEMORY_EXHAUSTED and isinstance(model.spec.source, ModelFile)
    if exhausted and not model.ran_out and not model.spec.expendable:
        model.ran_out = True
        stop(state, worker, causes.refused(f"{event.refusal.message}; it is planned once more"))
        return
    model.ran_out = False
    state.record_refusal(model.id, event.refusal)
    refuse_queue(state, model, final(model, event.refusal))
    stop(state, worker, causes.refused(event.refusal.message))


def load_limit_reached(state: CoreState, event: LoadLimitReached) -> None:
    """Gives a load up that takes too long."""
    model, worker = _served_by(state, event.worker_id)
    if model and worker and model.state in COMING:
        give_up_queue(state, model, timed_out(state, model))
        stop(state, worker, causes.hung("the load took too long"))


def drain_ended(state: CoreState, event: DrainEnded) -> None:
    """Ends a draining process; requests that still run on it are interrupted."""
    model, worker = _served_by(state, event.worker_id)
    if model and worker and model.state is ModelState.DRAINING:
        assert worker.leaves
        because = worker.leaves.after("what ran on it had its time to end")
        why = unloaded(state, model, because.words)
        state.record_refusal(model.id, why)
        abort(state, worker, why)
        stop(state, worker, because)


def keep_alive_ended(state: CoreState, event: KeepAliveEnded) -> None:
    """A model may have been idle for as long as it may be: the scheduler sees."""
    worker = state.workers.get(event.worker_id)
    if worker and worker.owner:
        state.touch(worker.owner)


def exited(state: CoreState, event: WorkerExited) -> None:
    """A process is gone. Interrupts what ran on it; its row stays until its memory is back.

    For callers that hold the model or wait for it, it is loaded again, unless it is expendable and died by itself.
    """
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.exited:
        return
    worker.exited = True
    model = worker.owner
    if model is None:
        if worker is state.spare:
            state.spare = None
            state.spare_wanted = False
        return
    if model.current is not worker:  # it was to take the place of another, and was given up
        return
    because = _record_end(state, model, worker, event.exit)
    if not worker.stopping:
        blame(state, model, worker, event.how, event.exit)
    why = take_death_in(state, model, worker, event)
    running = [state.requests[request_id] for request_id in sorted(worker.in_flight)]
    if model.state in COMING:
        keep_or_refuse_queue(state, model, worker, event, why)
    if model.spec.expendable and not worker.stopping:
        refuse_holds(state, model, crashed(model, worker, event.exit, streaming=False, idle=True))
    by_itself = not worker.stopping or because.cause is Cause.HUNG
    if comes_back(model) and by_itself and not worker.dismissed:
        model.again = as_before(model, worker, event.how)
    move(state, model, ModelState.UNLOADED, because)
    for request in running:
        if why:
            refuse_running(state, model, worker, request, event.exit, why)
        else:
            interrupt(state, request, crashed(model, worker, event.exit, streaming=request.sent))


def _record_end(state: CoreState, model: ModelRuntime, worker: WorkerProcess, how: str) -> Because:
    """Why a process has ended; records it, unless there is a record already."""
    if worker.stopping:
        assert worker.leaves
        because = worker.leaves.after("its process was ended")
        words = worker.leaves.words
    else:
        because = causes.crashed(how)
        served = [state.requests[one].sent for one in worker.in_flight]
        idle = not served and model.state not in COMING
        words = crashed(model, worker, how, streaming=any(served), idle=idle).message
    if because.cause not in RECORDED:
        held = state.ledger.rows[worker.id]
        numbers = {f"held_on_{device}_bytes": float(size) for device, size in held.items()}
        if worker.ready_s is not None:
            numbers["loaded_s"] = state.now_s - worker.ready_s
        told = replace(because, words=words)
        state.decide(Decision.because(told, DecisionKind.UNLOAD, model.id, worker.id, numbers=numbers))
    return because


def released(state: CoreState, event: MemoryReleased) -> None:
    """The memory of a process that is gone is back: only now its row is freed."""
    worker = state.workers.get(event.worker_id)
    if worker is None or not worker.exited:
        return
    model = worker.owner
    name = model.id if model else "the spare"
    held = state.free_row(worker, f"the memory of {name} (pid {worker.pid}) is back")
    receipt = replace(event.receipt, model=model.id if model else "", expected=held)
    if model:
        state.emit(Released(receipt))
        state.touch(model)
    for request_id in list(worker.unload_waiters):
        end(state, state.requests[request_id])
        state.emit(Complete(request_id, receipt))


def pause_ended(state: CoreState, event: PauseEnded | QuarantineEnded) -> None:
    """A model may be loaded again: the scheduler sees whether it is wanted."""
    if model := state.models.get(event.model):
        state.touch(model)


HANDLERS: Handlers = {
    WorkerStarted: started,
    LoadProgressed: progressed,
    WorkerReady: ready,
    LoadRefused: load_refused,
    LoadLimitReached: load_limit_reached,
    WorkerExited: exited,
    MemoryReleased: released,
    KeepAliveEnded: keep_alive_ended,
    DrainEnded: drain_ended,
    PauseEnded: pause_ended,
    QuarantineEnded: pause_ended,
}


def give_up_queue(state: CoreState, model: ModelRuntime, why: Refusal) -> None:
    """Refuses the callers of a load that will not come."""
    state.record_refusal(model.id, why)
    refuse_queue(state, model, why)


def timed_out(state: CoreState, model: ModelRuntime) -> Refusal:
    """Why a load that takes too long is given up."""
    limit_s = state.config.server.load_deadline_s
    text = f"{model.id} was not ready after {limit_s:g} s (load_deadline_s); its process is ended"
    return refusal(Reason.LOAD_TIMEOUT, text, model=model.id, limitS=f"{limit_s:g}")
