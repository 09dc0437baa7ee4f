"""Who holds what in the ledger, sorted by what may be done about it. Pure; only reads."""

import math

from .policy import Candidate
from .room import Holders
from .state import GOING, ModelState, is_pinned
from .world import World


def holders(world: World, *, with_spare: bool) -> Holders:
    """Who holds what, sorted by what may be done about it. A load takes the spare; for a reservation it is in the way.

    Reservations are named only: nobody may end one for somebody else.
    """
    idle, busy, going = [], set(), set()
    names = {announcement.id: announcement.name for announcement in world.announced.values()}
    for incarnation in world.processes.values():
        owner = world.owners.get(incarnation.id)
        held = world.ledger.rows[incarnation.id]
        names[incarnation.id] = owner.model.id if owner else "a spare worker"
        if incarnation is world.spare and not incarnation.exited:
            if not with_spare and incarnation.stopping:
                going.add(incarnation.id)
            elif not with_spare:
                idle.append(Candidate(incarnation.id, -math.inf, held))
        elif incarnation.exited or owner is None or owner.state in GOING:
            going.add(incarnation.id)
        elif is_pinned(owner):
            continue
        elif owner.state is ModelState.READY and not incarnation.in_flight and not owner.queue:
            idle.append(Candidate(incarnation.id, incarnation.last_used_s, held))
        else:
            busy.add(incarnation.id)
    own = frozenset({world.spare.id}) if world.spare and with_spare else frozenset[int]()
    return Holders(idle, frozenset(busy), frozenset(going), own, names)


def attainable(world: World) -> dict[str, int]:
    """Bytes of each device that a load could have once all that may be ended is gone."""
    held = holders(world, with_spare=True)
    rows = held.own | held.going | held.busy | {candidate.incarnation for candidate in held.idle}
    ledger = world.ledger
    return {device: ledger.free_bytes(device) + ledger.held_bytes(rows, device) for device in ledger.accounts}
