"""Who holds what in the ledger, sorted by what may be done about it. Pure."""

import math

from .policy import Candidate, Crowd, Rank, freed
from .room import Holders
from .standings import RESIDENTS, Place, Standing, Standings
from .state import COMING, Entry, Incarnation, ModelState, is_kept
from .world import World


def holders(world: World, *, for_load: bool, anew: Entry | None = None) -> Holders:
    """Everybody, seen from a load, or from a need of others.

    A load takes the spare; for others it is in the way. Of models, `keep_resident` stay whatever others need; a load
    puts a new one in their place. Reservations are named only: nobody may end one for somebody else. The process of
    `anew`, which is to get a new one, may be ended, pinned or not.
    """
    crowds = standings(world).crowds
    draining = (crowds[Standing.DRAINING],)
    going = (*draining, crowds[Standing.ENDING])
    coming, spare = (crowds[Standing.COMING],), (crowds[Standing.SPARE],)
    idle, busy = crowds[Standing.IDLE], crowds[Standing.BUSY]
    if not for_load:
        return Holders((*spare, idle), (busy,), coming, going, draining, (), world.name_of, world.bond_of)
    idle_and_residents: tuple[Crowd, ...] = (idle, crowds[Standing.IDLE_RESIDENT])
    busy_and_residents = (busy, crowds[Standing.BUSY_RESIDENT])
    place = world.standings.places.get(anew.current.id) if anew and anew.current else None
    if place and place.standing in {Standing.KEPT, Standing.COMING_KEPT}:
        own = Crowd()
        own.add(place.candidate)
        idle_and_residents = (*idle_and_residents, own)
    return Holders(idle_and_residents, busy_and_residents, coming, going, draining, spare, world.name_of, world.bond_of)


def standings(world: World) -> Standings:
    """Where every process stands now."""
    sort_anew(world)
    return world.standings


def sort_anew(world: World) -> None:
    """Puts those processes where they belong that have changed since the last time.

    One that stayed for being among the last used, and no longer is, is thought about: it may have to leave. A
    reservation may have one that is among them no longer, and must leave the one that now is; to loads it is all one.
    """
    known = world.standings
    while known.stale:
        incarnation = world.processes[known.stale.popitem()[0]]
        owner = world.owners.get(incarnation.id)
        ready = owner is not None and owner.state is ModelState.READY and not incarnation.exited
        known.use(incarnation.id, incarnation.last_used_s if ready else None)
        before, after = known.places.get(incarnation.id), place_of(world, incarnation)
        if after == before:
            continue
        known.put(after)
        was_resident = before is not None and before.standing in RESIDENTS
        if was_resident != (after.standing in RESIDENTS):
            world.room_changed = world.room_changed or bool(world.announcing)
            if owner and was_resident:
                world.touch(owner)


def place_of(world: World, incarnation: Incarnation) -> Place:
    """Where a process belongs now."""
    owner, held = world.owners.get(incarnation.id), world.ledger.rows[incarnation.id]
    if owner is None:
        standing = Standing.SPARE if incarnation is world.spare and not incarnation.exited else Standing.ENDING
        rank = Rank(busy=False, lasting=False, since_s=-math.inf, reload_s=0.0, incarnation=incarnation.id)
        return Place(standing, Candidate(rank, held), "", awaited=False)
    standing = _standing(world, owner, incarnation)
    idle = standing is Standing.IDLE or standing is Standing.IDLE_RESIDENT
    # Of the busy ones who is there the longest: when they were last used changes all the time.
    since_s = incarnation.last_used_s if idle else incarnation.ready_s or 0.0
    # What becomes of its model is nothing to a process that ends.
    last_load_s = 0.0 if standing is Standing.ENDING else owner.load_s or 0.0
    rank = Rank(not idle, not owner.model.sacrificial, since_s, last_load_s, incarnation.id)
    awaited = bool(incarnation.in_flight) and not incarnation.answered
    awaited = awaited or standing is Standing.COMING or standing is Standing.COMING_KEPT
    return Place(standing, Candidate(rank, held), owner.model.group, awaited)


def _standing(world: World, owner: Entry, incarnation: Incarnation) -> Standing:
    if (
        incarnation.exited
        or incarnation.stopping
        or (owner.current is incarnation and owner.state is ModelState.STOPPING)
    ):
        return Standing.ENDING
    if owner.current is not incarnation:  # it is to take the place of the one that serves
        return Standing.COMING_KEPT if is_kept(owner) else Standing.COMING
    if owner.state is ModelState.DRAINING:
        return Standing.DRAINING
    if owner.state in COMING:
        return Standing.COMING_KEPT if is_kept(owner) else Standing.COMING
    if is_kept(owner):
        return Standing.KEPT
    resident = world.standings.is_resident(incarnation.id)
    if is_idle(owner):
        return Standing.IDLE_RESIDENT if resident else Standing.IDLE
    return Standing.BUSY_RESIDENT if resident else Standing.BUSY


def is_idle(entry: Entry) -> bool:
    """Whether a model is ready, and nobody has a use for it."""
    current = entry.current
    return (
        entry.state is ModelState.READY
        and current is not None
        and not current.in_flight
        and not entry.queue
        and not entry.renewal
    )


def attainable(world: World, anew: Entry | None = None) -> dict[str, int]:
    """Bytes of each device that a load could have once all that may be ended is gone, and the process of `anew`."""
    held = holders(world, for_load=True, anew=anew)
    free = {device: world.ledger.free_bytes(device) for device in world.ledger.accounts}
    return freed(free, (*held.own, *held.going, *held.coming, *held.idle, *held.busy))
