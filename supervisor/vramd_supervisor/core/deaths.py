"""What the end of a process means for its model and for those who wait for it. Pure; `restarts` has the rules."""

from dataclasses import replace

from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..domain.causes import Cause
from ..domain.decisions import Decision, DecisionKind
from ..domain.errors import Refusal, cannot_go_on, refusal
from ..domain.receipt import OWN_FAULT, Exit
from .core_state import CoreState
from .events import WorkerExited
from .requests import poisoned, refuse
from .restarts import (
    BREAKER_DEATHS,
    BREAKER_S,
    MOST_RUNS_AGAIN,
    NO_STRIKES,
    Strike,
    is_proven,
    less_bytes,
    pause,
    put_off,
    strike,
)
from .state import ModelRuntime, Request, WorkerProcess, comes_back, is_held_again


def take_death_in(state: CoreState, model: ModelRuntime, worker: WorkerProcess, event: WorkerExited) -> Refusal | None:
    """Remembers the end of a process if it was not wanted. Returns why its callers are refused for good, if they are.

    A process that was healthy until now has the model begin with a clean sheet.
    """
    history, hung = model.restarts, bool(worker.leaves and worker.leaves.cause is Cause.HUNG)
    ready_for_s = None if worker.ready_s is None else state.now_s - worker.ready_s
    if is_proven(ready_for_s, answered=worker.answered):
        history.prove()
    if worker.stopping and not hung:
        return None
    pause(history, state.now_s, worker.id, worker.begun_s)
    how = Exit.HUNG if hung else event.how
    if how in NO_STRIKES or worker.poisoned:
        return None
    again = how is Exit.OUT_OF_MEMORY and history.ran_out(state.now_s)
    if how is Exit.OUT_OF_MEMORY and worker.plan and not again:
        history.less_bytes = less_bytes(worker.plan.quote)
    words = worker.leaves.words if hung and worker.leaves else event.exit
    strike(history, Strike(state.now_s, how, words), state.limits, serves=model.current is not worker)
    if state.breaker.died(state.now_s):
        text = f"{BREAKER_DEATHS} processes have died within {BREAKER_S:g} s: loads begin one at a time"
        state.decide(Decision(DecisionKind.QUARANTINE, model.id, text, worker.id))
    if not again:
        return None
    text = f"the machine ran out of memory under {model.id} again, loaded with less: {event.exit}"
    why = refusal(Reason.HOST_OOM, text, model=model.id)
    state.record_refusal(model.id, why)
    return why


def blame(state: CoreState, model: ModelRuntime, worker: WorkerProcess, how: Exit, words: str) -> None:
    """Marks what ran on a process that ended by its own fault; refuses what two of them ended under.

    A request that was marked before runs alone until it has had something, and then is the only one to blame.
    """
    if how not in OWN_FAULT:
        return
    suspects = {worker.alone} & worker.in_flight or worker.in_flight
    fingerprints = sorted({state.requests[one].fingerprint for one in suspects} - {""})
    guilty = {one for one in fingerprints if state.suspects.mark(one, model.id, state.now_s)}
    if not guilty:
        return
    worker.poisoned = True
    running = [state.requests[one] for one in sorted(worker.in_flight)]
    for request in (*running, *model.queue):
        if request.fingerprint in guilty:
            why = poisoned(state, model, request.fingerprint)
            state.record_refusal(model.id, why)
            refuse_running(state, model, worker, request, words, why)


def refuse_running(
    state: CoreState, model: ModelRuntime, worker: WorkerProcess, request: Request, words: str, why: Refusal
) -> None:
    """Ends a request that is not to run again; one that has had a part of its answer hears that it was broken off."""
    refuse(state, request, cannot_go_on(crashed(model, worker, words, streaming=True), why) if request.sent else why)


def keep_or_refuse_queue(
    state: CoreState, model: ModelRuntime, worker: WorkerProcess, event: WorkerExited, why: Refusal | None
) -> None:
    """Those that wait for a load whose process is gone wait on for the next one, unless that cannot help.

    A model that comes back for holds does so whatever happens, after longer and longer pauses.
    """
    if model.restarts.is_quarantined(state.now_s) and not why:
        return  # they hear of that
    once = model.spec.expendable or event.how in NO_STRIKES
    for request in list(model.queue):
        request.failed_loads += 1
        if why or (not is_held_again(request) and (once or request.failed_loads > MOST_RUNS_AGAIN)):
            refuse(state, request, why or crashed(model, worker, event.exit, streaming=False))


def as_before(model: ModelRuntime, worker: WorkerProcess, how: Exit) -> LoadOptions:
    """How a model comes back by itself: as it was, unless it is configured otherwise by now.

    One that ran out of memory may take less.
    """
    assert worker.plan
    same = worker.plan.settings.again(worker.keep_alive_s)
    anew = how is Exit.OUT_OF_MEMORY or worker.outdated
    return LoadOptions(keep_alive_s=same.keep_alive_s).over(model.spec.options) if anew else same


def try_again_later(state: CoreState, model: ModelRuntime, options: LoadOptions, number: int, why: Refusal) -> None:
    """Has a model that comes back by itself try it once more after a pause, if the refusal of its load may pass."""
    passes = why.reason.value.retry_after_s is not None or why.reason is Reason.GPU_LOST
    if comes_back(model) and passes and not state.ending:
        model.again = options
        put_off(model.restarts, state.now_s, number, why.message)


def final(model: ModelRuntime, why: Refusal) -> Refusal:
    """A request that failed on an expendable model is not to be tried again."""
    return replace(why, retry=why.retry and not model.spec.expendable)


def crashed(model: ModelRuntime, worker: WorkerProcess, how: str, *, streaming: bool, idle: bool = False) -> Refusal:
    """Returns the refusal for calls whose process died."""
    reason = Reason.WORKER_CRASHED_MID_STREAM if streaming else Reason.WORKER_CRASHED
    when = "in the middle of an answer" if streaming else "before it had answered"
    when = "while nothing ran on it" if idle else when
    what = f"the process of {model.id} (pid {worker.pid}) ended {when}"
    if not worker.pid:
        what = f"a process for {model.id} never came up"
    text = f"{what}: {how}; `vramd logs {model.id}` says more"
    return final(model, refusal(reason, text, model=model.id, exit=how))
