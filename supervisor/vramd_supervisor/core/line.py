"""Who waits, in the order of being served: by priority, first come first served within one, and ageing between them.

Pure. Every call takes the same time however many wait: within a priority the oldest stands first, so only the first of
each have to be compared.
"""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from ..domain.config import Priority


class Waits(Protocol):
    """What stands in a line."""

    @property
    def order(self) -> int:
        """A number of its own, the higher the later it came."""

    @property
    def priority(self) -> Priority:
        """Must not change while it waits."""

    @property
    def since_s(self) -> float:
        """The moment it came."""


T = TypeVar("T", bound=Waits)


class PriorityQueue(Generic[T]):
    """One line. `age_s` is how long something has to wait to become as urgent as what is one priority above it."""

    def __init__(self, age_s: float) -> None:
        self._age_s = age_s
        self._lanes: dict[Priority, dict[int, T]] = {priority: {} for priority in Priority}
        self._ahead: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._ahead) + sum(map(len, self._lanes.values()))

    def __contains__(self, order: object) -> bool:
        return order in self._ahead or any(order in lane for lane in self._lanes.values())

    def __iter__(self) -> Iterator[T]:
        """In the order in which they would be served if none aged further."""
        yield from self._ahead.values()
        lanes = [iter(lane.values()) for lane in self._lanes.values()]
        heads = [next(lane, None) for lane in lanes]
        while found := min((head for head in heads if head), key=self.key, default=None):
            place = heads.index(found)
            yield found
            heads[place] = next(lanes[place], None)

    def key(self, one: T) -> tuple[float, int]:
        """The lower, the sooner; comparable over lines of the same ageing."""
        # Waiting lowers the key of all at the same pace, so that their order never depends on the present moment.
        return int(one.priority) * self._age_s + one.since_s, one.order

    def first(self) -> T:
        """Who is next. Raises ValueError if nobody waits."""
        if self._ahead:
            return next(iter(self._ahead.values()))
        return min((next(iter(lane.values())) for lane in self._lanes.values() if lane), key=self.key)

    def add(self, one: T) -> None:
        """To the end of its priority."""
        self._lanes[one.priority][one.order] = one

    def add_ahead(self, one: T) -> None:
        """Before everybody, whatever their priority; the last one to come so stands last of these."""
        self._ahead[one.order] = one

    def remove(self, order: int) -> T | None:
        """None if it was not in here."""
        for lane in (self._ahead, *self._lanes.values()):
            if one := lane.pop(order, None):
                return one
        return None
