"""What processes bring about: hello, progress, readiness, ends. Pure; records facts, the scheduler concludes."""

from dataclasses import replace

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import ModelFile
from ..domain.causes import RECORDED, Because
from ..domain.decisions import Decision, DecisionKind
from ..domain.errors import Refusal, refusal
from .actions import Complete, Load, Released, Stop
from .events import (
    DrainEnded,
    LoadLimitReached,
    LoadProgressed,
    LoadRefused,
    MemoryReleased,
    WorkerExited,
    WorkerReady,
    WorkerStarted,
)
from .reconcile import reconcile, too_much
from .state import COMING, ModelRuntime, ModelState, Renewal, RequestState, WorkerProcess
from .world import CoreState

HOST = "host"
"""The device that every process takes bytes of."""


def started(state: CoreState, event: WorkerStarted) -> None:
    """A process said hello: it loads its model, or waits as the spare with the bytes it really takes.

    The very first one is started even where no spare is wanted: its hello tells what the engine can do.
    """
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.exited:
        return
    learn(state, worker, event)
    if model := worker.owner:
        if model.state is ModelState.STARTING:
            load(state, model, worker)
    elif not state.spare_wanted:
        stop(state, worker)
    elif event.idle_bytes <= state.ledger.free_bytes(HOST) + state.ledger.held_bytes([worker.id], HOST):
        state.promise(worker, {HOST: event.idle_bytes}, "the spare was measured")


def learn(state: CoreState, worker: WorkerProcess, event: WorkerStarted) -> None:
    """What a process has said of itself."""
    worker.pid = event.pid
    state.spare_bytes = event.idle_bytes
    state.spare_wanted = state.config.server.spare


def _living(state: CoreState, worker_id: int) -> ModelRuntime | None:
    """The model whose present process this is: news and timers of a former one, whose memory is not back, are late."""
    worker = state.workers.get(worker_id)
    return worker.owner if worker and worker.owner and worker.owner.current is worker else None


def load(state: CoreState, model: ModelRuntime, worker: WorkerProcess) -> None:
    """The process of a model has started: it loads it."""
    state.move(model, ModelState.LOADING, causes.STARTED)
    hand_over(state, model, worker)


def hand_over(state: CoreState, model: ModelRuntime, worker: WorkerProcess) -> None:
    """Hands a started process its model."""
    assert worker.plan is not None
    worker.load_from_s = state.now_s
    threads = min(worker.plan.settings.threads, state.usable_cores)
    state.emit(Load(worker.id, model.spec, worker.plan, threads))


def progressed(state: CoreState, event: LoadProgressed) -> None:
    """Passes the progress of a load on to those who wait for it."""
    model = _living(state, event.worker_id)
    if model and model.state is ModelState.LOADING:
        state.report(model, event.share, "reads the weights")


def ready(state: CoreState, event: WorkerReady) -> None:
    """A model answers, if it takes no more than it may; else it is given back, and planned once more with what it took.

    Those who wait for it keep their places. A sacrificial model gets no second try.
    """
    model = _living(state, event.worker_id)
    if model is None or model.current is None or model.state is not ModelState.LOADING:
        return
    if overrun := reconcile(state, model, model.current, event.measured):
        assert model.current.plan is not None
        settings = model.current.plan.settings
        if settings in model.taken or model.spec.sacrificial:
            why = _final(model, too_much(model, overrun))
            state.record_refusal(model.id, why)
            state.refuse_queue(model, why)
        model.taken[settings] = overrun.needs
        numbers = {f"{device}_bytes": float(size) for device, size in overrun.needs.items()}
        because = causes.took_too_much(overrun.message)
        state.decide(Decision.because(because, DecisionKind.GIVE_BACK, model.id, model.current.id, numbers=numbers))
        stop(state, model.current, because)
        return
    settle_load(state, model, model.current, event)
    state.move(model, ModelState.READY, causes.loaded(event.context_tokens))


def settle_load(state: CoreState, model: ModelRuntime, worker: WorkerProcess, event: WorkerReady) -> None:
    """A load has ended well; what it took is remembered, to foresee the next one."""
    assert worker.plan is not None
    model.ran_out = False
    worker.context_tokens = event.context_tokens
    worker.measured = event.measured
    worker.ready_s = worker.last_used_s = state.now_s
    model.load_s = state.now_s - worker.load_from_s
    state.loads.loaded(state.now_s, model.id, state.now_s - worker.begun_s)
    weights_bytes = sum(need.weights_bytes for need in worker.plan.quote.devices.values())
    if isinstance(model.spec.source, ModelFile) and model.load_s > 0:
        state.load_bytes_per_s = weights_bytes / model.load_s


def load_refused(state: CoreState, event: LoadRefused) -> None:
    """A process said why it cannot load: everybody who waits hears it, and the process goes.

    A file for which a device ran out of memory is planned once more, unless it is sacrificial: others may have taken
    what was free, and from now on it is quoted higher.
    """
    model = _living(state, event.worker_id)
    if model is None or model.current is None or model.state not in COMING:
        return
    exhausted = event.refusal.reason is Reason.MEMORY_EXHAUSTED and isinstance(model.spec.source, ModelFile)
    if exhausted and not model.ran_out and not model.spec.sacrificial:
        model.ran_out = True
        stop(state, model.current, causes.refused(f"{event.refusal.message}; it is planned once more"))
        return
    model.ran_out = False
    state.record_refusal(model.id, event.refusal)
    state.refuse_queue(model, _final(model, event.refusal))
    stop(state, model.current, causes.refused(event.refusal.message))


def load_limit_reached(state: CoreState, event: LoadLimitReached) -> None:
    """Gives a load up that takes too long."""
    model = _living(state, event.worker_id)
    if model and model.current and model.state in COMING:
        why = timed_out(state, model)
        state.record_refusal(model.id, why)
        state.refuse_queue(model, why)
        stop(state, model.current, causes.hung())


def timed_out(state: CoreState, model: ModelRuntime) -> Refusal:
    """What callers hear of a load that takes too long."""
    limit_s = state.config.server.load_deadline_s
    text = f"{model.id} was not ready after {limit_s:g} s (load_deadline_s); its process is ended"
    return refusal(Reason.LOAD_TIMEOUT, text, model=model.id, limitS=f"{limit_s:g}")


def drain_ended(state: CoreState, event: DrainEnded) -> None:
    """Ends what still runs on a model that was asked to go."""
    model = _living(state, event.worker_id)
    if model and model.current and model.state is ModelState.DRAINING:
        assert model.current.leaves
        because = model.current.leaves.after("what ran on it had its time to end")
        why = state.unloaded(model, because.words)
        state.record_refusal(model.id, why)
        state.abort(model.current, why)
        stop(state, model.current, because)


def stop(state: CoreState, worker: WorkerProcess, because: Because | None = None) -> None:
    """Has a process end; idempotent. Its row stays until its memory is back. Only a spare needs no cause."""
    if worker.stopping or worker.exited:
        return
    worker.stopping = True
    if worker is state.spare:
        state.spare = None
    model = worker.owner
    if model:
        assert because
        worker.leaves = worker.leaves or because
        if model.current is worker:
            state.move(model, ModelState.STOPPING, because)
    state.emit(Stop(worker.id))


def exited(state: CoreState, event: WorkerExited) -> None:
    """A process is gone. Fails what ran on it; its row stays until its memory is back.

    Callers that hold the model have it loaded anew; not one that is sacrificial and died by itself.
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
    for request_id in sorted(worker.in_flight):
        request = state.requests[request_id]
        streaming = request.state is RequestState.STREAMING
        # It may be what the process died of, so nobody is told to send it once more.
        state.refuse(request, replace(crashed(model, worker, event.exit, streaming=streaming), retry=False))
    if model.state in COMING:
        state.refuse_queue(model, crashed(model, worker, event.exit, streaming=False))
    for hold in list(model.holds.values()) if model.spec.sacrificial and not worker.stopping else ():
        state.refuse(hold, crashed(model, worker, event.exit, streaming=False, idle=True))
    state.move(model, ModelState.UNLOADED, because)
    model.current = None
    state.hold_again(model, because)


def _record_end(state: CoreState, model: ModelRuntime, worker: WorkerProcess, how: str) -> Because:
    """Why a process has ended; leaves a record of it, unless there is one already."""
    if worker.stopping:
        assert worker.leaves
        because = worker.leaves.after("its process was ended")
        words = worker.leaves.words
    else:
        because = causes.crashed(how)
        served = [state.requests[one].state is RequestState.STREAMING for one in worker.in_flight]
        idle = not served and model.state not in COMING
        words = crashed(model, worker, how, streaming=any(served), idle=idle).message
    if because.cause not in RECORDED:
        held = state.ledger.rows[worker.id]
        numbers = {f"held_on_{device}_bytes": float(size) for device, size in held.items()}
        if worker.ready_s is not None:
            numbers["loaded_s"] = state.now_s - worker.ready_s
        told = replace(because, words=words)
        record = Decision.because(told, DecisionKind.UNLOAD, model.id, worker.id, numbers=numbers)
        state.decide(record)
    return because


def give_up_renewal(state: CoreState, model: ModelRuntime, why: Refusal | None) -> None:
    """No new process takes the place of the old one; its caller hears why, unless it goes another way or has left."""
    renewal, model.renewal = model.renewal, None
    if renewal is None:
        return
    request = state.requests.get(renewal.request)
    if renewal.worker:
        stop(state, renewal.worker, causes.refused(why.message) if why else renewal.because)
    if request and why:
        state.record_refusal(model.id, why)
        state.refuse(request, why)
    let_others_wait(state, model, renewal)


def let_others_wait(state: CoreState, model: ModelRuntime, renewal: Renewal) -> None:
    """Who has asked for a new process meanwhile waits in the queue, where it is seen whether that is needed still."""
    for behind in renewal.behind:
        if request := state.requests.get(behind):
            state.enqueue_ahead(model, request)
    state.touch(model)


def _final(model: ModelRuntime, why: Refusal) -> Refusal:
    """What fails a sacrificial model is not to be tried again."""
    return replace(why, retry=why.retry and not model.spec.sacrificial)


def crashed(model: ModelRuntime, worker: WorkerProcess, how: str, *, streaming: bool, idle: bool = False) -> Refusal:
    """What callers hear of a process that died."""
    reason = Reason.WORKER_CRASHED_MID_STREAM if streaming else Reason.WORKER_CRASHED
    when = "in the middle of an answer" if streaming else "before it had answered"
    when = "while nothing ran on it" if idle else when
    what = f"the process of {model.id} (pid {worker.pid}) ended {when}"
    if not worker.pid:
        what = f"a process for {model.id} never came up"
    text = f"{what}: {how}; `vramd logs {model.id}` says more"
    return _final(model, refusal(reason, text, model=model.id, exit=how))


def released(state: CoreState, event: MemoryReleased) -> None:
    """The memory of a process that is gone is back: only now its row is struck out."""
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
        state.end(state.requests[request_id])
        state.emit(Complete(request_id, receipt))
