"""Who has to go when something must come. Pure; only decides."""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from typing import NamedTuple


class Rank(NamedTuple):
    """When a process would go; the lower, the sooner."""

    busy: bool
    """It works for somebody, or somebody waits for it."""
    lasting: bool
    """It is not sacrificial."""
    since_s: float
    """The moment it was last used, or of a busy one the moment it was ready."""
    reload_s: float
    """What its last load took."""
    worker_id: int


class Candidate(NamedTuple):
    """A process that may be ended."""

    rank: Rank
    held_bytes: Mapping[str, int]
    """What ending it gives back, per device."""

    @property
    def worker_id(self) -> int:
        """Which process."""
        return self.rank.worker_id


class Crowd:
    """Processes of which the same may be done, with their sums, and in the order in which they would go.

    Every call takes the same time however many they are, but for the search in a sorted list (log n).
    """

    def __init__(self) -> None:
        self._members: dict[int, Candidate] = {}
        self.held_bytes: dict[str, int] = {}
        """By all of them, per device."""
        self._ranks: list[Rank] = []
        self._ranks_on: dict[str, list[Rank]] = {}
        """Of those that hold bytes on a device."""

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Candidate]:
        """In the order in which they would go."""
        return (self._members[rank.worker_id] for rank in self._ranks)

    def in_order(self, device: str) -> Iterator[Candidate]:
        """Those that hold bytes on a device."""
        return (self._members[rank.worker_id] for rank in self._ranks_on.get(device, ()))

    def add(self, one: Candidate) -> None:
        """One more; it must not be in here."""
        self._members[one.worker_id] = one
        insort(self._ranks, one.rank)
        for device, size in one.held_bytes.items():
            if size:
                self.held_bytes[device] = self.held_bytes.get(device, 0) + size
                insort(self._ranks_on.setdefault(device, []), one.rank)

    def remove(self, one: Candidate) -> None:
        """The same that was added. Raises KeyError if it is not in here."""
        del self._members[one.worker_id]
        del self._ranks[bisect_left(self._ranks, one.rank)]
        for device, size in one.held_bytes.items():
            if size:
                self.held_bytes[device] -= size
                ranks = self._ranks_on[device]
                del ranks[bisect_left(ranks, one.rank)]


def held_bytes(crowds: Sequence[Crowd], device: str) -> int:
    """What all of these hold on a device."""
    return sum([crowd.held_bytes.get(device, 0) for crowd in crowds])


def freed(free_bytes: Mapping[str, int], crowds: Sequence[Crowd]) -> dict[str, int]:
    """What is free of the same devices once all of these have given back what they hold."""
    after = dict(free_bytes)
    for crowd in crowds:
        for device, size in crowd.held_bytes.items():
            if device in after:
                after[device] += size
    return after


def victims(crowds: Sequence[Crowd], missing_bytes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The incarnations to end so that `missing_bytes` come free; None if all of them together do not suffice.

    In the order of their rank, but only such as hold bytes where some are missing; of those picked, the ones that turn
    out not to be needed are spared again, the youngest first.
    """
    for device, need in missing_bytes.items():
        if held_bytes(crowds, device) < need:
            return None
    left = {device: need for device, need in missing_bytes.items() if need > 0}
    picked: dict[int, Candidate] = {}
    for candidate in merge(*[crowd.in_order(device) for crowd in crowds if crowd for device in left]):
        if max(left.values()) <= 0:
            break
        if candidate.worker_id not in picked:  # it may hold bytes on several devices
            picked[candidate.worker_id] = candidate
            left = {device: need - candidate.held_bytes.get(device, 0) for device, need in left.items()}
    for candidate in reversed(list(picked.values())):
        without = {device: need + candidate.held_bytes.get(device, 0) for device, need in left.items()}
        if max(without.values()) <= 0:
            left = without
            del picked[candidate.worker_id]
    return tuple(picked)
