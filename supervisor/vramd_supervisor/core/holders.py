"""Who holds what in the ledger, sorted by what may be done about it. Pure."""

import math

from .policy import Candidate, Crowd, Rank, freed
from .room import Holders
from .standings import RESIDENTS, Place, Standing, Standings
from .state import COMING, ModelRuntime, ModelState, WorkerProcess, is_kept
from .world import CoreState


def holders(state: CoreState, *, for_load: bool, anew: ModelRuntime | None = None) -> Holders:
    """Everybody, seen from a load, or from a need of others.

    A load takes the spare; for others it is in the way. Of models, `keep_resident` stay whatever others need; a load
    puts a new one in their place. Reservations are named only: nobody may end one for somebody else. The process of
    `anew`, which is to get a new one, may be ended, pinned or not.
    """
    crowds = standings(state).crowds
    draining = (crowds[Standing.DRAINING],)
    going = (*draining, crowds[Standing.ENDING])
    coming, spare = (crowds[Standing.COMING],), (crowds[Standing.SPARE],)
    idle, busy = crowds[Standing.IDLE], crowds[Standing.BUSY]
    if not for_load:
        return Holders((*spare, idle), (busy,), coming, going, draining, (), state.name_of, state.why_protected)
    idle_and_residents: tuple[Crowd, ...] = (idle, crowds[Standing.IDLE_RESIDENT])
    busy_and_residents = (busy, crowds[Standing.BUSY_RESIDENT])
    place = state.standings.places.get(anew.current.id) if anew and anew.current else None
    if place and place.standing in {Standing.KEPT, Standing.COMING_KEPT}:
        own = Crowd()
        own.add(place.candidate)
        idle_and_residents = (*idle_and_residents, own)
    return Holders(
        idle_and_residents, busy_and_residents, coming, going, draining, spare, state.name_of, state.why_protected
    )


def standings(state: CoreState) -> Standings:
    """Where every process stands now."""
    sort_anew(state)
    return state.standings


def sort_anew(state: CoreState) -> None:
    """Puts those processes where they belong that have changed since the last time.

    One that stayed for being among the last used, and no longer is, is thought about: it may have to leave. A
    reservation may have one that is among them no longer, and must leave the one that now is; to loads it is all one.
    """
    known = state.standings
    while known.stale:
        worker = state.workers[known.stale.popitem()[0]]
        owner = state.owners.get(worker.id)
        ready = owner is not None and owner.state is ModelState.READY and not worker.exited
        known.use(worker.id, worker.last_used_s if ready else None)
        before, after = known.places.get(worker.id), place_of(state, worker)
        if after == before:
            continue
        known.put(after)
        was_resident = before is not None and before.standing in RESIDENTS
        if owner and was_resident and after.standing not in RESIDENTS:
            state.touch(owner)


def place_of(state: CoreState, worker: WorkerProcess) -> Place:
    """Where a process belongs now."""
    owner, held = state.owners.get(worker.id), state.ledger.rows[worker.id]
    if owner is None:
        standing = Standing.SPARE if worker is state.spare and not worker.exited else Standing.ENDING
        rank = Rank(busy=False, lasting=False, since_s=-math.inf, reload_s=0.0, worker_id=worker.id)
        return Place(standing, Candidate(rank, held), "", awaited=False)
    standing = _standing(state, owner, worker)
    idle = standing is Standing.IDLE or standing is Standing.IDLE_RESIDENT
    # Of the busy ones who is there the longest: when they were last used changes all the time.
    since_s = worker.last_used_s if idle else worker.ready_s or 0.0
    # What becomes of its model is nothing to a process that ends.
    last_load_s = 0.0 if standing is Standing.ENDING else owner.load_s or 0.0
    rank = Rank(not idle, not owner.spec.sacrificial, since_s, last_load_s, worker.id)
    awaited = bool(worker.in_flight) and not worker.answered
    awaited = awaited or standing is Standing.COMING or standing is Standing.COMING_KEPT
    return Place(standing, Candidate(rank, held), owner.spec.group, awaited)


def _standing(state: CoreState, owner: ModelRuntime, worker: WorkerProcess) -> Standing:
    if worker.exited or worker.stopping or (owner.current is worker and owner.state is ModelState.STOPPING):
        return Standing.ENDING
    if owner.current is not worker:  # it is to take the place of the one that serves
        return Standing.COMING_KEPT if is_kept(owner) else Standing.COMING
    if owner.state is ModelState.DRAINING:
        return Standing.DRAINING
    if owner.state in COMING:
        return Standing.COMING_KEPT if is_kept(owner) else Standing.COMING
    if is_kept(owner):
        return Standing.KEPT
    resident = state.standings.is_resident(worker.id)
    if is_idle(owner):
        return Standing.IDLE_RESIDENT if resident else Standing.IDLE
    return Standing.BUSY_RESIDENT if resident else Standing.BUSY


def is_idle(model: ModelRuntime) -> bool:
    """Whether a model is ready, and nobody has a use for it."""
    current = model.current
    return (
        model.state is ModelState.READY
        and current is not None
        and not current.in_flight
        and not model.queue
        and not model.renewal
    )


def available_if_evicted(state: CoreState, anew: ModelRuntime | None = None) -> dict[str, int]:
    """Bytes of each device that a load could have once all that may be ended is gone, and the process of `anew`."""
    held = holders(state, for_load=True, anew=anew)
    free = {device: state.ledger.free_bytes(device) for device in state.ledger.accounts}
    return freed(free, (*held.own, *held.going, *held.coming, *held.idle, *held.busy))
