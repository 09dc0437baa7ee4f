"""Decides the consequences of an event: requests to serve, models to load and to unload. Pure.

Runs at the end of every event, over the models that the event has touched, then over what waits for room.
"""

import math

from vramd_common.load_settings import LoadOptions

from ..domain import causes
from ..domain.causes import Because
from ..domain.config import Priority
from ..domain.decisions import Decision, DecisionKind
from ..domain.device_view import HOST
from ..quoting.placement import differences
from .actions import CancelDeadline, Complete, Exit, Grant, QueueChanged, Report, SetTimer, Spawn, Thrashing
from .admission import admit, give_up, keep, restore_headroom
from .core_state import CoreState, Handlers
from .cpu_threads import share_threads
from .events import KeepAliveEnded, PatienceEnded, PauseEnded, PlansFound, PlansRefused, Started, TogetherFound
from .eviction import residents
from .model import drain, move, stop
from .reconcile import raised
from .reconfiguration import keep_within_budgets
from .renewal import give_up_renewal, go_on, planned, replace_process, succeed
from .requests import deaths, end, leave_queue, loaded_differently, other_file, refuse, report_places
from .state import (
    ModelRuntime,
    ModelState,
    PendingLoad,
    Phase,
    Request,
    RequestKind,
    RequestState,
    WorkerProcess,
    has_place,
    is_changed,
    is_held_again,
    is_kept,
    is_pinned,
    priority,
)

_AT_REST = frozenset({ModelState.UNLOADED, ModelState.BACKOFF, ModelState.QUARANTINED})
SPARE_PATIENCE_S = 2.0
"""A process that starts takes a core for some 0.3 s: the next spare waits for a load and its first answer that long."""


def settle(state: CoreState) -> None:
    """Decides until nothing is left to decide."""
    restore_headroom(state)
    if state.over_budget:
        keep_within_budgets(state)
    _settle_touched(state)
    while admit(state):
        _settle_touched(state)
    _settle_touched(state)
    _keep_spare(state)
    if state.ending and not state.workers:
        state.emit(Exit())


def _settle_touched(state: CoreState) -> None:
    while state.touched:
        model = next(iter(state.touched))
        del state.touched[model]
        _settle(state, state.models[model])
        _touch_former_residents(state)


def _touch_former_residents(state: CoreState) -> None:
    """Touches models that have dropped out of the last `keep_resident`: they may now have been idle for too long."""
    before, state.residents = state.residents, residents(state)
    for worker_id in sorted(before - state.residents):
        worker = state.workers.get(worker_id)
        if worker and worker.owner:
            state.touch(worker.owner)


def _settle(state: CoreState, model: ModelRuntime) -> None:
    """The next step of one model.

    1. It has no process: a new one takes over that was loaded meanwhile; or see `_begin_or_wait`.
    2. It is ready: requests are served as far as there are places; if it is idle, its keep-alive runs.
    3. It drains: it stops once nothing runs.
    """
    if model.renewal and model.current:
        go_on(state, model, model.renewal)
    if model.state in _AT_REST:  # 1
        if model.renewal:
            succeed(state, model, model.renewal)
        else:
            _begin_or_wait(state, model)
    elif model.state is ModelState.QUEUED:
        _hurry(state, model)
    elif model.current is None:
        return
    elif model.state is ModelState.READY:  # 2
        _serve(state, model, model.current)
        if not model.current.in_flight:
            _stay(state, model, model.current)
    elif model.state is ModelState.DRAINING and not model.current.in_flight:  # 3
        assert model.current.leaves
        stop(state, model.current, model.current.leaves.after("nothing runs on it any more"))
    _tell_queue(state, model)


def _begin_or_wait(state: CoreState, model: ModelRuntime) -> None:
    """The next step of a model without a process.

    1. It is quarantined: nothing is started. If that is over, the next load is on probation.
    2. Nothing waits for it, and it is not to come back by itself: it is forgotten, if it left the catalogue and no
       caller has changed anything about it.
    3. Else a load begins, after the pause that it has to wait since its process died.
    """
    history = model.restarts
    if history.is_quarantined(state.now_s) and not state.ending:  # 1
        if model.state is not ModelState.QUARANTINED:
            _put_into_quarantine(state, model)
        return
    if model.state is ModelState.QUARANTINED:
        move(state, model, ModelState.UNLOADED, causes.QUARANTINE_OVER)
    stays = is_pinned(model) or model.spec.preload or model.outdated
    returns = model.again if stays and model.listed and not state.ending else None
    if not (model.queue or returns):  # 2
        model.again, model.outdated = None, False
        if model.state is ModelState.BACKOFF:
            move(state, model, ModelState.UNLOADED, causes.UNWANTED)
        if not (model.listed or is_changed(model) or any(one.owner is model for one in state.workers.values())):
            state.touched.pop(model.id, None)
            del state.models[model.id]
        return
    asked = not all(map(is_held_again, model.queue)) if model.queue else False
    when_s = history.next_start_s if asked else history.returns_s
    if when_s > state.now_s:  # 3
        if model.state is not ModelState.BACKOFF:
            move(
                state,
                model,
                ModelState.BACKOFF,
                causes.pause(when_s - state.now_s, history.last_words, history.refused),
            )
        if when_s != history.timer_s:
            history.timer_s = when_s
            state.emit(SetTimer(PauseEnded(when_s, model.id)))
        return
    if model.queue:
        _want(state, model)
    elif returns:
        because = causes.CONFIGURED if model.outdated else causes.PINNED if is_pinned(model) else causes.RETURNS
        _bring_back(state, model, returns, because)
    model.again, model.outdated = None, False


def _put_into_quarantine(state: CoreState, model: ModelRuntime) -> None:
    history = model.restarts
    count = len(history.recent(state.now_s))
    words = f"{deaths(count, history.last_words)}; it is not loaded for {state.limits.quarantine_s:g} s"
    move(state, model, ModelState.QUARANTINED, causes.quarantined(words))
    numbers = {"strikes": float(count), "quarantine_s": state.limits.quarantine_s}
    because = causes.quarantined(words)
    state.decide(Decision.because(because, DecisionKind.QUARANTINE, model.id, 0, numbers=numbers))


def _tell_queue(state: CoreState, model: ModelRuntime) -> None:
    queued = len(model.queue)
    if model.told_queued != queued:
        model.told_queued = queued
        state.emit(QueueChanged(model.id, model.told_queued, state.queued))
        report_places(state, model, None, f"{model.id} is {model.state.name}")


def started(state: CoreState, _: Started) -> None:
    """Loads what the configuration wants from the start, as far as there is room for it."""
    state.spare_wanted = True
    listed = [state.models[name] for name in state.config.models if name in state.models]
    wanted = [model for model in listed if model.spec.preload and model.state is ModelState.UNLOADED]
    count = {"first": 1, "all": len(wanted), "none": 0}[state.config.scheduling.preload]
    for model in wanted[:count]:
        pending = PendingLoad(
            model.id,
            model.spec.options,
            state.next_turn(),
            Priority.BATCH,
            state.now_s,
            causes.PRELOAD,
            opportunistic=True,
        )
        _begin_waiting(state, model, pending)


def _want(state: CoreState, model: ModelRuntime) -> None:
    first = model.queue.first()
    first.planned = True
    changed = LoadOptions(keep_alive_s=model.keep_alive_now_s)
    before = first.lost.options if first.lost else LoadOptions()
    options = first.options.over(changed).over(before).over(model.spec.options)
    because = causes.SMALLER if model.restarts.ran_out(state.now_s) else causes.ASKED_FOR
    pending = PendingLoad(model.id, options, state.next_turn(), first.priority, first.since_s, because)
    _begin_waiting(state, model, pending)


def _bring_back(state: CoreState, model: ModelRuntime, options: LoadOptions, because: Because) -> None:
    """Loads a model without being asked for; one that nobody cares for, only if there is room beside the others."""
    turn, wanted = state.next_turn(), is_pinned(model) or model.outdated
    urgency = priority(model) if is_pinned(model) else Priority.BATCH
    pending = PendingLoad(model.id, options, turn, urgency, state.now_s, because, opportunistic=not wanted)
    _begin_waiting(state, model, pending)


def _begin_waiting(state: CoreState, model: ModelRuntime, pending: PendingLoad) -> None:
    state.pending_loads[model.id] = pending
    move(state, model, ModelState.QUEUED, pending.because)


def _hurry(state: CoreState, model: ModelRuntime) -> None:
    """Makes a load as urgent as the most urgent of its callers; it keeps its place when they have left."""
    pending = state.pending_loads[model.id]
    first = model.queue.first() if model.queue else None
    pending.opportunistic = pending.opportunistic and not first
    if first and first.priority < pending.priority:
        listed = pending in state.admission_queue
        state.admission_queue.remove(pending)
        pending.priority = first.priority
        if listed:
            state.admission_queue.add(pending, pending.devices)


def _serve(state: CoreState, model: ModelRuntime, worker: WorkerProcess) -> None:
    """Serves requests in the order of the queue, while there are places; those for a load need none."""
    assert worker.plan is not None
    settings = worker.plan.settings
    for request in list(model.loads.values()):
        if differs := differences(model.spec, settings, request.options):
            if request.reload:
                continue  # its turn comes in the queue, behind earlier requests
            refuse(state, request, loaded_differently(model, differs))
        elif request.kind is RequestKind.HOLD:
            _hold(state, model, request)
        else:
            keep(model, request.options)
            worker.last_used_s = state.now_s
            end(state, request)
            state.emit(Complete(request.id))
    while model.queue:
        request = model.queue.first()
        differs = differences(model.spec, settings, request.options)
        if differs and request.reload and not request.planned:
            request.planned = True
            replace_process(state, model, request, causes.reload(differs))
            return
        if differs:
            refuse(state, request, loaded_differently(model, differs))
        elif request.lost and request.sent and request.lost.source != worker.source:
            refuse(state, request, other_file(model))
        elif has_place(model):
            _grant(state, model, worker, request)
        else:
            break


def _hold(state: CoreState, model: ModelRuntime, request: Request) -> None:
    """Lets a caller hold the model until the caller leaves."""
    keep(model, request.options)
    leave_queue(state, request)
    model.holds[request.id] = request
    request.state = RequestState.STREAMING
    request.held_from_s = state.now_s
    state.emit(CancelDeadline(request.id))
    state.emit(Report(request.id, model.state, None, "it is kept warm"))


def _grant(state: CoreState, model: ModelRuntime, worker: WorkerProcess, request: Request) -> None:
    leave_queue(state, request)
    request.state = RequestState.DISPATCHED
    request.worker_id = worker.id
    worker.in_flight.add(request.id)
    if state.suspects.is_marked(request.fingerprint, state.now_s):
        worker.alone = request.id  # so that it alone is to blame if this process dies as well
    worker.last_used_s = state.now_s
    worker.used = True
    keep(model, request.options)
    share_threads(state, worker)
    timeline = _timeline(state.now_s, worker, request)
    threads = state.threads[worker.id]
    request.threads = {threads}
    alike = request.lost is None or request.lost.is_like(worker, threads)
    state.emit(Grant(request.id, worker.id, threads, timeline, alike))


def _timeline(now_s: float, worker: WorkerProcess, request: Request) -> dict[str, float]:
    """How long a request waited for room, a process, the weights and its place."""
    assert worker.ready_s is not None
    moments = (
        ("drained_s", worker.room_from_s, worker.begun_s),
        ("spawned_s", worker.begun_s, worker.load_from_s),
        ("loaded_s", worker.load_from_s, worker.ready_s),
    )
    phases = {name: end_s - max(begin_s, request.since_s) for name, begin_s, end_s in moments}
    phases = {name: seconds for name, seconds in phases.items() if seconds > 0}
    queued_s = now_s - request.since_s - sum(phases.values())
    return ({"queued_s": queued_s} if queued_s > 0 else {}) | phases


def _stay(state: CoreState, model: ModelRuntime, worker: WorkerProcess) -> None:
    """Unloads an idle model at the end of its keep-alive, listed or not: a loaded model needs no file.

    One that is configured otherwise by now is loaded again at once, so that never two processes take its memory.
    """
    if worker.outdated and not (model.holds or model.queue or model.renewal):
        model.again, model.outdated = LoadOptions(keep_alive_s=model.keep_alive_now_s).over(model.spec.options), True
        drain(state, model, causes.CONFIGURED)
        return
    until_s = worker.stays_until_s
    if is_kept(model) or model.renewal or until_s == math.inf:
        return
    if until_s > state.now_s:
        state.emit(SetTimer(KeepAliveEnded(until_s, worker.id)))
    elif worker.id not in residents(state):
        drain(state, model, causes.idle(worker.keep_alive_s))


def plans_found(state: CoreState, event: PlansFound) -> None:
    """The plans of a load are known: it waits for room."""
    pending, model = state.pending_loads.get(event.model), state.models.get(event.model)
    if model and model.renewal and model.renewal.turn == event.turn:
        planned(state, model, model.renewal, event.plans, event.alternatives)
    elif pending and pending.turn == event.turn:
        taken = state.models[event.model].taken
        pending.found([raised(plan, taken.get(plan.settings, {})) for plan in event.plans], event.alternatives)
        state.admission_queue.add(pending, pending.devices)


def plans_refused(state: CoreState, event: PlansRefused) -> None:
    """A load cannot be placed."""
    pending, model = state.pending_loads.get(event.model), state.models.get(event.model)
    if model and model.renewal and model.renewal.turn == event.turn:
        give_up_renewal(state, model, event.refusal)
    elif pending and pending.turn == event.turn:
        give_up(state, state.models[event.model], event.refusal)


def together_found(state: CoreState, event: TogetherFound) -> None:
    """Reports models that evict each other again and again, with settings under which they need not."""
    found = state.ping_pongs.pop(event.models, None)
    if found is None:
        return
    names = " and ".join(event.models)
    message = f"{names} drive each other out: {found.loads_per_minute:.1f} loads per minute"
    plans = zip(event.models, event.plans, strict=False)
    ways = [f"{model}: {', '.join(plan.degraded) or 'as it is'}" for model, plan in plans]
    message += f"; both would fit with {'; '.join(ways)}" if ways else "; they do not fit together, however small"
    numbers = {"loads_per_minute": found.loads_per_minute, "useful_share": found.useful_share}
    state.decide(Decision(DecisionKind.THRASH, event.models[0], message, for_whom=event.models[1], numbers=numbers))
    state.emit(Thrashing(event.models, found.loads_per_minute, found.useful_share, tuple(event.plans)))


def patience_ended(_: CoreState, __: PatienceEnded) -> None:
    """Something has waited long enough to have busy models drained: `admit` asks it after every event."""


HANDLERS: Handlers = {
    Started: started,
    PlansFound: plans_found,
    PlansRefused: plans_refused,
    TogetherFound: together_found,
    PatienceEnded: patience_ended,
}


def _is_awaited(worker: WorkerProcess) -> bool:
    """Whether callers wait for its load, or for the first word of an answer."""
    return worker.phase is Phase.LOADING or (bool(worker.in_flight) and not worker.answered)


def _keep_spare(state: CoreState) -> None:
    """Has an idle process ready for the next load, unless it would keep a load out, or slow one down."""
    if state.spare or not state.spare_wanted or state.ending or state.pending_loads or state.pending_reservations:
        return
    if state.now_s < state.last_begun_s + SPARE_PATIENCE_S and any(map(_is_awaited, state.workers.values())):
        return
    if state.ledger.steady_free_bytes(HOST) >= state.spare_bytes and not state.is_closed(HOST):
        state.spare = state.new_worker()
        state.promise(state.spare, {HOST: state.spare_bytes}, "a spare worker starts")
        state.emit(Spawn(state.spare.id))
