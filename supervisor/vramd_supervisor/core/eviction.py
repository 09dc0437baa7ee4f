"""Decides which process may be ended, for what and in which order, and explains it: one policy for all. Pure.

`may_go` decides for one process, `rank` puts those that may go in order, `victims` picks of them as many as are needed.
The record of an eviction says of each process that was spared what `may_go` has answered for it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

from ..domain.causes import Beneficiary
from ..domain.decisions import Rejected
from .core_state import CoreState
from .state import ModelRuntime, ModelState, Phase, WorkerProcess, is_idle, why_kept

MOST_SPARED = 8
"""Processes that the record of an eviction names as spared."""


class Evictability(IntEnum):
    """Whether and when a process may be ended for a beneficiary, in the order in which records name the spared ones."""

    NOW = 0
    BUSY = 1
    """Once it is idle, or drained for what has waited too long."""
    LOADING = 2
    """Once it is loaded and has served the callers of its model."""
    DRAINING = 3
    """It ends as soon as its requests have ended."""
    ENDING = 4
    """It was stopped, or is gone and its memory is not back yet."""
    NEVER = 5
    """It is protected."""
    REUSED = 6
    """The spare, from which a load is made: its bytes are part of what the load needs."""


class Answer(NamedTuple):
    may: Evictability
    why: str = ""
    """Why it may not go now, as records say it."""


_NOW = Answer(Evictability.NOW)
_BUSY = Answer(Evictability.BUSY, "is busy")
_LOADING = Answer(Evictability.LOADING, "is being loaded")
_DRAINING = Answer(Evictability.DRAINING, "is on its way out")
_ENDING = Answer(Evictability.ENDING, "is on its way out")
_REUSED = Answer(Evictability.REUSED)


class Rank(NamedTuple):
    """The place of a process in the order of eviction: the lower, the sooner."""

    busy: bool
    """It has requests, or callers wait for its model."""
    lasting: bool
    """It is not expendable."""
    since_s: float
    """The moment it was last used; of a busy one the moment it was ready, as its last use changes all the time."""
    reload_s: float
    """Seconds that its last load took."""
    worker_id: int


class Candidate(NamedTuple):
    """A process with its place in the order, and what ending it gives back."""

    rank: Rank
    worker: WorkerProcess
    held_bytes: Mapping[str, int]
    """Bytes per device."""
    why_not: str
    """Why it may not go now."""


def may_go(state: CoreState, worker: WorkerProcess, *, for_load: bool, replaced: ModelRuntime | None = None) -> Answer:
    """Decides whether a process may be ended, for a load or for others: a reservation, or other programs' headroom.

    `replaced` is the model whose process is to be replaced by a new one: that one may go, protected or not.

    1. The spare is reused by a load, and ended for others.
    2. A draining or ending process goes anyway.
    3. A pinned model, or one held by a client, is protected.
    4. A loading process may go once it has served the callers of its model.
    5. The last `keep_resident` models that were used stay whatever others need; a load puts a new one in their place.
    6. A busy process may go once it is idle, or drained if something has waited too long for it.
    7. An idle process may go now.
    """
    owner, phase = worker.owner, worker.phase
    if phase is Phase.SPARE:  # 1
        return _REUSED if for_load else _NOW
    if owner is None or phase is Phase.ENDING:  # 2
        return _ENDING
    if phase is Phase.DRAINING:
        return _DRAINING
    if why := why_kept(owner):  # 3
        return Answer(Evictability.NOW if owner is replaced and owner.current is worker else Evictability.NEVER, why)
    if phase is Phase.LOADING:  # 4
        return _LOADING
    if not for_load and worker.id in residents(state):  # 5
        most = state.config.scheduling.keep_resident
        return Answer(Evictability.NEVER, f"is one of the last {most} that were used (keep_resident)")
    if not is_idle(owner):  # 6
        return _BUSY
    return _NOW  # 7


def rank(worker: WorkerProcess, answer: Answer) -> Rank:
    """Idle ones go before busy ones, expendable ones before others, then those that were used the longest ago."""
    owner = worker.owner
    if owner is None:
        return Rank(busy=False, lasting=False, since_s=-math.inf, reload_s=0.0, worker_id=worker.id)
    idle = answer is _NOW
    since_s = worker.last_used_s if idle else math.inf if worker.ready_s is None else worker.ready_s
    return Rank(not idle, not owner.spec.expendable, since_s, owner.load_s or 0.0, worker.id)


def chosen_for(owner: ModelRuntime, *, busy: bool) -> str:
    """Says what put a victim before the others, as `rank` has it."""
    if owner.spec.expendable:
        return "is expendable: it goes before all others"
    return "was there the longest among the busy" if busy else "was least recently used among the idle"


def residents(state: CoreState) -> set[int]:
    """The processes of the last `keep_resident` models that were used."""
    most = state.config.scheduling.keep_resident
    if not most:
        return set()
    used = [
        (worker.last_used_s, worker.id)
        for worker in state.workers.values()
        if worker.owner and worker.owner.state is ModelState.READY and not worker.exited
    ]
    used.sort()
    return {worker_id for _, worker_id in used[-most:]}


class EvictionIndex:
    """All processes by what may be done about them for one beneficiary, each kind in the order of eviction."""

    def __init__(self, state: CoreState, *, for_load: bool, replaced: ModelRuntime | None = None) -> None:
        kinds: list[list[Candidate]] = [[] for _ in Evictability]
        rows = state.ledger.rows
        for worker in state.workers.values():
            answer = may_go(state, worker, for_load=for_load, replaced=replaced)
            kinds[answer.may].append(Candidate(rank(worker, answer), worker, rows[worker.id], answer.why))
        for kind in kinds:
            if len(kind) > 1:
                kind.sort()
        self._kinds = kinds
        self.idle = kinds[Evictability.NOW]
        self.busy = kinds[Evictability.BUSY]
        self.loading = kinds[Evictability.LOADING]
        self.draining = kinds[Evictability.DRAINING]
        self.ending = kinds[Evictability.ENDING]
        self.protected = kinds[Evictability.NEVER]
        self.reused = kinds[Evictability.REUSED]

    @property
    def going(self) -> list[Candidate]:
        """Processes that end anyway; their bytes count as taken until they are free."""
        return self.draining + self.ending

    def __iter__(self) -> Iterator[Candidate]:
        """Every process, those first that would have gone next."""
        return (one for kind in self._kinds for one in kind)


def available_if_evicted(state: CoreState, replaced: ModelRuntime | None = None) -> dict[str, int]:
    """Bytes of each device that a load could have once all that may be ended is gone."""
    index = EvictionIndex(state, for_load=True, replaced=replaced)
    free = {device: state.ledger.free_bytes(device) for device in state.ledger.accounts}
    return freed(free, index.reused, index.going, index.loading, index.idle, index.busy)


def held_bytes(some: Iterable[Candidate], device: str) -> int:
    """Bytes that these processes hold on a device together."""
    return sum([one.held_bytes.get(device, 0) for one in some])


def freed(free_bytes: Mapping[str, int], *kinds: Sequence[Candidate]) -> dict[str, int]:
    """Free bytes of the same devices once all of these processes have given theirs back."""
    after = dict(free_bytes)
    for kind in kinds:
        for one in kind:
            for device, size in one.held_bytes.items():
                if device in after:
                    after[device] += size
    return after


def victims(candidates: Sequence[Candidate], missing_bytes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The processes to end so that `missing_bytes` come free; None if all candidates together do not suffice.

    In the order of the candidates, but only such as hold bytes where some are missing; of those picked, the ones that
    turn out not to be needed are spared again, the last first.
    """
    left = {device: need for device, need in missing_bytes.items() if need > 0}
    if any(held_bytes(candidates, device) < need for device, need in left.items()):
        return None
    picked: list[Candidate] = []
    for one in candidates:
        if not left or max(left.values()) <= 0:
            break
        if any(map(one.held_bytes.get, left)):
            picked.append(one)
            left = {device: need - one.held_bytes.get(device, 0) for device, need in left.items()}
    for one in reversed(picked.copy()):
        without = {device: need + one.held_bytes.get(device, 0) for device, need in left.items()}
        if max(without.values()) <= 0:
            left = without
            picked.remove(one)
    return tuple(one.worker.id for one in picked)


def spared(
    state: CoreState, whom: Beneficiary, chosen: Sequence[int], missing_bytes: Mapping[str, int]
) -> tuple[Rejected, ...]:
    """The next that would have gone, and why they did not, for the record of an eviction."""
    index = EvictionIndex(state, for_load=bool(whom.model))
    others = [one for one in index if one.worker.owner and one.worker.id not in chosen]
    last = max(one.rank for one in index if one.worker.id in chosen)
    told = [
        Rejected(
            f"evict {one.worker.name}",
            one.why_not or _why_others(state, whom, one, chosen, last, missing_bytes),
        )
        for one in islice(others, MOST_SPARED)
    ]
    if left := len(others) - len(told):
        told.append(Rejected(f"evict one of {left} more", "they would have gone later still"))
    return tuple(told)


def _why_others(
    state: CoreState,
    whom: Beneficiary,
    one: Candidate,
    chosen: Sequence[int],
    last: Rank,
    missing_bytes: Mapping[str, int],
) -> str:
    """Why others were chosen than one that could have gone as well."""
    if missing_bytes and not any(one.held_bytes.get(device) for device in missing_bytes):
        return f"holds nothing on {', '.join(missing_bytes)}"
    models = [owner.spec for victim in chosen if (owner := state.workers[victim].owner)]
    group = state.models[whom.model].spec.group if whom.model in state.models else ""
    if not missing_bytes and group and all(model.group == group for model in models):
        return f"is not of the group {group!r}"
    if models and one.rank.lasting and all(model.expendable for model in models):
        return "is not expendable"
    return "was used later" if one.rank > last else "was not needed: what goes suffices without it"
