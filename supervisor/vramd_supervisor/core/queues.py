"""The queues: requests of one model, and all that waits for room on the devices. Pure.

Both serve by priority, first come first served within one, and ageing between them. Every call takes the same time
however many wait: within a priority the oldest is first, so only the first of each have to be compared.
"""

from collections.abc import Collection, Iterator
from typing import Generic, Protocol, TypeVar

from ..domain.config import Priority


class Waits(Protocol):
    @property
    def order(self) -> int:
        """A number that nothing else in the queue has, the higher the later it came."""

    @property
    def priority(self) -> Priority:
        """Must not change while it waits."""

    @property
    def since_s(self) -> float:
        """The moment it came."""


T = TypeVar("T", bound=Waits)


class PriorityQueue(Generic[T]):
    """One queue. `age_s` is how long something has to wait to become as urgent as the priority above its own."""

    def __init__(self, age_s: float) -> None:
        self._age_s = age_s
        self._by_priority: dict[Priority, dict[int, T]] = {priority: {} for priority in Priority}
        self._ahead: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._ahead) + sum(map(len, self._by_priority.values()))

    def __contains__(self, order: object) -> bool:
        return order in self._ahead or any(order in queue for queue in self._by_priority.values())

    def __iter__(self) -> Iterator[T]:
        """In the order in which they would be served if none aged further."""
        yield from self._ahead.values()
        queues = [iter(queue.values()) for queue in self._by_priority.values()]
        heads = [next(queue, None) for queue in queues]
        while found := min((head for head in heads if head), key=self.key, default=None):
            place = heads.index(found)
            yield found
            heads[place] = next(queues[place], None)

    def key(self, one: T) -> tuple[float, int]:
        """The lower, the sooner; comparable between queues of the same ageing."""
        # Waiting lowers the key of all at the same pace, so that their order never depends on the present moment.
        return int(one.priority) * self._age_s + one.since_s, one.order

    def first(self) -> T:
        """The next to be served. Raises ValueError if nothing waits."""
        if self._ahead:
            return next(iter(self._ahead.values()))
        heads = [next(iter(queue.values())) for queue in self._by_priority.values() if queue]
        return heads[0] if len(heads) == 1 else min(heads, key=self.key)

    def add(self, one: T) -> None:
        """Adds to the end of its priority."""
        self._by_priority[one.priority][one.order] = one

    def add_ahead(self, one: T) -> None:
        """Adds before all others whatever their priority, and behind those that were added so before."""
        self._ahead[one.order] = one

    def remove(self, order: int) -> T | None:
        """None if it was not in here."""
        for queue in (self._ahead, *self._by_priority.values()):
            if one := queue.pop(order, None):
                return one
        return None


class AdmissionQueue(Generic[T]):
    """What waits for room, in one queue for each set of devices.

    Of those that want the same devices only the first can have its room next, and what waits for a device is not
    overtaken there: so the others need not be looked at.
    """

    def __init__(self, age_s: float) -> None:
        """`age_s`: as in PriorityQueue."""
        self._age_s = age_s
        self._queues: dict[frozenset[str], PriorityQueue[T]] = {}
        self._places: dict[int, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, one: T) -> bool:
        return one.order in self._places

    def add(self, one: T, devices: Collection[str]) -> None:
        """Lets something wait for these devices."""
        where = self._places[one.order] = frozenset(devices)
        self._queues.setdefault(where, PriorityQueue(self._age_s)).add(one)

    def remove(self, one: T) -> None:
        where = self._places.pop(one.order, None)
        if where is not None:
            self._queues[where].remove(one.order)
            if not self._queues[where]:
                del self._queues[where]

    def first(self, taken: Collection[str]) -> T | None:
        """The next of those that want none of the devices that are taken."""
        free = [queue for devices, queue in self._queues.items() if devices.isdisjoint(taken)]
        heads = [queue.first() for queue in free]
        return min(heads, key=free[0].key) if len(heads) > 1 else heads[0] if heads else None
