"""Gives room to those who wait for it: who begins, who has to go for whom, who is told that it never will. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.catalog import DEFAULT_KEEP_ALIVE_S, LoadOptions
from ..domain.causes import Awaited, Because, Beneficiary
from ..domain.config import BOUND_FACTORS
from ..domain.decisions import Decision as Record
from ..domain.decisions import DecisionKind, Rejected
from ..domain.errors import Refusal, in_words
from ..domain.quote import Plan
from . import announcements
from .actions import Evicted, FindTogether, Reserve, SetTimer, Spawn
from .callers import drain
from .events import AnnouncementExpired, LoadLimitReached, PatienceEnded
from .exclusion import make_way
from .holders import attainable, holders, standings
from .lives import load, stop
from .lobby import Waiting
from .policy import Candidate, freed, victims
from .pressure import OTHERS, WINDOW_S
from .room import MOST_NAMED, Begin, Decision, Evict, Holders, Wait, Wish, find_room, lacking, with_nearest
from .standings import Standing
from .state import Announcement, Entry, Incarnation, ModelState, is_kept
from .world import World

MOST_SPARED = 8
"""A record of an eviction names so many of those that were spared."""
SPARED_FOR = {
    Standing.IDLE: "",
    Standing.IDLE_RESIDENT: "",
    Standing.BUSY: "is busy",
    Standing.BUSY_RESIDENT: "is busy",
    Standing.COMING: "is being loaded",
    Standing.DRAINING: "is on its way out",
    Standing.ENDING: "is on its way out",
    Standing.KEPT: "",
    Standing.COMING_KEPT: "",
}
"""Why somebody else had to go, in the order in which these would have gone; empty: that is another thing for each."""


def find_rooms(world: World) -> None:
    """Goes through all that wait for room, in their order; who waits for a device lets nobody overtake it there."""
    taken: set[str] = set()
    while waits := world.lobby.first(taken):
        if isinstance(waits, Announcement):
            wish = Wish(waits.name, [{waits.device: waits.size_bytes}], is_load=False)
        else:
            wish = Wish(waits.model, [plan.quote.needs for plan in waits.plans])
        decision = find_now(world, wish)
        if isinstance(waits, Waiting) and waits.gentle and not isinstance(decision, Begin):
            world.stop_waiting(world.entries[waits.model])
            world.move(world.entries[waits.model], ModelState.UNLOADED, causes.NO_ROOM)
            continue
        changed = world.room_changed
        if isinstance(decision, Evict | Wait):
            taken |= set(decision.missing_bytes) or {device for way in wish.ways for device in way}
        if isinstance(decision, Evict):
            whom = _beneficiary(waits)
            evict(world, whom, _lack(whom, decision), decision.incarnations, decision.missing_bytes)
        elif isinstance(decision, Wait) and decision.drain:
            _wait_or_drain(world, waits, wish, decision)
        if isinstance(waits, Announcement):
            _answer(world, waits, decision)
        else:
            _go_on(world, waits, decision)
        if isinstance(decision, Evict) or (isinstance(decision, Begin) and _may_go_again(world, waits)):
            world.room_changed = changed  # it leaves no more to the others, who are asked in this round anyway


def find_now(world: World, wish: Wish, anew: Entry | None = None) -> Decision:
    """Finds room for a wish. Three things beside that make a load wait, and never have it refused for want of memory.

    1. A device whose headroom others need takes no load: there is another way, or it waits for the device to reopen.
       Idle models go for it meanwhile, so that this comes sooner.
    2. What fits beside what others take now, but not beside the most that they took within the last minute, waits.
    3. Models that may not be there beside it have to go first.

    The process of `anew` may be ended for it, pinned or not.
    """
    held = holders(world, for_load=wish.is_load, anew=anew)
    decision = find_room(wish, world.ledger, held)
    if not wish.is_load or (isinstance(decision, Refusal) and decision.reason is Reason.MODEL_TOO_LARGE):
        return decision
    closed = {device for device in world.pressures if world.is_closed(device)}
    closed = closed and {device for way in wish.ways for device, need in way.items() if need and device in closed}
    if closed:  # 1
        ways = [place for place, way in enumerate(wish.ways) if not any(way.get(device) for device in closed)]
        detour = replace(wish, ways=[wish.ways[place] for place in ways])
        around = find_room(detour, world.ledger, held) if ways else None
        if around and not isinstance(around, Refusal):
            decision = replace(around, way=ways[around.way])
        elif isinstance(decision, Begin | Refusal):
            shut = next(place for place in range(len(wish.ways)) if place not in ways)
            words = f"waits until {OTHERS} leave enough of {', '.join(sorted(closed))}"
            return Wait({}, Awaited.OTHER_PROGRAMS, words, shut)
    if not isinstance(decision, Refusal) and (wait := _until_steady(world, wish, held, decision)):  # 2
        return wait
    if isinstance(decision, Begin):
        return make_way(world, world.entries[wish.name], decision.way) or decision  # 3
    return decision


def _until_steady(world: World, wish: Wish, held: Holders, decision: Begin | Evict | Wait) -> Wait | None:
    """A wait for others to leave what they took of late, unless the decision holds beside that as well."""
    ledger, way = world.ledger, wish.ways[decision.way]
    leaving = decision.incarnations if isinstance(decision, Evict) else ()
    leaving = decision.drain if isinstance(decision, Wait) else leaving
    if all(map(ledger.is_steady, way)) or not (leaving or isinstance(decision, Begin)):
        return None
    # Nobody is sent away for a room that would not be used yet.
    gone = (*held.own, *held.going) if leaving else held.own
    free = freed({d: ledger.steady_free_bytes(d) + ledger.held_bytes(leaving, d) for d in way}, gone)
    missing = lacking(way, free)
    words = f"{OTHERS} took more of {', '.join(missing)} within the last {WINDOW_S:g} s"
    return Wait(missing, Awaited.OTHER_PROGRAMS, words, decision.way) if missing else None


def _may_go_again(world: World, waits: Waiting | Announcement) -> bool:
    """Whether others may hope for the bytes of this one that now has its room."""
    return isinstance(waits, Waiting) and not is_kept(world.entries[waits.model])


def _beneficiary(waits: Waiting | Announcement) -> Beneficiary:
    if isinstance(waits, Announcement):
        return Beneficiary(waits.name, reservation=waits.id)
    return Beneficiary(waits.model, model=waits.model)


def _lack(whom: Beneficiary, decision: Evict) -> Because:
    lacks = ", ".join(f"{in_words(size)} on {device}" for device, size in decision.missing_bytes.items())
    return decision.because or whom.because(f"{whom.name} lacks {lacks}")


def _wait_or_drain(world: World, waits: Waiting | Announcement, wish: Wish, decision: Wait) -> None:
    """Busy models are sent away for what has waited long enough, once each of them was there for its least time.

    So that a load begins within the starvation bound, whatever the others do, the time to drain is taken off the wait,
    and the time after which a process is killed that does not end.
    """
    scheduling = world.config.scheduling
    bound_s = scheduling.starvation_bound_s * BOUND_FACTORS[waits.priority]
    end_s = min(scheduling.stop_s, bound_s / 2)
    drain_s = min(scheduling.drain_s, bound_s - end_s)
    least_s = [(world.processes[one].ready_s or 0.0) + scheduling.minimum_residency_s for one in decision.drain]
    if isinstance(waits, Waiting) and not world.entries[waits.model].queue:
        return  # nobody is sent away for nobody
    when_s = max(waits.since_s + bound_s - end_s - drain_s, *least_s)
    if when_s > world.now_s:
        world.emit(SetTimer(PatienceEnded(when_s, waits.turn)))
        return
    waited_s = world.now_s - waits.since_s
    whom = _beneficiary(waits)
    because = whom.because(f"{wish.name} has waited for {waited_s:.1f} s")
    if decision.because:
        because = replace(because, cause=decision.because.cause)
    evict(world, whom, because, decision.drain, decision.missing_bytes, drain_s)


def _answer(world: World, announcement: Announcement, decision: Decision) -> None:
    """Writes the row of a reservation that has its room, or tells its caller that it never will."""
    if isinstance(decision, Begin):
        announcements.leave_line(world, announcement.request)
        world.announce(announcement)
        world.emit(SetTimer(AnnouncementExpired(announcement.until_s, announcement.id)))
        world.emit(Reserve(announcement.request, announcement.id))
    elif isinstance(decision, Refusal):
        announcements.refuse(world, announcement, decision)


def _go_on(world: World, waiting: Waiting, decision: Decision) -> None:
    entry = world.entries[waiting.model]
    if isinstance(decision, Begin):
        _begin(world, entry, waiting, waiting.plans[decision.way])
    elif isinstance(decision, Refusal):
        give_up(world, entry, with_nearest(decision, waiting.nearest))
    elif isinstance(decision, Evict):
        names = ", ".join(world.name_of(one) for one in decision.incarnations[:MOST_NAMED])
        _tell(world, waiting, Awaited.MEMORY, f"waits until the memory of {names} is back")
    elif isinstance(decision, Wait):
        _tell(world, waiting, decision.awaited, decision.message)


def _tell(world: World, waiting: Waiting, awaited: Awaited, message: str) -> None:
    """Those who wait for a load hear what it waits for, once."""
    if waiting.told != message:
        waiting.awaited, waiting.told = awaited, message
        world.report(world.entries[waiting.model], None, message)


def give_up(world: World, entry: Entry, why: Refusal) -> None:
    """A load that waits will not come: everybody who waits for it hears why."""
    world.stop_waiting(entry)
    world.record_refusal(entry.model.id, why)
    world.refuse_queue(entry, why)
    world.move(entry, ModelState.UNLOADED, causes.refused(why.message))


def relieve(world: World) -> None:
    """Gives others back what they need of a headroom: idle models go, all of them if that is still too little."""
    while world.short:
        device, short_bytes = world.short.popitem()
        idle = holders(world, for_load=False).idle
        picked = victims(idle, {device: short_bytes})
        if picked is None:
            picked = tuple(candidate.incarnation for crowd in idle for candidate in crowd.in_order(device))
        whom = Beneficiary(OTHERS)
        because = whom.because(f"{device} lacks {in_words(short_bytes)} of its headroom")
        evict(world, whom, because, picked, {device: short_bytes})


def evict(
    world: World,
    whom: Beneficiary,
    because: Because,
    incarnations: Iterable[int],
    missing_bytes: Mapping[str, int],
    drain_s: float | None = None,
) -> None:
    """Has these go, each with a record of why it was this one and none of the others.

    What runs may take `drain_s` to end, or as long as configured.
    """
    chosen = tuple(incarnations)
    if not chosen:
        return
    if waiting := world.waiting.get(whom.model):
        waiting.room_from_s = min(waiting.room_from_s, world.now_s)
    lacking = {f"lacking_on_{device}_bytes": float(size) for device, size in missing_bytes.items()}
    spared = _spared(world, whom.name, chosen, missing_bytes)
    for victim in chosen:
        owner = world.owners.get(victim)
        if owner is None:
            spare, world.spare = world.processes[victim], None
            stop(world, spare)
            continue
        busy = bool(world.processes[victim].in_flight or owner.queue or owner.renewal)
        chosen_for = "was there the longest among the busy" if busy else "was least recently used among the idle"
        chosen_for = "is sacrificial: it goes before all others" if owner.model.sacrificial else chosen_for
        reason = replace(because, words=f"{because.words}; {owner.model.id} {chosen_for}")
        world.emit(Evicted(owner.model.id, victim, whom, reason))
        held = {f"held_on_{device}_bytes": float(size) for device, size in world.ledger.rows[victim].items()}
        idle_s = {} if busy else {"idle_s": world.now_s - world.processes[victim].last_used_s}
        numbers = {**lacking, **held, **idle_s}
        world.decide(Record.because(reason, DecisionKind.EVICT, owner.model.id, victim, whom.name, numbers, spared))
        world.loads.evicted(world.now_s, owner.model.id, whom.name)
        drain(world, owner, causes.evicted(because.cause, whom), within_s=drain_s)
    _look_for_ping_pong(world)


def _look_for_ping_pong(world: World) -> None:
    if found := world.loads.ping_pong(world.now_s):
        models = [world.entries[model].model for model in found.models if model in world.entries]
        world.ping_pongs[found.models] = found
        world.emit(FindTogether(models, attainable(world)))


def _spared(world: World, name: str, chosen: tuple[int, ...], missing_bytes: Mapping[str, int]) -> tuple[Rejected, ...]:
    """The next that would have gone, and why they did not."""
    crowds, owners = standings(world).crowds, world.owners
    places = ((one, why) for standing, why in SPARED_FOR.items() for one in crowds[standing])
    others = ((one, why) for one, why in places if one.incarnation in owners and one.incarnation not in chosen)
    spared = [
        Rejected(
            f"evict {world.name_of(one.incarnation)}",
            why or world.bond_of(one.incarnation) or _spared_idle(world, name, one, chosen, missing_bytes),
        )
        for one, why in islice(others, MOST_SPARED)
    ]
    left = len(owners) - sum(i in owners for i in chosen) - len(spared)
    if left:
        spared.append(Rejected(f"evict one of {left} more", "they would have gone later still"))
    return tuple(spared)


def _spared_idle(
    world: World, name: str, one: Candidate, chosen: tuple[int, ...], missing_bytes: Mapping[str, int]
) -> str:
    wanted, own = world.entries.get(name), world.owners[one.incarnation].model
    if missing_bytes and not any(one.held_bytes.get(device) for device in missing_bytes):
        return f"holds nothing on {', '.join(missing_bytes)}"
    models = [world.owners[i] for i in chosen if i in world.owners]
    group = wanted.model.group if wanted else ""
    if not missing_bytes and group and all(model.model.group == group for model in models):
        return f"is not of the group {group!r}"
    if models and not own.sacrificial and all(model.model.sacrificial for model in models):
        return "is not sacrificial"
    last = max(world.standings.places[i].candidate.rank for i in chosen)
    return "was used later" if one.rank > last else "was not needed: what goes suffices without it"


def _begin(world: World, entry: Entry, waiting: Waiting, plan: Plan) -> None:
    """Begins a load that has its room."""
    world.stop_waiting(entry)
    incarnation = entry.current = take_process(world, entry, waiting, plan)
    if incarnation.pid:
        load(world, entry, incarnation)
    else:
        world.move(entry, ModelState.STARTING, causes.HAS_ROOM)


def take_process(world: World, entry: Entry, waiting: Waiting, plan: Plan) -> Incarnation:
    """Promises the bytes, then starts a process, or takes the spare."""
    world.last_begun_s = world.now_s
    incarnation, world.spare = world.spare, None
    fresh = incarnation is None
    if incarnation is None:
        incarnation = world.incarnate()
    incarnation.plan = plan
    incarnation.begun_s = world.now_s
    incarnation.room_from_s = min(waiting.room_from_s, world.now_s)
    keep_alive_s = waiting.options.keep_alive_s
    incarnation.keep_alive_s = DEFAULT_KEEP_ALIVE_S if keep_alive_s is None else keep_alive_s
    world.owners[incarnation.id] = entry
    world.promise(incarnation, plan.quote.needs, f"{entry.model.id} is to be loaded")
    _record(world, entry.model.id, waiting, plan, incarnation.id)
    world.emit(SetTimer(LoadLimitReached(world.now_s + world.config.server.load_deadline_s, incarnation.id)))
    if fresh:
        world.emit(Spawn(incarnation.id))
    return incarnation


def _record(world: World, model: str, waiting: Waiting, plan: Plan, incarnation: int) -> None:
    numbers = {f"{device}_bytes": float(need) for device, need in plan.quote.needs.items()}
    numbers["waited_s"] = world.now_s - waiting.since_s
    places = " and ".join(f"{in_words(need)} on {device}" for device, need in plan.quote.needs.items())
    rejected = tuple(
        Rejected(f"on {', '.join(other.settings.devices)}", "there was less room, or this way was as good")
        for other in waiting.plans
        if other is not plan
    )
    wanted = waiting.because.words
    beware = "".join(f"; {caution}" for caution in plan.cautions)
    words = f"{wanted} and has its room: {places} ({plan.quote.source.value}){beware}"
    because = replace(waiting.because, words=words)
    world.decide(Record.because(because, DecisionKind.LOAD, model, incarnation, "", numbers, rejected))
    if plan.degraded:
        world.decide(Record(DecisionKind.DEGRADE, model, "; ".join(plan.degraded), incarnation, "", numbers))


def keep(entry: Entry, options: LoadOptions) -> None:
    """How long a caller wants a model to stay."""
    if entry.current and options.keep_alive_s is not None:
        entry.current.keep_alive_s = options.keep_alive_s
