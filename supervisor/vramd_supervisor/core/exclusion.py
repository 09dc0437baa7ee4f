"""Which models may not be there at the same time: groups, and how many at most. Pure; only decides."""

from vramd_proto.v1.reasons import Reason

from .errors import Refusal, refusal
from .holders import candidate, is_idle
from .room import Evict, Wait
from .state import COMING, GOING, Entry, Incarnation, is_kept
from .world import World


def make_way(world: World, entry: Entry, way: int) -> Evict | Wait | Refusal | None:
    """Who has to go before a model may begin in this way, beside what its bytes need; None if nobody.

    1. All others of its group.
    2. As many as there are more than `at_most_resident`, least recently used first.
    """
    others = {i: owner for i, owner in world.owners.items() if owner is not entry}
    rivals = [i for i, owner in others.items() if entry.model.group and owner.model.group == entry.model.group]  # 1
    why = f"{entry.model.id} is of the group {entry.model.group!r}, of which one may be there"
    most = world.config.scheduling.at_most_resident
    if not rivals and most and len(others) >= most:  # 2
        why = f"at most {most} models may be there"
        rivals = _surplus(world, others, len(others) + 1 - most)
    if not rivals:
        return None
    if kept := [others[i].model.id for i in rivals if is_kept(others[i])]:
        names = ", ".join(kept)
        text = f"{why}, and {names} may not leave; unpin or release it"
        return refusal(Reason.RESIDENCY_EXHAUSTED, text, model=entry.model.id, heldBy=names)
    idle = tuple(i for i in rivals if is_idle(others[i]) and not world.processes[i].exited)
    if idle:
        return Evict(idle, {}, way, why)
    drain = tuple(i for i in rivals if others[i].state not in GOING | COMING and not world.processes[i].exited)
    names = ", ".join(dict.fromkeys(others[i].model.id for i in rivals))
    return Wait({}, f"{why}: waits until {names} is gone", way, drain)


def _surplus(world: World, others: dict[int, Entry], count: int) -> list[int]:
    """So many of them, those first that are going anyway, then in the order in which victims are chosen."""

    def rank(i: int) -> tuple[object, ...]:
        incarnation: Incarnation = world.processes[i]
        owner = others[i]
        gone = incarnation.exited or owner.state in GOING
        one = candidate(world, owner, incarnation, busy=not is_idle(owner))
        return (not gone, is_kept(owner), owner.state in COMING, *one.rank)

    return sorted(others, key=rank)[:count]
