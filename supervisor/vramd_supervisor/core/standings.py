"""What may be done about each process: sorted once whenever it changes, so that a look costs little. Pure."""

from bisect import bisect_left, insort
from enum import IntEnum
from typing import NamedTuple

from .policy import Candidate, Crowd


class Standing(IntEnum):
    """What may be done about a process."""

    SPARE = 0
    """It waits for a model: a load takes it, for others it is in the way."""
    COMING = 1
    """It is being loaded; may be ended once it has served those who wait for it."""
    COMING_KEPT = 2
    """The same for a model that is pinned or held."""
    IDLE = 3
    """May be ended now."""
    IDLE_RESIDENT = 4
    """May be ended now, but only by a load that takes its place: one of the last `keep_resident` that were used."""
    BUSY = 5
    """May be ended once it is idle, or sent away if something has waited too long for that."""
    BUSY_RESIDENT = 6
    """The same, but only by a load that takes its place."""
    KEPT = 7
    """It is ready, and pinned or held."""
    DRAINING = 8
    """It is on its way out as soon as it has served those whom it serves."""
    ENDING = 9
    """It was stopped, or is gone and its memory is not back yet."""


RESIDENTS = frozenset({Standing.IDLE_RESIDENT, Standing.BUSY_RESIDENT})


class Place(NamedTuple):
    """Where a process stands."""

    standing: Standing
    candidate: Candidate
    group: str
    """Of its model; one of a group may be there."""
    awaited: bool
    """Somebody waits for its first word."""


class Standings:
    """Every process in its crowd. Written by `holders.sort_anew` alone; the world says which have to be sorted anew."""

    def __init__(self, keep_resident: int) -> None:
        self.crowds = [Crowd() for _ in Standing]
        self.places: dict[int, Place] = {}
        self.groups: dict[str, dict[int, None]] = {}
        """The processes of each group."""
        self.awaited: set[int] = set()
        """Those whose first word somebody waits for."""
        self.stale: dict[int, None] = {}
        """Those to be sorted anew."""
        self._keep_resident = keep_resident
        self._ready: list[tuple[float, int]] = []
        """All that are ready, if some of them are to be kept: when last used, and which."""
        self._used_s: dict[int, float] = {}

    def use(self, worker_id: int, used_s: float | None) -> None:
        """When a ready process was last used; None if it is not ready. Who crosses the line by that becomes stale."""
        before_s = self._used_s.get(worker_id)
        if not self._keep_resident or before_s == used_s:
            return
        if before_s is not None:
            del self._ready[bisect_left(self._ready, (before_s, worker_id))]
            del self._used_s[worker_id]
        if used_s is not None:
            insort(self._ready, (used_s, worker_id))
            self._used_s[worker_id] = used_s
        line = len(self._ready) - self._keep_resident
        self.stale |= {other: None for _, other in self._ready[max(0, line - 1) : max(0, line + 1)]}

    def is_resident(self, worker_id: int) -> bool:
        """Whether it is one of the last `keep_resident` that were used."""
        used_s = self._used_s.get(worker_id)
        if used_s is None:
            return False
        return bisect_left(self._ready, (used_s, worker_id)) >= len(self._ready) - self._keep_resident

    def put(self, place: Place) -> None:
        """A process stands here from now on."""
        worker_id = place.candidate.worker_id
        self._take_out(worker_id)
        self.places[worker_id] = place
        self.crowds[place.standing].add(place.candidate)
        if place.group:
            self.groups.setdefault(place.group, {})[worker_id] = None
        if place.awaited:
            self.awaited.add(worker_id)

    def forget(self, worker_id: int) -> None:
        """A process and its memory are gone."""
        self.stale.pop(worker_id, None)
        self.use(worker_id, None)
        self._take_out(worker_id)

    def _take_out(self, worker_id: int) -> None:
        if before := self.places.pop(worker_id, None):
            self.crowds[before.standing].remove(before.candidate)
            self.awaited.discard(worker_id)
            if before.group:
                del self.groups[before.group][worker_id]
                if not self.groups[before.group]:
                    del self.groups[before.group]
