"""Draws the conclusions of an event: who is served, what is loaded, who has to go for it. Pure.

Runs at the end of every event, over the models that the event has touched, then over what waits for room.
"""

import math

from ..domain import causes
from ..domain.catalog import LoadOptions
from ..domain.config import Priority
from ..domain.decisions import Decision, DecisionKind
from ..quoting.placement import differences
from .actions import (
    CancelDeadline,
    Complete,
    Exit,
    FindPlans,
    Grant,
    QueueChanged,
    Report,
    SetTimer,
    Spawn,
    Thrashing,
)
from .admission import find_rooms, give_up, keep, relieve
from .callers import differently, drain, replace_process
from .events import KeepAliveEnded, PlansFound, PlansRefused, TogetherFound
from .holders import attainable, sort_anew, standings
from .lives import HOST, give_up_renewal, stop
from .lobby import Waiting
from .reconcile import raised
from .renewal import go_on, planned, succeed
from .state import (
    Entry,
    Incarnation,
    ModelState,
    Request,
    RequestKind,
    RequestState,
    has_place,
    is_changed,
    is_kept,
    is_pinned,
    priority,
)
from .world import World

SPARE_PATIENCE_S = 2.0
"""A process that starts takes a core for some 0.3 s: the next spare waits for a load and its first answer, so long."""
MOST_UNSORTED = 8
"""Processes whose standing has changed since somebody looked."""


def settle(world: World) -> None:
    """Thinks until nothing is left to think about."""
    relieve(world)
    while world.touched or world.room_changed:
        while world.touched:
            model = next(iter(world.touched))
            del world.touched[model]
            _settle(world, world.entries[model])
            _sort(world)
        if world.room_changed:
            world.room_changed = False
            find_rooms(world)
            _sort(world)
    _keep_spare(world)
    if world.ending and not world.processes:
        world.emit(Exit())


def _sort(world: World) -> None:
    """Who looks at processes has them sorted first; here that is done before so many have gathered that it takes long.

    Where some are kept for being among the last used, at once: who is no longer may leave before somebody is evicted.
    """
    if world.config.scheduling.keep_resident or len(world.standings.stale) > MOST_UNSORTED:
        sort_anew(world)


def _settle(world: World, entry: Entry) -> None:
    """The next step of one model.

    1. It has no process: one takes its place that was loaded meanwhile, or a load begins if somebody waits, or a pin
       wants it back; if nobody does and it left the catalogue, it is forgotten, unless a caller has changed something
       about it.
    2. It is ready: those who wait are served as far as there are places; if it is idle, its time to stay runs.
    3. It drains: it stops once nothing runs.
    """
    if entry.renewal and entry.current:
        go_on(world, entry, entry.renewal)
    if entry.state is ModelState.UNLOADED:  # 1
        if entry.renewal:
            succeed(world, entry, entry.renewal)
        elif entry.queue:
            _want(world, entry)
        elif entry.again and entry.listed and is_pinned(entry) and not world.ending:
            _bring_back(world, entry, entry.again)
        elif not (entry.listed or is_changed(entry) or any(owner is entry for owner in world.owners.values())):
            del world.entries[entry.model.id]
        entry.again = None
    elif entry.state is ModelState.QUEUED:
        _hurry(world, entry)
    elif entry.current is None:
        return
    elif entry.state is ModelState.READY:  # 2
        _serve(world, entry, entry.current)
        if not entry.current.in_flight:
            world.room_changed = True
            _stay(world, entry, entry.current)
    elif entry.state is ModelState.DRAINING and not entry.current.in_flight:  # 3
        assert entry.current.leaves
        stop(world, entry.current, entry.current.leaves.after("nothing runs on it any more"))
    _tell_queue(world, entry)


def _tell_queue(world: World, entry: Entry) -> None:
    if entry.told_queued != len(entry.queue):
        entry.told_queued = len(entry.queue)
        world.emit(QueueChanged(entry.model.id, entry.told_queued, world.queued))
        world.tell_place(entry, None, f"{entry.model.id} is {entry.state.name}")


def preload(world: World) -> None:
    """What the configuration wants to be there from the start: it is loaded as far as there is room for it."""
    listed = [world.entries[name] for name in world.config.models if name in world.entries]
    wanted = [entry for entry in listed if entry.model.preload and entry.state is ModelState.UNLOADED]
    count = {"first": 1, "all": len(wanted), "none": 0}[world.config.scheduling.preload]
    for entry in wanted[:count]:
        waiting = Waiting(entry.model.id, entry.model.options, world.next_turn(), Priority.BATCH, world.now_s)
        waiting.gentle = True
        waiting.because = causes.PRELOAD
        _begin_waiting(world, entry, waiting)


def _want(world: World, entry: Entry) -> None:
    first = entry.queue.first()
    first.planned = True
    changed = LoadOptions(keep_alive_s=entry.keep_alive_now_s)
    options = first.options.over(changed).over(entry.model.options)
    waiting = Waiting(entry.model.id, options, world.next_turn(), first.priority, first.since_s)
    _begin_waiting(world, entry, waiting)


def _bring_back(world: World, entry: Entry, options: LoadOptions) -> None:
    waiting = Waiting(entry.model.id, options, world.next_turn(), priority(entry), world.now_s)
    waiting.because = causes.PINNED
    _begin_waiting(world, entry, waiting)


def _begin_waiting(world: World, entry: Entry, waiting: Waiting) -> None:
    world.waiting[entry.model.id] = waiting
    world.move(entry, ModelState.QUEUED, waiting.because)
    world.emit(FindPlans(entry.model, waiting.options, waiting.turn, attainable(world)))


def _hurry(world: World, entry: Entry) -> None:
    """A load is as urgent as the most urgent of those who wait for it; it keeps its place when they have left."""
    waiting = world.waiting[entry.model.id]
    first = entry.queue.first() if entry.queue else None
    waiting.gentle = waiting.gentle and not first
    if first and not waiting.wanted:  # busy models are sent away for somebody only
        world.room_changed = True
    waiting.wanted = bool(first)
    if first and first.priority < waiting.priority:
        listed = waiting in world.lobby
        world.lobby.remove(waiting)
        waiting.priority = first.priority
        if listed:
            world.lobby.add(waiting, waiting.devices)
            world.room_changed = True


def _serve(world: World, entry: Entry, incarnation: Incarnation) -> None:
    """In the order of the line, while there are places; who only wants it to be ready needs none."""
    assert incarnation.plan is not None
    settings = incarnation.plan.settings
    for request in list(entry.loads.values()):
        if differs := differences(entry.model, settings, request.options):
            if request.reload:
                continue  # its turn comes in the queue, behind those who were before it
            world.refuse(request, differently(entry, differs))
        elif request.kind is RequestKind.HOLD:
            _hold(world, entry, request)
        else:
            keep(entry, request.options)
            incarnation.last_used_s = world.now_s
            world.end(request)
            world.emit(Complete(request.id))
    while entry.queue:
        request = entry.queue.first()
        differs = differences(entry.model, settings, request.options)
        if differs and request.reload and not request.planned:
            request.planned = True
            replace_process(world, entry, request, causes.reload(differs))
            return
        if differs:
            world.refuse(request, differently(entry, differs))
        elif has_place(entry):
            _grant(world, entry, incarnation, request)
        else:
            break


def _hold(world: World, entry: Entry, request: Request) -> None:
    """From here on the caller keeps it, as long as the caller lives."""
    keep(entry, request.options)
    world.leave_queue(request)
    entry.holds[request.id] = request
    request.state = RequestState.STREAMING
    request.held_from_s = world.now_s
    world.room_changed = True
    world.emit(CancelDeadline(request.id))
    world.emit(Report(request.id, entry.state, None, "it is kept warm"))


def _grant(world: World, entry: Entry, incarnation: Incarnation, request: Request) -> None:
    """Takes the place in the same step."""
    world.leave_queue(request)
    request.state = RequestState.DISPATCHED
    request.incarnation = incarnation.id
    incarnation.in_flight.add(request.id)
    incarnation.last_used_s = world.now_s
    incarnation.used = True
    keep(entry, request.options)
    world.share_threads(incarnation)
    timeline = _timeline(world.now_s, incarnation, request)
    world.emit(Grant(request.id, incarnation.id, world.threads[incarnation.id], timeline))


def _timeline(now_s: float, incarnation: Incarnation, request: Request) -> dict[str, float]:
    """How long a request waited, by what for: room, a process, the weights, its place."""
    assert incarnation.ready_s is not None
    moments = (
        ("drained_s", incarnation.room_from_s, incarnation.begun_s),
        ("spawned_s", incarnation.begun_s, incarnation.load_from_s),
        ("loaded_s", incarnation.load_from_s, incarnation.ready_s),
    )
    phases = {name: end_s - max(begin_s, request.since_s) for name, begin_s, end_s in moments}
    phases = {name: seconds for name, seconds in phases.items() if seconds > 0}
    queued_s = now_s - request.since_s - sum(phases.values())
    return ({"queued_s": queued_s} if queued_s > 0 else {}) | phases


def _stay(world: World, entry: Entry, incarnation: Incarnation) -> None:
    """A model that is not listed stays as long as every other: what is loaded needs no file."""
    until_s = incarnation.stays_until_s
    if is_kept(entry) or entry.renewal or until_s == math.inf:
        return
    if until_s > world.now_s:
        world.emit(SetTimer(KeepAliveEnded(until_s, incarnation.id)))
    elif not standings(world).is_resident(incarnation.id):
        drain(world, entry, causes.idle(incarnation.keep_alive_s))


def plans_found(world: World, event: PlansFound) -> None:
    """The ways to place a load are known: it joins those who wait for room."""
    waiting, entry = world.waiting.get(event.model), world.entries.get(event.model)
    if entry and entry.renewal and entry.renewal.turn == event.turn:
        planned(world, entry, entry.renewal, event.plans, event.nearest)
    elif waiting and waiting.turn == event.turn:
        taken = world.entries[event.model].taken
        waiting.plans = tuple(raised(plan, taken.get(plan.settings, {})) for plan in event.plans)
        waiting.nearest = tuple(event.nearest)
        world.lobby.add(waiting, waiting.devices)
        world.room_changed = True


def plans_refused(world: World, event: PlansRefused) -> None:
    """There is no way to place a load."""
    waiting, entry = world.waiting.get(event.model), world.entries.get(event.model)
    if entry and entry.renewal and entry.renewal.turn == event.turn:
        give_up_renewal(world, entry, event.refusal)
    elif waiting and waiting.turn == event.turn:
        give_up(world, world.entries[event.model], event.refusal)


def together_found(world: World, event: TogetherFound) -> None:
    """Tells of models that drive each other out, with settings under which they need not."""
    found = world.ping_pongs.pop(event.models, None)
    if found is None:
        return
    names = " and ".join(event.models)
    message = f"{names} drive each other out: {found.loads_per_minute:.1f} loads per minute"
    plans = zip(event.models, event.plans, strict=False)
    ways = [f"{model}: {', '.join(plan.degraded) or 'as it is'}" for model, plan in plans]
    message += f"; both would fit with {'; '.join(ways)}" if ways else "; they do not fit together, however small"
    numbers = {"loads_per_minute": found.loads_per_minute, "useful_share": found.useful_share}
    world.decide(Decision(DecisionKind.THRASH, event.models[0], message, for_whom=event.models[1], numbers=numbers))
    world.emit(Thrashing(event.models, found.loads_per_minute, found.useful_share, tuple(event.plans)))


def _keep_spare(world: World) -> None:
    """Has an idle process ready for the next load, unless it would keep a load out, or slow one down."""
    if world.spare or not world.spare_wanted or world.ending or world.waiting or world.announcing:
        return
    if world.now_s < world.last_begun_s + SPARE_PATIENCE_S and standings(world).awaited:
        return
    if world.ledger.steady_free_bytes(HOST) >= world.spare_bytes and not world.is_closed(HOST):
        world.spare = world.incarnate()
        world.promise(world.spare, {HOST: world.spare_bytes}, "a spare worker starts")
        world.emit(Spawn(world.spare.id))
