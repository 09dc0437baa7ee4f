"""What callers bring about: requests, their ends, unloads. Pure; records facts, the scheduler draws the conclusions."""

from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import ModelFile
from ..domain.causes import Because
from ..domain.errors import Refusal, refusal, shutting_down
from ..quoting.abilities import lack
from ..quoting.placement import differences
from .actions import Refuse, SetTimer
from .events import (
    DeadlinePassed,
    DrainEnded,
    ModelUpdated,
    Requested,
    RestartRequested,
    ShutdownRequested,
    Streamed,
    UnloadRequested,
)
from .lives import give_up_renewal, stop
from .names import find
from .state import (
    COMING,
    GOING,
    MOST_NAMED,
    ModelRuntime,
    ModelState,
    Renewal,
    Request,
    RequestKind,
    RequestState,
    has_place,
    is_pinned,
    priority,
)
from .world import CoreState


def requested(state: CoreState, event: Requested) -> None:
    """Takes a request in, or refuses it at once."""
    model = _admit(state, event.request, event.model)
    if model is None:
        return
    problem = model.spec.source.problem if isinstance(model.spec.source, ModelFile) else None
    if problem and model.current is None:  # what is loaded needs no file
        path = model.spec.source.path if isinstance(model.spec.source, ModelFile) else ""
        why = refusal(problem.reason, f"{event.model}: {problem.text}", model=event.model, path=path)
        state.emit(Refuse(event.request, why))
    elif event.needs and model.current is None and (unable := lack(model.spec, event.needs)):
        # Nobody has to go for it. What is loaded says itself what it cannot do.
        state.record_refusal(event.model, unable)
        state.emit(Refuse(event.request, unable))
    elif full := _queue_full(state, model, event.kind):
        state.record_refusal(event.model, full)
        state.emit(Refuse(event.request, full))
    else:
        _accept(state, model, event, event.kind, event.options)


def _admit(state: CoreState, request: int, name: str) -> ModelRuntime | None:
    """The model a call is about; None if the call was refused."""
    if state.ending:
        state.emit(Refuse(request, shutting_down()))
        return None
    found = find(state.models, name)
    if isinstance(found, Refusal):
        state.emit(Refuse(request, found))
        return None
    return found


def _queue_full(state: CoreState, model: ModelRuntime, kind: RequestKind) -> Refusal | None:
    limits = state.config.scheduling
    if has_place(model) and not model.queue:
        return None
    if kind is RequestKind.LOAD and model.state is ModelState.READY:
        return None
    if len(model.queue) < limits.queue_per_model and state.queued < limits.queue_total:
        return None
    queued = len(model.queue)
    return refusal(
        Reason.QUEUE_FULL,
        f"{queued} requests wait for {model.id} (at most {limits.queue_per_model}), "
        f"{state.queued} in all (at most {limits.queue_total}); try again later",
        model=model.id,
        queued=queued,
        limit=limits.queue_per_model,
    )


def _accept(
    state: CoreState,
    model: ModelRuntime,
    event: Requested | UnloadRequested | RestartRequested,
    kind: RequestKind,
    options: LoadOptions,
) -> Request:
    deadline_s = event.at_s + event.limit_s
    urgent = event.priority if isinstance(event, Requested) else None
    request = Request(
        event.request,
        model.id,
        kind,
        options,
        deadline_s,
        event.limit_s,
        priority=priority(model) if urgent is None else urgent,
        since_s=event.at_s,
        progress=isinstance(event, Requested) and event.progress,
        reload=isinstance(event, Requested) and event.reload,
        caller=event.caller if isinstance(event, Requested) else "",
    )
    state.emit(SetTimer(DeadlinePassed(deadline_s, request.id)))
    if kind is RequestKind.UNLOAD:
        state.requests[request.id] = request
    else:
        state.enqueue(model, request)
    return request


def replace_process(
    state: CoreState, model: ModelRuntime, first: Request, because: Because, *, force: bool = False
) -> None:
    """Has a process go for a new one, once that one is proven (see `renewal`); one that is still loading goes at once.

    Who wants other settings is refused while somebody else holds the model with those that it has.
    """
    if first.reload and model.holds:
        state.refuse(first, held(state, model, first))
        return
    if model.state is ModelState.READY:
        state.leave_queue(first)
        if model.renewal:
            first.planned = False
            model.renewal.behind.append(first.id)
        else:
            model.renewal = Renewal(first.id, because, force)
            state.touch(model)
        return
    model.queue.remove(first.id)
    model.queue.add_ahead(first)
    assert model.current is not None
    stop(state, model.current, because)


def differently(model: ModelRuntime, differs: str) -> Refusal:
    """What callers hear who want other settings than a model has."""
    text = (
        f"{model.id} is loaded with other settings: {differs}; unload it first, reload it, or leave those settings out"
    )
    return refusal(Reason.MODEL_LOADED_DIFFERENTLY, text, model=model.id, differences=differs)


def held(state: CoreState, model: ModelRuntime, request: Request) -> Refusal:
    """What callers hear whose reload would break a hold."""
    assert model.current is not None and model.current.plan is not None
    held_s = state.now_s - min(hold.held_from_s for hold in model.holds.values())
    differs = differences(model.spec, model.current.plan.settings, request.options)
    callers = sorted({hold.caller or "a client" for hold in model.holds.values()})
    by = ", ".join(callers[:MOST_NAMED]) + (
        f" and {len(callers) - MOST_NAMED} more" if len(callers) > MOST_NAMED else ""
    )
    text = f"{model.id} is loaded with other settings: {differs}; held like this for {held_s:.0f} s by {by}: reload it"
    return refusal(
        Reason.MODEL_LOADED_DIFFERENTLY, f"{text} once the hold has ended", model=model.id, differences=differs
    )


def streamed(state: CoreState, event: Streamed) -> None:
    """From here on the request cannot be begun anew."""
    request = state.requests.get(event.request)
    if request and request.state is RequestState.DISPATCHED:
        request.state = RequestState.STREAMING
        if worker := state.workers.get(request.worker_id or 0):
            worker.answered = True


def ended(state: CoreState, request_id: int) -> None:
    """A caller is done or has left; one that was refused meanwhile is no longer known."""
    if request := state.requests.get(request_id):
        state.end(request)


def deadline_passed(state: CoreState, event: DeadlinePassed) -> None:
    """Ends a request that has had its time, waiting or running."""
    request = state.requests.get(event.request)
    if request is None:
        return
    model = state.models[request.model]
    doing = f"waited for {request.model}, which is {model.state.name}"
    if request.worker_id is not None and request.kind is RequestKind.RUN:
        doing = f"ran on {request.model}"
    text = f"the request {doing}; its {request.limit_s:g} s are over"
    why = refusal(Reason.DEADLINE_PASSED, text, limitS=f"{request.limit_s:g}")
    state.record_refusal(request.model, why)
    state.refuse(request, why)


def unload_requested(state: CoreState, event: UnloadRequested) -> None:
    """Has a model go; its waiting callers are told, its running ones may finish unless forced.

    A load that waits for room is given up; there is no process then, so there is no receipt.
    """
    model = _admit(state, event.request, event.model)
    if model is None:
        return
    model.again = None
    give_up_renewal(state, model, state.unloaded(model))
    for hold in list(model.holds.values()):
        state.refuse(hold, state.unloaded(model))
    if model.state in {ModelState.READY, ModelState.QUEUED} | COMING:
        state.refuse_queue(model, state.unloaded(model))
    if model.state is ModelState.QUEUED:
        state.stop_waiting(model)
        state.move(model, ModelState.UNLOADED, causes.UNLOAD.after("it waited for room"))
    if model.current is None:
        text = f"{model.id} has no process that could be ended"
        state.emit(Refuse(event.request, refusal(Reason.MODEL_NOT_LOADED, text, model=model.id)))
        return
    request = _accept(state, model, event, RequestKind.UNLOAD, LoadOptions())
    request.worker_id = model.current.id
    model.current.unload_waiters.append(request.id)
    if model.state in COMING:
        stop(state, model.current, causes.UNLOAD)
    else:
        drain(state, model, causes.UNLOAD, force=event.force)


def restart_requested(state: CoreState, event: RestartRequested) -> None:
    """Has a model get a new process with the same settings; the caller is answered when that one serves."""
    model = _admit(state, event.request, event.model)
    if model is None:
        return
    if model.current is None or model.current.plan is None or model.state in GOING:
        text = f"{event.model} is {model.state.name}: there is no process that could be replaced"
        state.emit(Refuse(event.request, refusal(Reason.MODEL_NOT_LOADED, text, model=event.model)))
        return
    settings = model.current.plan.settings
    same = settings.again(model.current.keep_alive_s)
    request = _accept(state, model, event, RequestKind.LOAD, same)
    replace_process(state, model, request, causes.RESTART, force=event.force)


def model_updated(state: CoreState, event: ModelUpdated) -> None:
    """Changes how long a model stays, from now on and for its next lives.

    The time that an unpinned one stays, or that was changed, begins now, not when the model was last used.
    """
    model = state.models.get(event.model)
    if model is None:
        return
    if model.current and (event.keep_alive_s is not None or (event.pinned is False and is_pinned(model))):
        model.current.free_from_s = state.now_s
    if event.pinned is not None:
        model.pinned_now = event.pinned
    if event.priority is not None:
        model.priority_now = event.priority
    if event.keep_alive_s is not None:
        model.keep_alive_now_s = event.keep_alive_s
        if model.current:
            model.current.keep_alive_s = event.keep_alive_s
    state.touch(model)


def drain(
    state: CoreState, model: ModelRuntime, because: Because, *, force: bool = False, within_s: float | None = None
) -> None:
    """Has a ready model admit nothing new and stop once nothing runs, within drain_s at most; at once if forced."""
    assert model.current is not None
    if model.state not in GOING:
        state.move(model, ModelState.DRAINING, because)
        model.current.leaves = because
        drain_s = state.config.scheduling.drain_s if within_s is None else within_s
        state.emit(SetTimer(DrainEnded(state.now_s + drain_s, model.current.id)))
    if force:
        state.abort(model.current, state.unloaded(model))


def shutdown_requested(state: CoreState, event: ShutdownRequested) -> None:
    """Has everything go; who waits is told, who runs may finish unless forced."""
    state.ending = True
    why = shutting_down()
    for model in state.models.values():
        give_up_renewal(state, model, why)
        for hold in list(model.holds.values()):
            state.refuse(hold, why)
        state.refuse_queue(model, why)
        state.stop_waiting(model)
        if model.state is ModelState.QUEUED:
            state.move(model, ModelState.UNLOADED, causes.SHUTDOWN)
        elif model.current and model.state in COMING:
            stop(state, model.current, causes.SHUTDOWN)
        elif model.current and model.state is not ModelState.STOPPING:
            drain(state, model, causes.SHUTDOWN, force=event.force)
    if state.spare:
        stop(state, state.spare)
