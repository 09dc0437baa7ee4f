"""Which models may not be there at the same time: groups, and how many at most. Pure; only decides."""

from heapq import merge
from itertools import chain, islice

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.causes import Awaited
from ..domain.errors import Refusal, refusal
from .holders import is_idle, standings
from .room import Evict, Wait
from .standings import Standing
from .state import COMING, GOING, ModelRuntime, is_kept
from .world import CoreState


def enforce_exclusion(state: CoreState, model: ModelRuntime, way: int) -> Evict | Wait | Refusal | None:
    """Who has to go before a model may begin in this way, beside what its bytes need; None if nobody.

    1. All others of its group.
    2. As many as there are more than `at_most_resident`, least recently used first.
    """
    owners, known = state.owners, standings(state)
    rivals = [i for i in known.groups.get(model.spec.group, ()) if owners[i] is not model]  # 1
    because = causes.group_of(model.id, model.spec.group)
    most = state.config.scheduling.at_most_resident
    if not rivals and most and len(owners) >= most:  # 2
        because = causes.limit_of(most)
        own = sum(owners.get(one.worker_id) is model for one in known.crowds[Standing.ENDING])
        rivals = _surplus(state, model, len(owners) - own + 1 - most)
    if not rivals:
        return None
    leaving = {Standing.DRAINING, Standing.ENDING}
    if kept := [i for i in rivals if is_kept(owners[i]) and known.places[i].standing not in leaving]:
        names = ", ".join(owners[i].id for i in kept)
        told = ", ".join(f"{owners[i].id} ({state.why_protected(i)})" for i in kept)
        text = f"{because.words}, and {told} may not leave; unpin it, or end the hold"
        return refusal(Reason.RESIDENCY_EXHAUSTED, text, model=model.id, heldBy=names)
    # A further process of a rival, in the place of which another was to come, or the other way round, goes by itself.
    serving = [i for i in rivals if owners[i].current is state.workers[i]]
    idle = tuple(i for i in serving if is_idle(owners[i]) and not state.workers[i].exited)
    if idle:
        return Evict(idle, {}, way, because)
    drain = tuple(i for i in serving if owners[i].state not in GOING | COMING)
    names = ", ".join(dict.fromkeys(owners[i].id for i in rivals))
    return Wait({}, Awaited.EXCLUSION, f"{because.words}: waits until {names} is gone", way, because, drain)


def _surplus(state: CoreState, model: ModelRuntime, count: int) -> list[int]:
    """So many models of others, those first that are going anyway, then in the order in which victims are chosen."""
    crowds = state.standings.crowds
    ready = (Standing.IDLE, Standing.IDLE_RESIDENT, Standing.BUSY, Standing.BUSY_RESIDENT)
    in_turn = chain(
        crowds[Standing.ENDING],
        crowds[Standing.DRAINING],
        merge(*(crowds[standing] for standing in ready)),
        crowds[Standing.COMING],
        crowds[Standing.KEPT],
        crowds[Standing.COMING_KEPT],
    )
    others = (one.worker_id for one in in_turn if state.owners.get(one.worker_id, model) is not model)
    return list(islice(others, max(0, count)))
