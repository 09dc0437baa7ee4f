"""What callers bring about: requests, their ends, unloads. Pure; records facts, the scheduler draws the conclusions."""

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import LoadOptions, ModelFile
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
from .room import MOST_NAMED
from .state import (
    COMING,
    GOING,
    Entry,
    ModelState,
    Renewal,
    Request,
    RequestKind,
    RequestState,
    has_place,
    is_pinned,
    priority,
)
from .world import World


def requested(world: World, event: Requested) -> None:
    """Takes a request in, or refuses it at once."""
    entry = _admit(world, event.request, event.model)
    if entry is None:
        return
    problem = entry.model.source.problem if isinstance(entry.model.source, ModelFile) else None
    if problem and entry.current is None:  # what is loaded needs no file
        path = entry.model.source.path if isinstance(entry.model.source, ModelFile) else ""
        why = refusal(problem.reason, f"{event.model}: {problem.text}", model=event.model, path=path)
        world.emit(Refuse(event.request, why))
    elif event.needs and entry.current is None and (unable := lack(entry.model, event.needs)):
        # Nobody has to go for it. What is loaded says itself what it cannot do.
        world.record_refusal(event.model, unable)
        world.emit(Refuse(event.request, unable))
    elif full := _queue_full(world, entry, event.kind):
        world.record_refusal(event.model, full)
        world.emit(Refuse(event.request, full))
    else:
        _accept(world, entry, event, event.kind, event.options)


def _admit(world: World, request: int, model: str) -> Entry | None:
    """The model a call is about; None if the call was refused."""
    if world.ending:
        world.emit(Refuse(request, shutting_down()))
        return None
    found = find(world.entries, model)
    if isinstance(found, Refusal):
        world.emit(Refuse(request, found))
        return None
    return found


def _queue_full(world: World, entry: Entry, kind: RequestKind) -> Refusal | None:
    limits = world.config.scheduling
    if has_place(entry) and not entry.queue:
        return None
    if kind is RequestKind.LOAD and entry.state is ModelState.READY:
        return None
    if len(entry.queue) < limits.queue_per_model and world.queued < limits.queue_total:
        return None
    model, queued = entry.model.id, len(entry.queue)
    return refusal(
        Reason.QUEUE_FULL,
        f"{queued} requests wait for {model} (at most {limits.queue_per_model}), "
        f"{world.queued} in all (at most {limits.queue_total}); try again later",
        model=model,
        queued=queued,
        limit=limits.queue_per_model,
    )


def _accept(
    world: World,
    entry: Entry,
    event: Requested | UnloadRequested | RestartRequested,
    kind: RequestKind,
    options: LoadOptions,
) -> Request:
    deadline_s = event.at_s + event.limit_s
    urgent = event.priority if isinstance(event, Requested) else None
    request = Request(
        event.request,
        entry.model.id,
        kind,
        options,
        deadline_s,
        event.limit_s,
        priority=priority(entry) if urgent is None else urgent,
        since_s=event.at_s,
        progress=isinstance(event, Requested) and event.progress,
        reload=isinstance(event, Requested) and event.reload,
        caller=event.caller if isinstance(event, Requested) else "",
    )
    world.emit(SetTimer(DeadlinePassed(deadline_s, request.id)))
    if kind is RequestKind.UNLOAD:
        world.requests[request.id] = request
    else:
        world.enqueue(entry, request)
    return request


def replace_process(world: World, entry: Entry, first: Request, because: Because, *, force: bool = False) -> None:
    """Has a process go for a new one, once that one is proven (see `renewal`); one that is still loading goes at once.

    Who wants other settings is refused while somebody else holds the model with those that it has.
    """
    if first.reload and entry.holds:
        world.refuse(first, held(world, entry, first))
        return
    if entry.state is ModelState.READY:
        world.leave_queue(first)
        if entry.renewal:
            first.planned = False
            entry.renewal.behind.append(first.id)
        else:
            entry.renewal = Renewal(first.id, because, force)
            world.touch(entry)
        return
    entry.queue.remove(first.id)
    entry.queue.add_ahead(first)
    assert entry.current is not None
    stop(world, entry.current, because)


def differently(entry: Entry, differs: str) -> Refusal:
    """What callers hear who want other settings than a model has."""
    model = entry.model.id
    text = f"{model} is loaded with other settings: {differs}; unload it first, reload it, or leave those settings out"
    return refusal(Reason.MODEL_LOADED_DIFFERENTLY, text, model=model, differences=differs)


def held(world: World, entry: Entry, request: Request) -> Refusal:
    """What callers hear whose reload would break a hold."""
    assert entry.current is not None and entry.current.plan is not None
    model, held_s = entry.model.id, world.now_s - min(hold.held_from_s for hold in entry.holds.values())
    differs = differences(entry.model, entry.current.plan.settings, request.options)
    callers = sorted({hold.caller or "a client" for hold in entry.holds.values()})
    by = ", ".join(callers[:MOST_NAMED]) + (
        f" and {len(callers) - MOST_NAMED} more" if len(callers) > MOST_NAMED else ""
    )
    text = f"{model} is loaded with other settings: {differs}; held like this for {held_s:.0f} s by {by}: reload it"
    return refusal(Reason.MODEL_LOADED_DIFFERENTLY, f"{text} once the hold has ended", model=model, differences=differs)


def streamed(world: World, event: Streamed) -> None:
    """From here on the request cannot be begun anew."""
    request = world.requests.get(event.request)
    if request and request.state is RequestState.DISPATCHED:
        request.state = RequestState.STREAMING
        if incarnation := world.processes.get(request.incarnation or 0):
            incarnation.answered = True
            world.sort_anew(incarnation)


def ended(world: World, request_id: int) -> None:
    """A caller is done or has left; one that was refused meanwhile is no longer known."""
    if request := world.requests.get(request_id):
        world.end(request)


def deadline_passed(world: World, event: DeadlinePassed) -> None:
    """Ends a request that has had its time, waiting or running."""
    request = world.requests.get(event.request)
    if request is None:
        return
    entry = world.entries[request.model]
    doing = f"waited for {request.model}, which is {entry.state.name}"
    if request.incarnation is not None and request.kind is RequestKind.RUN:
        doing = f"ran on {request.model}"
    text = f"the request {doing}; its {request.limit_s:g} s are over"
    why = refusal(Reason.DEADLINE_PASSED, text, limitS=f"{request.limit_s:g}")
    world.record_refusal(request.model, why)
    world.refuse(request, why)


def unload_requested(world: World, event: UnloadRequested) -> None:
    """Has a model go; its waiting callers are told, its running ones may finish unless forced.

    A load that waits for room is given up; there is no process then, so there is no receipt.
    """
    entry = _admit(world, event.request, event.model)
    if entry is None:
        return
    model = entry.model.id
    entry.again = None
    give_up_renewal(world, entry, world.unloaded(entry))
    for hold in list(entry.holds.values()):
        world.refuse(hold, world.unloaded(entry))
    if entry.state in {ModelState.READY, ModelState.QUEUED} | COMING:
        world.refuse_queue(entry, world.unloaded(entry))
    if entry.state is ModelState.QUEUED:
        world.stop_waiting(entry)
        world.move(entry, ModelState.UNLOADED, causes.UNLOAD.after("it waited for room"))
    if entry.current is None:
        text = f"{model} has no process that could be ended"
        world.emit(Refuse(event.request, refusal(Reason.MODEL_NOT_LOADED, text, model=model)))
        return
    request = _accept(world, entry, event, RequestKind.UNLOAD, LoadOptions())
    request.incarnation = entry.current.id
    entry.current.unload_waiters.append(request.id)
    if entry.state in COMING:
        stop(world, entry.current, causes.UNLOAD)
    else:
        drain(world, entry, causes.UNLOAD, force=event.force)


def restart_requested(world: World, event: RestartRequested) -> None:
    """Has a model get a new process with the same settings; the caller is answered when that one serves."""
    entry = _admit(world, event.request, event.model)
    if entry is None:
        return
    if entry.current is None or entry.current.plan is None or entry.state in GOING:
        text = f"{event.model} is {entry.state.name}: there is no process that could be replaced"
        world.emit(Refuse(event.request, refusal(Reason.MODEL_NOT_LOADED, text, model=event.model)))
        return
    settings = entry.current.plan.settings
    same = settings.again(entry.current.keep_alive_s)
    request = _accept(world, entry, event, RequestKind.LOAD, same)
    replace_process(world, entry, request, causes.RESTART, force=event.force)


def model_updated(world: World, event: ModelUpdated) -> None:
    """Changes how long a model stays, from now on and for its next lives.

    The time that an unpinned one stays, or that was changed, begins now, not when the model was last used.
    """
    entry = world.entries.get(event.model)
    if entry is None:
        return
    if entry.current and (event.keep_alive_s is not None or (event.pinned is False and is_pinned(entry))):
        entry.current.free_from_s = world.now_s
    if event.pinned is not None:
        entry.pinned_now = event.pinned
        world.room_changed = True
    if event.priority is not None:
        entry.priority_now = event.priority
    if event.keep_alive_s is not None:
        entry.keep_alive_now_s = event.keep_alive_s
        if entry.current:
            entry.current.keep_alive_s = event.keep_alive_s
    world.touch(entry)


def drain(world: World, entry: Entry, because: Because, *, force: bool = False, within_s: float | None = None) -> None:
    """Has a ready model admit nothing new and stop once nothing runs, within drain_s at most; at once if forced."""
    assert entry.current is not None
    if entry.state not in GOING:
        world.move(entry, ModelState.DRAINING, because)
        world.room_changed = True
        entry.current.leaves = because
        drain_s = world.config.scheduling.drain_s if within_s is None else within_s
        world.emit(SetTimer(DrainEnded(world.now_s + drain_s, entry.current.id)))
    if force:
        world.abort(entry.current, world.unloaded(entry))


def shutdown_requested(world: World, event: ShutdownRequested) -> None:
    """Has everything go; who waits is told, who runs may finish unless forced."""
    world.ending = True
    why = shutting_down()
    for entry in world.entries.values():
        give_up_renewal(world, entry, why)
        for hold in list(entry.holds.values()):
            world.refuse(hold, why)
        world.refuse_queue(entry, why)
        world.stop_waiting(entry)
        if entry.state is ModelState.QUEUED:
            world.move(entry, ModelState.UNLOADED, causes.SHUTDOWN)
        elif entry.current and entry.state in COMING:
            stop(world, entry.current, causes.SHUTDOWN)
        elif entry.current and entry.state is not ModelState.STOPPING:
            drain(world, entry, causes.SHUTDOWN, force=event.force)
    if world.spare:
        stop(world, world.spare)
