"""A request's life: it is accepted or refused, waits in its model's queue, and ends. Pure.

`scheduler` grants and completes those that wait.
"""

from dataclasses import replace

from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..domain.catalog import ModelFile
from ..domain.causes import Awaited, Because, Cause
from ..domain.decisions import Decision, DecisionKind
from ..domain.errors import Refusal, cannot_go_on, draining, refusal, shutting_down
from ..quoting.abilities import lack
from ..quoting.placement import differences, with_other_settings
from .actions import CancelDeadline, Interrupted, Refuse, Report, SetTimer
from .core_state import CoreState, Handlers
from .cpu_threads import share_threads
from .events import (
    Cancelled,
    DeadlinePassed,
    Ended,
    Requested,
    RestartRequested,
    Resumed,
    Streamed,
    UnloadRequested,
)
from .names import find
from .restarts import MOST_RUNS_AGAIN, WINDOW_S
from .state import (
    MOST_NAMED,
    Lost,
    ModelRuntime,
    ModelState,
    Request,
    RequestKind,
    RequestState,
    WorkerProcess,
    has_place,
    priority,
)
from .suspects import MARKS

_ENDS = frozenset({Reason.DEADLINE_PASSED, Reason.SHUTTING_DOWN, Reason.MODEL_UNLOADED})
"""Reasons that tell a caller enough about an answer that was interrupted, and then ended."""

_AWAITED = {
    ModelState.STARTING: Awaited.PROCESS,
    ModelState.LOADING: Awaited.WEIGHTS,
    ModelState.READY: Awaited.PLACE,
    ModelState.DRAINING: Awaited.FORMER_PROCESS,
    ModelState.STOPPING: Awaited.FORMER_PROCESS,
    ModelState.BACKOFF: Awaited.PAUSE,
}
"""Reason for waiting by state; a load that waits for room gives its own."""


def requested(state: CoreState, event: Requested) -> None:
    """Accepts a request, or refuses it at once."""
    model = addressed(state, event.request, event.model, new_work=True)
    if model is None:
        return
    if model.removed:
        text = f"{model.id} is not there any more, and its process ends"
        state.emit(Refuse(event.request, refusal(Reason.MODEL_NOT_FOUND, text, model=model.id)))
        return
    source = model.spec.source
    problem = source.problem if isinstance(source, ModelFile) and model.current is None else None
    if problem and isinstance(source, ModelFile):  # a loaded model needs no file
        text = f"{event.model}: {problem.text}"
        state.emit(Refuse(event.request, refusal(problem.reason, text, model=event.model, path=source.path)))
        return
    # A loaded model itself refuses calls that it cannot serve; an unloaded one is refused before it evicts others.
    why = lack(model.spec, event.needs) if event.needs and model.current is None else None
    if model.state is ModelState.QUARANTINED:
        why = why or quarantined(state, model)
    if event.fingerprint and state.suspects.left_s(event.fingerprint, state.now_s):
        why = why or poisoned(state, model, event.fingerprint)
    if why := why or _queue_full(state, model, event.kind):
        state.record_refusal(event.model, why)
        state.emit(Refuse(event.request, why))
    else:
        accept(state, model, event, event.kind, event.options)


def addressed(state: CoreState, request: int, name: str, *, new_work: bool) -> ModelRuntime | None:
    """The model that a call is about; None if the call was refused, as `new_work` is by a drained supervisor."""
    found = not_admitted(state, new_work=new_work) or find(state.models, name)
    if isinstance(found, Refusal):
        state.emit(Refuse(request, found))
        return None
    return found


def not_admitted(state: CoreState, *, new_work: bool) -> Refusal | None:
    """Why a call is turned away, whatever it is about; None if it is not."""
    if state.ending:
        return shutting_down()
    return draining() if state.draining and new_work else None


def _queue_full(state: CoreState, model: ModelRuntime, kind: RequestKind) -> Refusal | None:
    limits, queued, in_all = state.config.scheduling, len(model.queue) - len(model.loads), state.queued - state.joined
    if kind is not RequestKind.RUN or (has_place(model) and not model.queue):
        return None  # loads and holds join the one load that there is
    if queued < limits.queue_per_model and in_all < limits.queue_total:
        return None
    return refusal(
        Reason.QUEUE_FULL,
        f"{queued} requests wait for {model.id} (at most {limits.queue_per_model}), "
        f"{in_all} in all (at most {limits.queue_total}); try again later",
        model=model.id,
        queued=queued,
        limit=limits.queue_per_model,
    )


def accept(
    state: CoreState,
    model: ModelRuntime,
    event: Requested | UnloadRequested | RestartRequested,
    kind: RequestKind,
    options: LoadOptions,
) -> Request:
    """Makes a request of a call, with its deadline; all but an unload wait in the model's queue."""
    deadline_s = event.at_s + event.limit_s
    request = Request(
        event.request, model.id, kind, options, deadline_s, event.limit_s, priority(model), since_s=event.at_s
    )
    if isinstance(event, Requested):
        request.priority = request.priority if event.priority is None else event.priority
        request.progress, request.reload, request.caller = event.progress, event.reload, event.caller
        request.fingerprint = event.fingerprint
        request.resume = event.resume and not model.spec.expendable
    state.emit(SetTimer(DeadlinePassed(deadline_s, request.id)))
    if kind is RequestKind.UNLOAD:
        state.requests[request.id] = request
    else:
        enqueue(state, model, request)
    return request


def streamed(state: CoreState, event: Streamed) -> None:
    """The caller has had a part of the answer."""
    request = state.requests.get(event.request)
    if request and request.state is RequestState.DISPATCHED:
        request.state = RequestState.STREAMING
        request.sent = True
        if worker := state.workers.get(request.worker_id or 0):
            worker.answered = True
            _let_others_begin(state, request, worker)


def resumed(state: CoreState, event: Resumed) -> None:
    """Records that an interrupted request goes on, and from where."""
    request = state.requests.get(event.request)
    if request is None or request.lost is None:
        return
    how = f"goes on after {event.sent_tokens} tokens, {'exactly' if event.exact else 'approximately'}"
    words = f"a request {how if event.sent_tokens else 'runs again'}: {request.lost.why.message}"
    numbers = {"sent_tokens": float(event.sent_tokens), "resumes": float(request.resumes)}
    state.decide(Decision(DecisionKind.RESUME, request.model, words, request.worker_id or 0, numbers=numbers))


def ended(state: CoreState, event: Ended | Cancelled) -> None:
    """A caller is done or has left; a request that was refused meanwhile is no longer known."""
    request = state.requests.get(event.request)
    if request is None:
        return
    worker = state.workers.get(request.worker_id or 0)
    if isinstance(event, Ended) and request.kind is RequestKind.RUN and worker:
        worker.answered = True
    end(state, request)


def deadline_passed(state: CoreState, event: DeadlinePassed) -> None:
    """Ends a request that has had its time, waiting or running."""
    request = state.requests.get(event.request)
    if request is None:
        return
    doing = f"waited for {request.model}, which is {state.models[request.model].state.name}"
    if request.worker_id is not None and request.kind is RequestKind.RUN:
        doing = f"ran on {request.model}"
    text = f"the request {doing}; its {request.limit_s:g} s are over"
    why = refusal(Reason.DEADLINE_PASSED, text, limitS=f"{request.limit_s:g}")
    state.record_refusal(request.model, why)
    refuse(state, request, why)


HANDLERS: Handlers = {Requested: requested, Streamed: streamed, Resumed: resumed, Ended: ended}
"""`reservations` handles Cancelled and DeadlinePassed, which may be about either."""


def enqueue(state: CoreState, model: ModelRuntime, request: Request) -> None:
    """Puts a request at the end of its model's queue."""
    state.requests[request.id] = request
    model.queue.add(request)
    if request.kind is not RequestKind.RUN:
        model.loads[request.id] = request
        state.joined += 1
    elif request.progress:
        model.progress_watchers[request.id] = request
    state.queued += 1
    state.touch(model)


def enqueue_ahead(state: CoreState, model: ModelRuntime, request: Request) -> None:
    """Puts a request before all of its model's queue, behind those that were put there before."""
    enqueue(state, model, request)
    move_ahead(model, request)


def move_ahead(model: ModelRuntime, request: Request) -> None:
    """Puts a request of the queue before all others."""
    model.queue.remove(request.id)
    model.queue.add_ahead(request)


def leave_queue(state: CoreState, request: Request) -> None:
    """Takes a request out of its queue, if it is in there."""
    model = state.models[request.model]
    if model.loads.pop(request.id, None):
        state.joined -= 1
    model.progress_watchers.pop(request.id, None)
    if model.queue.remove(request.id):
        state.queued -= 1
        state.touch(model)


def hold_again(state: CoreState, model: ModelRuntime, because: Because) -> None:
    """Puts callers that held a model, whose process is gone against their wish, before all others in its queue.

    So it comes back with the settings that they have it with.
    """
    holds, model.holds = model.holds, {}
    for request in holds.values():
        request.state = RequestState.QUEUED
        state.emit(Report(request.id, model.state, None, because.words, cause=because.cause))
        enqueue_ahead(state, model, request)


def end(state: CoreState, request: Request) -> None:
    """Forgets a request, wherever it is; its place is free."""
    del state.requests[request.id]
    state.emit(CancelDeadline(request.id))
    leave_queue(state, request)
    model = state.models[request.model]
    if model.holds.pop(request.id, None):
        if model.current:
            model.current.last_used_s = state.now_s
        state.touch(model)
    if model.renewal:
        state.touch(model)
    worker = state.workers.get(request.worker_id or 0)
    if worker is None:
        return
    if request.kind is RequestKind.UNLOAD:
        worker.unload_waiters.remove(request.id)
        return
    _leave_place(state, request, worker)


def _leave_place(state: CoreState, request: Request, worker: WorkerProcess) -> None:
    """A request gives its place in a process back."""
    worker.in_flight.remove(request.id)
    _let_others_begin(state, request, worker)
    worker.last_used_s = state.now_s
    state.touch(state.models[request.model])
    if not worker.in_flight:
        share_threads(state, worker)


def _let_others_begin(state: CoreState, request: Request, worker: WorkerProcess) -> None:
    """A request that ran alone has had something of its process, or has left it."""
    if worker.alone == request.id:
        worker.alone = 0
        state.touch(state.models[request.model])


def interrupt(state: CoreState, request: Request, why: Refusal) -> None:
    """Takes a running request off its process, which is dead or to be ended; `why` says so.

    It waits again before all others, and goes on where it was: unless it may not, has lost too many processes, its
    model was removed, or all is ending. Then it is refused.
    """
    removed = state.models[request.model].removed
    if not request.resume or request.resumes == MOST_RUNS_AGAIN or state.ending or removed:
        # It may be what the process died of, so its caller is not told to send it once more.
        refuse(state, request, replace(why, retry=False))
        return
    worker = state.workers[request.worker_id or 0]
    _leave_place(state, request, worker)
    request.state, request.worker_id = RequestState.QUEUED, None
    request.since_s = state.now_s  # while it ran it did not wait: nobody is to make room for it sooner
    request.resumes += 1
    assert worker.plan is not None and worker.source is not None
    request.lost = Lost(why, worker.options, worker.source, worker.plan.settings, frozenset(request.threads))
    enqueue_ahead(state, state.models[request.model], request)
    state.emit(Interrupted(request.id, why))


def refuse(state: CoreState, request: Request, why: Refusal) -> None:
    """Ends a request with an error; one whose answer was interrupted hears that, and why it could not go on."""
    end(state, request)
    if request.lost and request.sent and request.worker_id is None and why.reason not in _ENDS:
        why = cannot_go_on(request.lost.why, why)
    state.emit(Refuse(request.id, why))


def refuse_queue(state: CoreState, model: ModelRuntime, why: Refusal) -> None:
    """Ends everything that waits for a model with an error."""
    for request in list(model.queue):
        refuse(state, request, why)


def refuse_holds(state: CoreState, model: ModelRuntime, why: Refusal) -> None:
    """Ends every hold of a model with an error."""
    for hold in list(model.holds.values()):
        refuse(state, hold, why)


def abort(state: CoreState, worker: WorkerProcess, why: Refusal) -> None:
    """Takes everything that runs off a process that is to end."""
    for request_id in sorted(worker.in_flight):
        interrupt(state, state.requests[request_id], why)


def report(
    state: CoreState, model: ModelRuntime, share: float | None, message: str, cause: Cause | None = None
) -> None:
    """Reports how a load goes on to its callers; those that will hold the model hear of its states only."""
    awaited = _awaited(state, model)
    for request in model.loads.values():
        if request.kind is not RequestKind.HOLD or (share is None and model.state is not ModelState.READY):
            state.emit(Report(request.id, model.state, share, message, awaited, cause=cause))
    report_places(state, model, share, message)


def report_places(state: CoreState, model: ModelRuntime, share: float | None, message: str) -> None:
    """Reports to callers that want progress what they wait for, and their place: one walk numbers them all."""
    awaited = _awaited(state, model)
    for ahead, request in enumerate(model.queue if model.progress_watchers else ()):
        if request.id in model.progress_watchers:
            state.emit(Report(request.id, model.state, share, message, awaited, ahead))


def _awaited(state: CoreState, model: ModelRuntime) -> Awaited | None:
    """Reason for the wait of a model's callers."""
    return state.pending_loads[model.id].awaited if model.state is ModelState.QUEUED else _AWAITED.get(model.state)


def quarantined(state: CoreState, model: ModelRuntime) -> Refusal:
    """Why a model is not loaded for a while."""
    history = model.restarts
    last, left_s = history.last_words, history.quarantined_until_s - state.now_s
    count = len(history.recent(state.now_s))
    text = f"{model.id} is not loaded for another {left_s:.0f} s: {deaths(count, last)}; `vramd reset {model.id}`"
    text += f" ends that, `vramd logs {model.id}` says more"
    return refusal(Reason.MODEL_QUARANTINED, text, model=model.id, strikes=count, exit=last, untilS=f"{left_s:.0f}")


def poisoned(state: CoreState, model: ModelRuntime, fingerprint: str) -> Refusal:
    """Why a request is not run again."""
    left_s = state.suspects.left_s(fingerprint, state.now_s)
    text = f"{MARKS} processes of {model.id} died while they worked on this request: it is refused for another "
    text += f"{left_s:.0f} s; `vramd reset {model.id}` ends that, `vramd logs {model.id}` says more"
    return refusal(Reason.REQUEST_QUARANTINED, text, model=model.id, untilS=f"{left_s:.0f}")


def deaths(count: int, last: str) -> str:
    """Says how often processes of a model died."""
    many = f"{count} of its processes died within {WINDOW_S / 60:g} min, the last one: " if count > 1 else ""
    return f"{many or 'its process died: '}{last}"


def unloaded(state: CoreState, model: ModelRuntime, cause: str = "") -> Refusal:
    """Why calls end of a model that is unloaded under them; with the supervisor all else ends too."""
    if state.ending:
        return shutting_down()
    why = f": {cause}" if cause else ""
    text = f"{model.id} was unloaded{why}; call again to load it anew"
    return refusal(Reason.MODEL_UNLOADED, text, model=model.id)


def loaded_differently(model: ModelRuntime, differs: str) -> Refusal:
    """Why a call that wants other settings than a model has is not served."""
    text = f"{with_other_settings(model.id, differs)}; unload it first, reload it, or leave those settings out"
    return refusal(Reason.MODEL_LOADED_DIFFERENTLY, text, model=model.id, differences=differs)


def other_file(model: ModelRuntime) -> Refusal:
    """Why an answer that was interrupted is not continued by a model that has become another one."""
    text = f"the file of {model.id} has changed since"
    return refusal(Reason.MODEL_LOADED_DIFFERENTLY, text, model=model.id, differences="file")


def held(state: CoreState, model: ModelRuntime, request: Request) -> Refusal:
    """Why a reload that would break a hold is not done."""
    assert model.current is not None and model.current.plan is not None
    held_s = state.now_s - min(hold.held_from_s for hold in model.holds.values())
    differs = differences(model.spec, model.current.plan.settings, request.options)
    callers = sorted({hold.caller or "a client" for hold in model.holds.values()})
    by = ", ".join(callers[:MOST_NAMED]) + (
        f" and {len(callers) - MOST_NAMED} more" if len(callers) > MOST_NAMED else ""
    )
    text = f"{with_other_settings(model.id, differs)}; held like this for {held_s:.0f} s by {by}: reload it"
    text += " once the hold has ended"
    return refusal(Reason.MODEL_LOADED_DIFFERENTLY, text, model=model.id, differences=differs)
