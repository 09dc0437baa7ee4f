"""Draws the conclusions of an event: who is served, what is loaded, who has to go for it. Pure.

Runs at the end of every event, over the models that the event has touched, then over what waits for room.
"""

from collections.abc import Iterable
from dataclasses import replace

from vramd_proto.v1.reasons import Reason

from . import announcements
from .actions import CancelDeadline, Complete, Evicted, Exit, FindPlans, Grant, Reserve, SetTimer, Spawn
from .callers import drain
from .catalog import DEFAULT_KEEP_ALIVE_S, LoadOptions
from .errors import Refusal, in_words, refusal
from .events import AnnouncementExpired, KeepAliveEnded, LoadLimitReached, PlansFound, PlansRefused
from .holders import attainable, holders
from .lives import HOST, load, stop
from .policy import victims
from .pressure import OTHERS, WINDOW_S
from .quote import Plan
from .reconcile import raised
from .room import Begin, Decision, Evict, Wait, Wish, find_room, with_nearest
from .state import (
    COMING,
    Announcement,
    Entry,
    Incarnation,
    ModelState,
    Request,
    RequestState,
    has_place,
    is_pinned,
)
from .world import Waiting, World

SPARE_PATIENCE_S = 2.0
"""A process that starts takes a core for some 0.3 s: the next spare waits for a load and its first answer, so long."""


def settle(world: World) -> None:
    """Thinks until nothing is left to think about."""
    _relieve(world)
    while world.touched or world.room_changed:
        while world.touched:
            model = next(iter(world.touched))
            del world.touched[model]
            _settle(world, world.entries[model])
        if world.room_changed:
            world.room_changed = False
            _find_rooms(world)
    _keep_spare(world)
    if world.ending and not world.processes:
        world.emit(Exit())


def _settle(world: World, entry: Entry) -> None:
    """The next step of one model.

    1. It has no process: a load begins if somebody waits; if nobody does and it left the catalogue, it is forgotten.
    2. It is ready: those who wait are served as far as there are places; if it is idle, its time to stay runs.
    3. It drains: it stops once nothing runs.
    """
    if entry.state is ModelState.UNLOADED:  # 1
        if entry.queue:
            _want(world, entry)
        elif not entry.listed and not any(owner is entry for owner in world.owners.values()):
            del world.entries[entry.model.id]
    elif entry.current is None:
        return
    elif entry.state is ModelState.READY:  # 2
        _serve(world, entry, entry.current)
        if not entry.current.in_flight:
            _stay(world, entry, entry.current)
    elif entry.state is ModelState.DRAINING and not entry.current.in_flight:  # 3
        stop(world, entry.current, "nothing runs on it any more")


def _want(world: World, entry: Entry) -> None:
    first = next(iter(entry.queue.values()))
    changed = LoadOptions(keep_alive_s=entry.keep_alive_now_s)
    options = first.options.over(changed).over(entry.model.options)
    world.waiting[entry.model.id] = Waiting(entry.model.id, options, world.next_turn())
    world.move(entry, ModelState.QUEUED, "it is asked for")
    world.emit(FindPlans(entry.model, options, world.waiting[entry.model.id].turn, attainable(world)))


def _serve(world: World, entry: Entry, incarnation: Incarnation) -> None:
    """First come, first served, while there are places; who only wants it to be ready needs none."""
    assert incarnation.plan is not None
    settings = incarnation.plan.settings
    for request in list(entry.loads.values()):
        if differences := settings.differences(request.options):
            world.refuse(request, _differently(entry, differences))
        else:
            _keep(incarnation, request.options)
            world.end(request)
            world.emit(Complete(request.id))
    while entry.queue:
        request = next(iter(entry.queue.values()))
        if differences := settings.differences(request.options):
            world.refuse(request, _differently(entry, differences))
        elif has_place(entry):
            _grant(world, incarnation, request)
        else:
            break


def _grant(world: World, incarnation: Incarnation, request: Request) -> None:
    """Takes the place in the same step."""
    world.leave_queue(request)
    request.state = RequestState.DISPATCHED
    request.incarnation = incarnation.id
    incarnation.in_flight.add(request.id)
    incarnation.last_used_s = world.now_s
    incarnation.used = True
    _keep(incarnation, request.options)
    world.share_threads()
    world.emit(Grant(request.id, incarnation.id, world.threads[incarnation.id]))


def _keep(incarnation: Incarnation, options: LoadOptions) -> None:
    if options.keep_alive_s is not None:
        incarnation.keep_alive_s = options.keep_alive_s


def _stay(world: World, entry: Entry, incarnation: Incarnation) -> None:
    until_s = incarnation.last_used_s + incarnation.keep_alive_s
    if not entry.listed:
        drain(world, entry, "the catalogue does not list it any more")
    elif is_pinned(entry) or incarnation.keep_alive_s < 0:
        return
    elif until_s <= world.now_s:
        drain(world, entry, f"it was idle for {incarnation.keep_alive_s:g} s (keep-alive)")
    else:
        world.emit(SetTimer(KeepAliveEnded(until_s, incarnation.id)))


def _differently(entry: Entry, differences: str) -> Refusal:
    model = entry.model.id
    text = f"{model} is loaded with other settings: {differences}; unload it first, or leave those settings out"
    return refusal(Reason.MODEL_LOADED_DIFFERENTLY, text, model=model, differences=differences)


def plans_found(world: World, event: PlansFound) -> None:
    """The ways to place a load are known: it joins those who wait for room."""
    waiting = world.waiting.get(event.model)
    if waiting and waiting.turn == event.turn:
        taken = world.entries[event.model].taken
        waiting.plans = tuple(raised(plan, taken.get(plan.settings, {})) for plan in event.plans)
        waiting.nearest = tuple(event.nearest)
        world.room_changed = True


def plans_refused(world: World, event: PlansRefused) -> None:
    """There is no way to place a load."""
    waiting = world.waiting.get(event.model)
    if waiting and waiting.turn == event.turn:
        _give_up(world, world.entries[event.model], event.refusal)


def _give_up(world: World, entry: Entry, why: Refusal) -> None:
    del world.waiting[entry.model.id]
    world.refuse_queue(entry, why)
    world.move(entry, ModelState.UNLOADED, why.message)


def _find_rooms(world: World) -> None:
    """Goes through all that wait for room, in their order; who waits for a device lets nobody overtake it there."""
    taken: set[str] = set()
    for waits in world.in_turn():
        if isinstance(waits, Announcement):
            wish = Wish(waits.name, [{waits.device: waits.size_bytes}], is_load=False)
        else:
            wish = Wish(waits.model, [plan.quote.needs for plan in waits.plans])
        if not wish.ways or taken & {device for way in wish.ways for device in way}:
            continue
        decision = find_now(world, wish)
        if isinstance(decision, Evict | Wait):
            taken |= set(decision.missing_bytes)
        if isinstance(decision, Evict):
            lacks = ", ".join(f"{in_words(size)} on {device}" for device, size in decision.missing_bytes.items())
            _evict(world, wish.name, f"{wish.name} lacks {lacks}", decision.incarnations)
        elif isinstance(waits, Announcement):
            _answer(world, waits, decision)
        else:
            _go_on(world, waits, decision)


def find_now(world: World, wish: Wish) -> Decision:
    """Finds room for a wish. Two things beside that make a load wait, and never have it refused.

    1. A device whose headroom others need takes no load: there is another way, or it waits for the device to reopen.
       Idle models go for it meanwhile, so that this comes sooner.
    2. What fits beside what others take now, but not beside the most that they took within the last minute, waits.
    """
    held = holders(world, with_spare=wish.is_load)
    decision = find_room(wish, world.ledger, held)
    if not wish.is_load or (isinstance(decision, Refusal) and decision.reason is Reason.MODEL_TOO_LARGE):
        return decision
    closed = {device for way in wish.ways for device, need in way.items() if need and world.is_closed(device)}
    ways = [place for place, way in enumerate(wish.ways) if not any(way.get(device) for device in closed)]
    if closed:  # 1
        detour = replace(wish, ways=[wish.ways[place] for place in ways])
        around = find_room(detour, world.ledger, held) if ways else None
        if around and not isinstance(around, Refusal):
            decision = replace(around, way=ways[around.way])
        elif isinstance(decision, Begin | Refusal):
            shut = next(place for place in range(len(wish.ways)) if place not in ways)
            return Wait({}, f"waits until {OTHERS} leave enough of {', '.join(sorted(closed))}", shut)
    if isinstance(decision, Begin):
        way = wish.ways[decision.way]
        free = {d: world.ledger.steady_free_bytes(d) + world.ledger.held_bytes(held.own, d) for d in way}
        if missing := {device: need - free[device] for device, need in way.items() if need > free[device]}:  # 2
            words = f"{OTHERS} took more of {', '.join(missing)} within the last {WINDOW_S:g} s"
            return Wait(missing, words, decision.way)
    return decision


def _answer(world: World, announcement: Announcement, decision: Begin | Wait | Refusal) -> None:
    """Writes the row of a reservation that has its room, or tells its caller that it never will."""
    if isinstance(decision, Begin):
        del world.announcing[announcement.request]
        world.emit(CancelDeadline(announcement.request))
        world.announce(announcement)
        world.emit(SetTimer(AnnouncementExpired(world.now_s + announcement.ttl_s, announcement.id)))
        world.emit(Reserve(announcement.request, announcement.id))
    elif isinstance(decision, Refusal):
        announcements.refuse(world, announcement, decision)


def _go_on(world: World, waiting: Waiting, decision: Begin | Wait | Refusal) -> None:
    entry = world.entries[waiting.model]
    if isinstance(decision, Begin):
        _begin(world, entry, waiting.plans[decision.way], waiting.options)
    elif isinstance(decision, Refusal):
        _give_up(world, entry, with_nearest(decision, waiting.nearest))
    elif waiting.told != decision.message:
        waiting.told = decision.message
        world.report(entry, None, decision.message)


def _relieve(world: World) -> None:
    """Gives others back what they need of a headroom: idle models go, all of them if that is still too little."""
    while world.short:
        device, short_bytes = world.short.popitem()
        idle = holders(world, with_spare=False).idle
        picked = victims(idle, {device: short_bytes})
        if picked is None:
            picked = tuple(candidate.incarnation for candidate in idle if candidate.held_bytes.get(device))
        _evict(world, OTHERS, f"{device} lacks {in_words(short_bytes)} of its headroom", picked)


def _evict(world: World, name: str, why: str, incarnations: Iterable[int]) -> None:
    for victim in incarnations:
        owner = world.owners.get(victim)
        if owner is None:
            spare, world.spare = world.processes[victim], None
            stop(world, spare, f"a spare stands in the way of {name}")
            continue
        reason = f"{why}; {owner.model.id} was least recently used among the idle"
        world.emit(Evicted(owner.model.id, victim, name, reason))
        drain(world, owner, f"evicted for {name}")


def _begin(world: World, entry: Entry, plan: Plan, options: LoadOptions) -> None:
    """Promises the bytes, then starts a process, or takes the spare."""
    del world.waiting[entry.model.id]
    world.spare_from_s = world.now_s + SPARE_PATIENCE_S
    incarnation, world.spare = world.spare, None
    fresh = incarnation is None
    if incarnation is None:
        incarnation = world.incarnate()
    incarnation.plan = plan
    incarnation.keep_alive_s = DEFAULT_KEEP_ALIVE_S
    _keep(incarnation, options)
    entry.current = incarnation
    world.owners[incarnation.id] = entry
    world.promise(incarnation, plan.quote.needs, f"{entry.model.id} is to be loaded")
    world.emit(SetTimer(LoadLimitReached(world.now_s + world.config.server.load_deadline_s, incarnation.id)))
    if incarnation.pid:
        load(world, entry, incarnation)
        return
    world.move(entry, ModelState.STARTING, "there is room")
    if fresh:
        world.emit(Spawn(incarnation.id))


def _keep_spare(world: World) -> None:
    """Has an idle process ready for the next load, unless it would keep a load out, or slow one down."""
    if world.spare or not world.spare_wanted or world.ending or world.waiting or world.announcing:
        return
    if world.now_s < world.spare_from_s and any(_is_coming(world, process) for process in world.processes.values()):
        return
    if world.ledger.steady_free_bytes(HOST) >= world.spare_bytes and not world.is_closed(HOST):
        world.spare = world.incarnate()
        world.promise(world.spare, {HOST: world.spare_bytes}, "a spare worker starts")
        world.emit(Spawn(world.spare.id))


def _is_coming(world: World, incarnation: Incarnation) -> bool:
    """Whether somebody waits for the first word of this process."""
    entry = world.owners.get(incarnation.id)
    return bool(entry and entry.state in COMING) or (bool(incarnation.in_flight) and not incarnation.answered)
