"""Admits what waits for room: begins loads, grants reservations, evicts for them, and says what they wait for. Pure.

`room` decides, `eviction` picks the victims.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vramd_common.load_settings import DEFAULT_KEEP_ALIVE_S, LoadOptions

from ..domain import causes
from ..domain.causes import Awaited, Because, Beneficiary
from ..domain.config import BOUND_FACTORS
from ..domain.decisions import Decision, DecisionKind, Rejected
from ..domain.errors import Refusal, in_words
from ..domain.quote import Plan
from . import reservations
from .actions import Evicted, FindTogether, SetTimer, Spawn
from .core_state import CoreState, Waiting
from .deaths import try_again_later
from .events import LoadLimitReached, PatienceEnded
from .eviction import EvictionIndex, available_if_evicted, chosen_for, spared, victims
from .model import drain, give_up_queue, move, stop
from .pressure import OTHERS
from .requests import report
from .room import Admission, Begin, Claim, Evict, Wait, decide_admission, with_alternatives
from .state import MOST_NAMED, ModelRuntime, ModelState, PendingLoad, Reservation, WorkerProcess, is_idle, is_kept


def admit(state: CoreState) -> bool:
    """Decides for all that wait for room, in order; what waits for a device is not overtaken there.

    Returns whether the others have to be asked once more: what left the queue has taken bytes for good, or given up.
    """
    taken: set[str] = set()
    again = False
    while waiting := state.admission_queue.first(taken):
        claim = claim_of(waiting)
        decision = decide_admission(state, claim)
        if isinstance(waiting, PendingLoad) and waiting.opportunistic and not isinstance(decision, Begin):
            move(state, state.models[waiting.model], ModelState.UNLOADED, causes.NO_ROOM)
            again = True
            continue
        if isinstance(decision, Evict | Wait):
            taken |= set(decision.missing_bytes) or {device for way in claim.ways for device in way}
        if isinstance(decision, Evict):
            whom = _beneficiary(waiting)
            evict(state, whom, _lack(whom, decision), decision.worker_ids, decision.missing_bytes)
        elif isinstance(decision, Wait) and decision.drain:
            again = _drain_or_wait(state, waiting, decision) or again
        if isinstance(waiting, Reservation):
            _answer(state, waiting, decision)
        else:
            _go_on(state, waiting, decision)
        stays = isinstance(waiting, Reservation) or is_kept(state.models[waiting.model])
        again = again or isinstance(decision, Refusal) or (isinstance(decision, Begin) and stays)
    return again


def claim_of(waiting: Waiting) -> Claim:
    """The need of a load or a reservation."""
    if isinstance(waiting, Reservation):
        return Claim(waiting.name, [{waiting.device: waiting.size_bytes}], is_load=False)
    return Claim(waiting.model, waiting.ways)


def _beneficiary(waiting: Waiting) -> Beneficiary:
    if isinstance(waiting, Reservation):
        return Beneficiary(waiting.name, reservation=waiting.id)
    return Beneficiary(waiting.model, model=waiting.model)


def _lack(whom: Beneficiary, decision: Evict) -> Because:
    lacks = ", ".join(f"{in_words(size)} on {device}" for device, size in decision.missing_bytes.items())
    return decision.because or whom.because(f"{whom.name} lacks {lacks}")


def _drain_or_wait(state: CoreState, waiting: Waiting, decision: Wait) -> bool:
    """Drains busy models for what has waited long enough, once each has had its least time; else sets a timer for that.

    So that a load begins within the starvation bound, whatever the others do, the time to drain is taken off the wait,
    and the time after which a process is killed that does not end.
    """
    scheduling = state.config.scheduling
    bound_s = scheduling.starvation_bound_s * BOUND_FACTORS[waiting.priority]
    end_s = min(scheduling.stop_s, bound_s / 2)
    drain_s = min(scheduling.drain_s, bound_s - end_s)
    least_s = [(state.workers[one].ready_s or 0.0) + scheduling.minimum_residency_s for one in decision.drain]
    if isinstance(waiting, PendingLoad) and not state.models[waiting.model].queue:
        return False  # the callers have left: no busy model is drained for a load alone
    when_s = max(waiting.since_s + bound_s - end_s - drain_s, *least_s)
    if when_s > state.now_s:
        if when_s != waiting.patience_until_s:
            waiting.patience_until_s = when_s
            state.emit(SetTimer(PatienceEnded(when_s, waiting.turn)))
        return False
    waited_s = state.now_s - waiting.since_s
    whom = _beneficiary(waiting)
    because = whom.because(f"{whom.name} has waited for {waited_s:.1f} s")
    if decision.because:
        because = replace(because, cause=decision.because.cause)
    evict(state, whom, because, decision.drain, decision.missing_bytes, drain_s)
    return True


def _answer(state: CoreState, reservation: Reservation, decision: Admission) -> None:
    if isinstance(decision, Begin):
        reservations.grant(state, reservation)
    elif isinstance(decision, Refusal):
        reservations.refuse(state, reservation, decision)


def _go_on(state: CoreState, pending: PendingLoad, decision: Admission) -> None:
    model = state.models[pending.model]
    if isinstance(decision, Begin):
        _begin(state, model, pending, pending.plans[decision.way])
    elif isinstance(decision, Refusal):
        give_up(state, model, with_alternatives(decision, pending.alternatives))
    elif isinstance(decision, Evict):
        names = ", ".join(state.name_of(one) for one in decision.worker_ids[:MOST_NAMED])
        _tell(state, pending, Awaited.MEMORY, f"waiting until the memory of {names} is back")
    elif not (decision.awaited is Awaited.MEMORY and pending.awaited is Awaited.MEMORY):
        _tell(state, pending, decision.awaited, decision.message)  # else they were told whose memory it is


def _tell(state: CoreState, pending: PendingLoad, awaited: Awaited, message: str) -> None:
    """Tells the callers of a load the reason for its wait, once."""
    if pending.told != message:
        pending.awaited, pending.told = awaited, message
        report(state, state.models[pending.model], None, message)


def give_up(state: CoreState, model: ModelRuntime, why: Refusal) -> None:
    """Gives up a load that waits for plans or room; its callers hear why."""
    pending = state.pending_loads[model.id]
    try_again_later(state, model, pending.options, pending.turn, why)
    give_up_queue(state, model, why)
    move(state, model, ModelState.UNLOADED, causes.refused(why.message))


def _begin(state: CoreState, model: ModelRuntime, pending: PendingLoad, plan: Plan) -> None:
    worker = model.current = take_process(state, model, pending, plan)
    if worker.pid:
        move(state, model, ModelState.LOADING, causes.STARTED)
    else:
        move(state, model, ModelState.STARTING, causes.HAS_ROOM)


def take_process(state: CoreState, model: ModelRuntime, pending: PendingLoad, plan: Plan) -> WorkerProcess:
    """Promises the bytes, then starts a process or takes the spare."""
    state.last_begun_s = state.now_s
    worker, state.spare = state.spare, None
    fresh = worker is None
    if worker is None:
        worker = state.new_worker()
    worker.plan = plan
    worker.options, worker.source = pending.options, model.spec.source
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
    state.decide(Decision.because(because, DecisionKind.LOAD, model, worker_id, "", numbers, rejected))
    if plan.degraded:
        state.decide(Decision(DecisionKind.DEGRADE, model, "; ".join(plan.degraded), worker_id, "", numbers))


def restore_headroom(state: CoreState) -> None:
    """Gives other programs back what they need of a headroom: evicts idle models, all if that is still too little."""
    while state.headroom_deficit:
        device, deficit_bytes = state.headroom_deficit.popitem()
        idle = EvictionIndex(state, for_load=False).idle
        picked = victims(idle, {device: deficit_bytes})
        if picked is None:
            picked = tuple(one.worker.id for one in idle if one.held_bytes.get(device))
        whom = Beneficiary(OTHERS)
        because = whom.because(f"{device} lacks {in_words(deficit_bytes)} of its headroom")
        evict(state, whom, because, picked, {device: deficit_bytes})


def evict(
    state: CoreState,
    whom: Beneficiary,
    because: Because,
    worker_ids: Sequence[int],
    missing_bytes: Mapping[str, int],
    drain_s: float | None = None,
) -> None:
    """Drains or stops these processes and records, for each, why it was chosen and others were not.

    What runs may take `drain_s` to end, or as long as configured.
    """
    if not worker_ids:
        return
    if pending := state.pending_loads.get(whom.model):
        pending.room_from_s = min(pending.room_from_s, state.now_s)
    lacking = {f"lacking_on_{device}_bytes": float(size) for device, size in missing_bytes.items()}
    others = spared(state, whom, worker_ids, missing_bytes)
    for victim in worker_ids:
        worker = state.workers[victim]
        owner = worker.owner
        if owner is None:
            state.spare = None
            stop(state, worker)
            continue
        busy = not is_idle(owner)
        reason = Because(because.cause, f"{because.words}; {owner.id} {chosen_for(owner, busy=busy)}")
        state.emit(Evicted(owner.id, victim, whom, reason))
        held = {f"held_on_{device}_bytes": float(size) for device, size in state.ledger.rows[victim].items()}
        idle_s = {} if busy else {"idle_s": state.now_s - worker.last_used_s}
        numbers = {**lacking, **held, **idle_s}
        state.decide(Decision.because(reason, DecisionKind.EVICT, owner.id, victim, whom.name, numbers, others))
        state.loads.evicted(state.now_s, owner.id, whom.name)
        drain(state, owner, causes.evicted(because.cause, whom), within_s=drain_s)
    _look_for_ping_pong(state)


def _look_for_ping_pong(state: CoreState) -> None:
    if found := state.loads.ping_pong(state.now_s):
        models = [state.models[name].spec for name in found.models if name in state.models]
        state.ping_pongs[found.models] = found
        state.emit(FindTogether(models, available_if_evicted(state)))


def keep(model: ModelRuntime, options: LoadOptions) -> None:
    """Sets how long a model stays, where a caller says so."""
    if model.current and options.keep_alive_s is not None:
        model.current.keep_alive_s = options.keep_alive_s
