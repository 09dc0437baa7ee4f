"""Who holds what in the ledger, sorted by what may be done about it. Pure; only reads."""

import math

from .policy import Candidate
from .room import Holders
from .state import COMING, GOING, Entry, Incarnation, ModelState, is_kept
from .world import World


def holders(world: World, *, for_load: bool) -> Holders:
    """Everybody, seen from a load, or from a need of others.

    A load takes the spare; for others it is in the way. Of models, `keep_resident` stay whatever others need; a load
    puts a new one in their place. Reservations are named only: nobody may end one for somebody else.
    """
    idle: list[Candidate] = []
    busy: list[Candidate] = []
    going: set[int] = set()
    coming: set[int] = set()
    names = {announcement.id: announcement.name for announcement in world.announced.values()}
    kept = frozenset[int]() if for_load else residents_to_keep(world)
    for incarnation in world.processes.values():
        owner = world.owners.get(incarnation.id)
        names[incarnation.id] = owner.model.id if owner else "a spare worker"
        if incarnation is world.spare and not incarnation.exited:
            if not for_load and incarnation.stopping:
                going.add(incarnation.id)
            elif not for_load:
                idle.append(Candidate(incarnation.id, -math.inf, world.ledger.rows[incarnation.id]))
        elif incarnation.exited or owner is None or owner.state in GOING:
            going.add(incarnation.id)
        elif is_kept(owner) or incarnation.id in kept:
            continue
        elif owner.state in COMING:
            coming.add(incarnation.id)
        elif is_idle(owner):
            idle.append(candidate(world, owner, incarnation))
        else:
            busy.append(candidate(world, owner, incarnation, busy=True))
    own = frozenset({world.spare.id}) if world.spare and for_load else frozenset[int]()
    return Holders(idle, busy, frozenset(coming), frozenset(going), own, names)


def is_idle(entry: Entry) -> bool:
    """Whether a model is ready, and nobody has a use for it."""
    current = entry.current
    return entry.state is ModelState.READY and current is not None and not current.in_flight and not entry.queue


def candidate(world: World, owner: Entry, incarnation: Incarnation, *, busy: bool = False) -> Candidate:
    """A model's process, as one that may have to go."""
    return Candidate(
        incarnation.id,
        # Of the busy ones who is there the longest: when they were last used changes all the time.
        (incarnation.ready_s or 0.0) if busy else incarnation.last_used_s,
        world.ledger.rows[incarnation.id],
        owner.model.sacrificial,
        owner.load_s or 0.0,
        busy,
    )


def residents_to_keep(world: World) -> frozenset[int]:
    """The `keep_resident` models that were used last; they neither leave by themselves nor for others' needs."""
    count = world.config.scheduling.keep_resident
    if not count:
        return frozenset()
    ready = [entry.current for entry in world.entries.values() if entry.state is ModelState.READY and entry.current]
    ready.sort(key=lambda incarnation: (incarnation.last_used_s, incarnation.id))
    return frozenset(incarnation.id for incarnation in ready[-count:])


def attainable(world: World) -> dict[str, int]:
    """Bytes of each device that a load could have once all that may be ended is gone."""
    held = holders(world, for_load=True)
    rows = held.own | held.going | held.coming
    rows |= {one.incarnation for one in (*held.idle, *held.busy)}
    ledger = world.ledger
    return {device: ledger.free_bytes(device) + ledger.held_bytes(rows, device) for device in ledger.accounts}
