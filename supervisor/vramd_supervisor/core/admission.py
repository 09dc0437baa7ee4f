"""Gives room to those who wait for it: who begins, who has to go for whom, who is told that it never will. Pure."""

from dataclasses import replace

from vramd_common.load_settings import DEFAULT_KEEP_ALIVE_S, LoadOptions
from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.causes import Awaited, Because, Beneficiary
from ..domain.config import BOUND_FACTORS
from ..domain.decisions import Decision as Record
from ..domain.decisions import DecisionKind, Rejected
from ..domain.errors import Refusal, in_words, refusal
from ..domain.quote import Plan
from . import reservations
from .actions import GrantReservation, SetTimer, Spawn
from .events import LoadLimitReached, PatienceEnded, ReservationExpired
from .eviction import EvictionIndex, evict, freed
from .lives import load
from .lobby import PendingLoad
from .pressure import OTHERS, WINDOW_S
from .room import Begin, Decision, Evict, Wait, Wish, find_room, lacking, with_alternatives
from .state import (
    COMING,
    GOING,
    MOST_NAMED,
    ModelRuntime,
    ModelState,
    Phase,
    Reservation,
    WorkerProcess,
    is_idle,
    is_kept,
    why_kept,
)
from .world import CoreState


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
            wish = Wish(waits.model, waits.ways)
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


def decide_admission(state: CoreState, wish: Wish, replaced: ModelRuntime | None = None) -> Decision:
    """Finds room for a wish. Three things beside that make a load wait, and never have it refused for want of memory.

    1. A device whose headroom others need takes no load: there is another way, or it waits for the device to reopen.
       Idle models go for it meanwhile, so that this comes sooner.
    2. What fits beside what others take now, but not beside the most that they took within the last minute, waits.
    3. Models that may not be there beside it have to go first.

    `replaced`: see `may_go`.
    """
    index = EvictionIndex(state, for_load=wish.is_load, replaced=replaced)
    decision = find_room(state, wish, index)
    if not wish.is_load or (isinstance(decision, Refusal) and decision.reason is Reason.MODEL_TOO_LARGE):
        return decision
    closed = {device for device in state.pressures if state.is_closed(device)}
    closed = closed and {device for way in wish.ways for device, need in way.items() if need and device in closed}
    if closed:  # 1
        ways = [place for place, way in enumerate(wish.ways) if not any(way.get(device) for device in closed)]
        detour = replace(wish, ways=[wish.ways[place] for place in ways])
        around = find_room(state, detour, index) if ways else None
        if around and not isinstance(around, Refusal):
            decision = replace(around, way=ways[around.way])
        elif isinstance(decision, Begin | Refusal):
            shut = next(place for place in range(len(wish.ways)) if place not in ways)
            words = f"waits until {OTHERS} leave enough of {', '.join(sorted(closed))}"
            return Wait({}, Awaited.OTHER_PROGRAMS, words, shut)
    if not isinstance(decision, Refusal) and (wait := _until_steady(state, wish, index, decision)):  # 2
        return wait
    if isinstance(decision, Begin):
        return enforce_exclusion(state, state.models[wish.name], decision.way, index) or decision  # 3
    return decision


def enforce_exclusion(
    state: CoreState, model: ModelRuntime, way: int, index: EvictionIndex
) -> Evict | Wait | Refusal | None:
    """Decides which models have to go before one may begin in this way, beside what its bytes need; None if none.

    1. All others of its group.
    2. As many as there are more than `at_most_resident`: those first that are going anyway, then in order of eviction.
    """
    there = [(worker, worker.owner) for worker in state.workers.values() if worker.owner]
    group, most = model.spec.group, state.config.scheduling.at_most_resident
    rivals = [
        (worker, owner) for worker, owner in there if group and owner.spec.group == group and owner is not model
    ]  # 1
    because = causes.group_of(model.id, group)
    if not rivals and most and len(there) >= most:  # 2
        because = causes.limit_of(most)
        going = sum(owner is model and worker.phase is Phase.ENDING for worker, owner in there)
        in_turn = [*index.ending, *index.draining, *sorted(index.idle + index.busy), *index.loading, *index.protected]
        others = [
            (one.worker, one.worker.owner) for one in in_turn if one.worker.owner and one.worker.owner is not model
        ]
        rivals = others[: max(0, len(there) - going + 1 - most)]
    if not rivals:
        return None
    leaving = {Phase.DRAINING, Phase.ENDING}
    if kept := [owner for worker, owner in rivals if is_kept(owner) and worker.phase not in leaving]:
        names = ", ".join(owner.id for owner in kept)
        told = ", ".join(f"{owner.id} ({why_kept(owner)})" for owner in kept)
        text = f"{because.words}, and {told} may not leave; unpin it, or end the hold"
        return refusal(Reason.RESIDENCY_EXHAUSTED, text, model=model.id, heldBy=names)
    # A further process of a rival, in the place of which another was to come, or the other way round, goes by itself.
    serving = [(worker, owner) for worker, owner in rivals if owner.current is worker]
    if idle := tuple(worker.id for worker, owner in serving if is_idle(owner) and not worker.exited):
        return Evict(idle, {}, way, because)
    drain = tuple(worker.id for worker, owner in serving if owner.state not in GOING | COMING)
    names = ", ".join(dict.fromkeys(owner.id for _, owner in rivals))
    return Wait({}, Awaited.EXCLUSION, f"{because.words}: waits until {names} is gone", way, because, drain)


def _until_steady(state: CoreState, wish: Wish, index: EvictionIndex, decision: Begin | Evict | Wait) -> Wait | None:
    """A wait for others to leave what they took of late, unless the decision holds beside that as well."""
    ledger, way = state.ledger, wish.ways[decision.way]
    leaving = decision.worker_ids if isinstance(decision, Evict) else ()
    leaving = decision.drain if isinstance(decision, Wait) else leaving
    if all(map(ledger.is_steady, way)) or not (leaving or isinstance(decision, Begin)):
        return None
    # Nobody is sent away for a room that would not be used yet.
    gone = index.reused + index.going if leaving else index.reused
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
    worker.owner = model
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
