"""Gives room to those who wait for it: who begins, who has to go for whom, who is told that it never will. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

from vramd_common.load_settings import DEFAULT_KEEP_ALIVE_S, LoadOptions
from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.causes import Awaited, Because, Beneficiary
from ..domain.config import BOUND_FACTORS
from ..domain.decisions import Decision as Record
from ..domain.decisions import DecisionKind, Rejected
from ..domain.errors import Refusal, in_words
from ..domain.quote import Plan
from . import reservations
from .actions import Evicted, FindTogether, GrantReservation, SetTimer, Spawn
from .callers import drain
from .events import LoadLimitReached, PatienceEnded, ReservationExpired
from .exclusion import enforce_exclusion
from .holders import available_if_evicted, holders, standings
from .lives import load, stop
from .lobby import PendingLoad
from .policy import Candidate, freed, victims
from .pressure import OTHERS, WINDOW_S
from .room import MOST_NAMED, Begin, Decision, Evict, Holders, Wait, Wish, find_room, lacking, with_alternatives
from .standings import Standing
from .state import ModelRuntime, ModelState, Reservation, WorkerProcess, is_kept
from .world import CoreState

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


def find_rooms(state: CoreState) -> bool:
    """Decides for all that wait for room, in order; a load that waits for a device is not overtaken there.

    Returns whether the others have to be asked once more: what left the line has taken bytes for good, or given up.
    """
    taken: set[str] = set()
    again = False
    while waits := state.admission_queue.first(taken):
        if isinstance(waits, Reservation):
            wish = Wish(waits.name, [{waits.device: waits.size_bytes}], is_load=False)
        else:
            wish = Wish(waits.model, [plan.quote.needs for plan in waits.plans])
        decision = decide_admission(state, wish)
        if isinstance(waits, PendingLoad) and waits.opportunistic and not isinstance(decision, Begin):
            state.stop_waiting(state.models[waits.model])
            state.move(state.models[waits.model], ModelState.UNLOADED, causes.NO_ROOM)
            again = True
            continue
        if isinstance(decision, Evict | Wait):
            taken |= set(decision.missing_bytes) or {device for way in wish.ways for device in way}
        if isinstance(decision, Evict):
            whom = _beneficiary(waits)
            evict(state, whom, _lack(whom, decision), decision.worker_ids, decision.missing_bytes)
        elif isinstance(decision, Wait) and decision.drain:
            again = _drain_or_wait(state, waits, wish, decision) or again
        if isinstance(waits, Reservation):
            _answer(state, waits, decision)
        else:
            _go_on(state, waits, decision)
        stays = isinstance(waits, Reservation) or is_kept(state.models[waits.model])
        again = again or isinstance(decision, Refusal) or (isinstance(decision, Begin) and stays)
    return again


def decide_admission(state: CoreState, wish: Wish, anew: ModelRuntime | None = None) -> Decision:
    """Finds room for a wish. Three things beside that make a load wait, and never have it refused for want of memory.

    1. A device whose headroom others need takes no load: there is another way, or it waits for the device to reopen.
       Idle models go for it meanwhile, so that this comes sooner.
    2. What fits beside what others take now, but not beside the most that they took within the last minute, waits.
    3. Models that may not be there beside it have to go first.

    The process of `anew` may be ended for it, pinned or not.
    """
    held = holders(state, for_load=wish.is_load, anew=anew)
    decision = find_room(wish, state.ledger, held)
    if not wish.is_load or (isinstance(decision, Refusal) and decision.reason is Reason.MODEL_TOO_LARGE):
        return decision
    closed = {device for device in state.pressures if state.is_closed(device)}
    closed = closed and {device for way in wish.ways for device, need in way.items() if need and device in closed}
    if closed:  # 1
        ways = [place for place, way in enumerate(wish.ways) if not any(way.get(device) for device in closed)]
        detour = replace(wish, ways=[wish.ways[place] for place in ways])
        around = find_room(detour, state.ledger, held) if ways else None
        if around and not isinstance(around, Refusal):
            decision = replace(around, way=ways[around.way])
        elif isinstance(decision, Begin | Refusal):
            shut = next(place for place in range(len(wish.ways)) if place not in ways)
            words = f"waits until {OTHERS} leave enough of {', '.join(sorted(closed))}"
            return Wait({}, Awaited.OTHER_PROGRAMS, words, shut)
    if not isinstance(decision, Refusal) and (wait := _until_steady(state, wish, held, decision)):  # 2
        return wait
    if isinstance(decision, Begin):
        return enforce_exclusion(state, state.models[wish.name], decision.way) or decision  # 3
    return decision


def _until_steady(state: CoreState, wish: Wish, held: Holders, decision: Begin | Evict | Wait) -> Wait | None:
    """A wait for others to leave what they took of late, unless the decision holds beside that as well."""
    ledger, way = state.ledger, wish.ways[decision.way]
    leaving = decision.worker_ids if isinstance(decision, Evict) else ()
    leaving = decision.drain if isinstance(decision, Wait) else leaving
    if all(map(ledger.is_steady, way)) or not (leaving or isinstance(decision, Begin)):
        return None
    # Nobody is sent away for a room that would not be used yet.
    gone = (*held.own, *held.going) if leaving else held.own
    free = freed({d: ledger.steady_free_bytes(d) + ledger.held_bytes(leaving, d) for d in way}, gone)
    missing = lacking(way, free)
    words = f"{OTHERS} took more of {', '.join(missing)} within the last {WINDOW_S:g} s"
    return Wait(missing, Awaited.OTHER_PROGRAMS, words, decision.way) if missing else None


def _beneficiary(waits: PendingLoad | Reservation) -> Beneficiary:
    if isinstance(waits, Reservation):
        return Beneficiary(waits.name, reservation=waits.id)
    return Beneficiary(waits.model, model=waits.model)


def _lack(whom: Beneficiary, decision: Evict) -> Because:
    lacks = ", ".join(f"{in_words(size)} on {device}" for device, size in decision.missing_bytes.items())
    return decision.because or whom.because(f"{whom.name} lacks {lacks}")


def _drain_or_wait(state: CoreState, waits: PendingLoad | Reservation, wish: Wish, decision: Wait) -> bool:
    """Drains busy models for what has waited long enough, once each has had its least time; else sets a timer for that.

    So that a load begins within the starvation bound, whatever the others do, the time to drain is taken off the wait,
    and the time after which a process is killed that does not end.
    """
    scheduling = state.config.scheduling
    bound_s = scheduling.starvation_bound_s * BOUND_FACTORS[waits.priority]
    end_s = min(scheduling.stop_s, bound_s / 2)
    drain_s = min(scheduling.drain_s, bound_s - end_s)
    least_s = [(state.workers[one].ready_s or 0.0) + scheduling.minimum_residency_s for one in decision.drain]
    if isinstance(waits, PendingLoad) and not state.models[waits.model].queue:
        return False  # the callers have left: no busy model is drained for a load alone
    when_s = max(waits.since_s + bound_s - end_s - drain_s, *least_s)
    if when_s > state.now_s:
        if when_s != waits.patience_until_s:
            waits.patience_until_s = when_s
            state.emit(SetTimer(PatienceEnded(when_s, waits.turn)))
        return False
    waited_s = state.now_s - waits.since_s
    whom = _beneficiary(waits)
    because = whom.because(f"{wish.name} has waited for {waited_s:.1f} s")
    if decision.because:
        because = replace(because, cause=decision.because.cause)
    evict(state, whom, because, decision.drain, decision.missing_bytes, drain_s)
    return True


def _answer(state: CoreState, reservation: Reservation, decision: Decision) -> None:
    """Writes the row of a reservation that has its room, or tells its caller that it never will."""
    if isinstance(decision, Begin):
        reservations.leave_line(state, reservation.request)
        state.reserve(reservation)
        state.emit(SetTimer(ReservationExpired(reservation.until_s, reservation.id)))
        state.emit(GrantReservation(reservation.request, reservation.id))
    elif isinstance(decision, Refusal):
        reservations.refuse(state, reservation, decision)


def _go_on(state: CoreState, pending: PendingLoad, decision: Decision) -> None:
    model = state.models[pending.model]
    if isinstance(decision, Begin):
        _begin(state, model, pending, pending.plans[decision.way])
    elif isinstance(decision, Refusal):
        give_up(state, model, with_alternatives(decision, pending.alternatives))
    elif isinstance(decision, Evict):
        names = ", ".join(state.name_of(one) for one in decision.worker_ids[:MOST_NAMED])
        _tell(state, pending, Awaited.MEMORY, f"waits until the memory of {names} is back")
    elif not (decision.awaited is Awaited.MEMORY and pending.awaited is Awaited.MEMORY):
        _tell(state, pending, decision.awaited, decision.message)  # else they were told whose memory it is


def _tell(state: CoreState, pending: PendingLoad, awaited: Awaited, message: str) -> None:
    """Those who wait for a load hear what it waits for, once."""
    if pending.told != message:
        pending.awaited, pending.told = awaited, message
        state.report(state.models[pending.model], None, message)


def give_up(state: CoreState, model: ModelRuntime, why: Refusal) -> None:
    """A load that waits will not come: everybody who waits for it hears why."""
    state.stop_waiting(model)
    state.record_refusal(model.id, why)
    state.refuse_queue(model, why)
    state.move(model, ModelState.UNLOADED, causes.refused(why.message))


def restore_headroom(state: CoreState) -> None:
    """Gives others back what they need of a headroom: idle models go, all of them if that is still too little."""
    while state.headroom_deficit:
        device, deficit_bytes = state.headroom_deficit.popitem()
        idle = holders(state, for_load=False).idle
        picked = victims(idle, {device: deficit_bytes})
        if picked is None:
            picked = tuple(candidate.worker_id for crowd in idle for candidate in crowd.in_order(device))
        whom = Beneficiary(OTHERS)
        because = whom.because(f"{device} lacks {in_words(deficit_bytes)} of its headroom")
        evict(state, whom, because, picked, {device: deficit_bytes})


def evict(
    state: CoreState,
    whom: Beneficiary,
    because: Because,
    worker_ids: Iterable[int],
    missing_bytes: Mapping[str, int],
    drain_s: float | None = None,
) -> None:
    """Has these go, each with a record of why it was this one and none of the others.

    What runs may take `drain_s` to end, or as long as configured.
    """
    chosen = tuple(worker_ids)
    if not chosen:
        return
    if pending := state.pending_loads.get(whom.model):
        pending.room_from_s = min(pending.room_from_s, state.now_s)
    lacking = {f"lacking_on_{device}_bytes": float(size) for device, size in missing_bytes.items()}
    spared = _spared(state, whom.name, chosen, missing_bytes)
    for victim in chosen:
        owner = state.owners.get(victim)
        if owner is None:
            spare, state.spare = state.workers[victim], None
            stop(state, spare)
            continue
        busy = bool(state.workers[victim].in_flight or owner.queue or owner.renewal)
        chosen_for = "was there the longest among the busy" if busy else "was least recently used among the idle"
        chosen_for = "is sacrificial: it goes before all others" if owner.spec.sacrificial else chosen_for
        reason = replace(because, words=f"{because.words}; {owner.id} {chosen_for}")
        state.emit(Evicted(owner.id, victim, whom, reason))
        held = {f"held_on_{device}_bytes": float(size) for device, size in state.ledger.rows[victim].items()}
        idle_s = {} if busy else {"idle_s": state.now_s - state.workers[victim].last_used_s}
        numbers = {**lacking, **held, **idle_s}
        state.decide(Record.because(reason, DecisionKind.EVICT, owner.id, victim, whom.name, numbers, spared))
        state.loads.evicted(state.now_s, owner.id, whom.name)
        drain(state, owner, causes.evicted(because.cause, whom), within_s=drain_s)
    _look_for_ping_pong(state)


def _look_for_ping_pong(state: CoreState) -> None:
    if found := state.loads.ping_pong(state.now_s):
        models = [state.models[name].spec for name in found.models if name in state.models]
        state.ping_pongs[found.models] = found
        state.emit(FindTogether(models, available_if_evicted(state)))


def _spared(
    state: CoreState, name: str, chosen: tuple[int, ...], missing_bytes: Mapping[str, int]
) -> tuple[Rejected, ...]:
    """The next that would have gone, and why they did not."""
    crowds, owners = standings(state).crowds, state.owners
    places = ((one, why) for standing, why in SPARED_FOR.items() for one in crowds[standing])
    others = ((one, why) for one, why in places if one.worker_id in owners and one.worker_id not in chosen)
    spared = [
        Rejected(
            f"evict {state.name_of(one.worker_id)}",
            why or state.why_protected(one.worker_id) or _spared_idle(state, name, one, chosen, missing_bytes),
        )
        for one, why in islice(others, MOST_SPARED)
    ]
    left = len(owners) - sum(i in owners for i in chosen) - len(spared)
    if left:
        spared.append(Rejected(f"evict one of {left} more", "they would have gone later still"))
    return tuple(spared)


def _spared_idle(
    state: CoreState, name: str, one: Candidate, chosen: tuple[int, ...], missing_bytes: Mapping[str, int]
) -> str:
    wanted, own = state.models.get(name), state.owners[one.worker_id].spec
    if missing_bytes and not any(one.held_bytes.get(device) for device in missing_bytes):
        return f"holds nothing on {', '.join(missing_bytes)}"
    models = [state.owners[i] for i in chosen if i in state.owners]
    group = wanted.spec.group if wanted else ""
    if not missing_bytes and group and all(model.spec.group == group for model in models):
        return f"is not of the group {group!r}"
    if models and not own.sacrificial and all(model.spec.sacrificial for model in models):
        return "is not sacrificial"
    last = max(state.standings.places[i].candidate.rank for i in chosen)
    return "was used later" if one.rank > last else "was not needed: what goes suffices without it"


def _begin(state: CoreState, model: ModelRuntime, pending: PendingLoad, plan: Plan) -> None:
    """Begins a load that has its room."""
    state.stop_waiting(model)
    worker = model.current = take_process(state, model, pending, plan)
    if worker.pid:
        load(state, model, worker)
    else:
        state.move(model, ModelState.STARTING, causes.HAS_ROOM)


def take_process(state: CoreState, model: ModelRuntime, pending: PendingLoad, plan: Plan) -> WorkerProcess:
    """Promises the bytes, then starts a process, or takes the spare."""
    state.last_begun_s = state.now_s
    worker, state.spare = state.spare, None
    fresh = worker is None
    if worker is None:
        worker = state.new_worker()
    worker.plan = plan
    worker.begun_s = state.now_s
    worker.room_from_s = min(pending.room_from_s, state.now_s)
    keep_alive_s = pending.options.keep_alive_s
    worker.keep_alive_s = DEFAULT_KEEP_ALIVE_S if keep_alive_s is None else keep_alive_s
    state.owners[worker.id] = model
    state.promise(worker, plan.quote.needs, f"{model.id} is to be loaded")
    _record(state, model.id, pending, plan, worker.id)
    state.emit(SetTimer(LoadLimitReached(state.now_s + state.config.server.load_deadline_s, worker.id)))
    if fresh:
        state.emit(Spawn(worker.id))
    return worker


def _record(state: CoreState, model: str, pending: PendingLoad, plan: Plan, worker_id: int) -> None:
    numbers = {f"{device}_bytes": float(need) for device, need in plan.quote.needs.items()}
    numbers["waited_s"] = state.now_s - pending.since_s
    places = " and ".join(f"{in_words(need)} on {device}" for device, need in plan.quote.needs.items())
    rejected = tuple(
        Rejected(f"on {', '.join(other.settings.devices)}", "there was less room, or this way was as good")
        for other in pending.plans
        if other is not plan
    )
    wanted = pending.because.words
    beware = "".join(f"; {caution}" for caution in plan.cautions)
    words = f"{wanted} and has its room: {places} ({plan.quote.source.value}){beware}"
    because = replace(pending.because, words=words)
    state.decide(Record.because(because, DecisionKind.LOAD, model, worker_id, "", numbers, rejected))
    if plan.degraded:
        state.decide(Record(DecisionKind.DEGRADE, model, "; ".join(plan.degraded), worker_id, "", numbers))


def keep(model: ModelRuntime, options: LoadOptions) -> None:
    """How long a caller wants a model to stay."""
    if model.current and options.keep_alive_s is not None:
        model.current.keep_alive_s = options.keep_alive_s
