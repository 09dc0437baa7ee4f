"""A clock that jumps from one thing to the next. Pure: what is due at the same moment comes in the order it was set."""

import heapq
from collections.abc import Callable
from itertools import count


class VirtualClock:
    """Virtual seconds, and what is to be done when."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._dropped: set[int] = set()

    def at(self, at_s: float, do: Callable[[], object]) -> int:
        """Has something done at a moment, now if that is past; returns what `drop` takes."""
        order = next(self._order)
        heapq.heappush(self._agenda, (max(at_s, self.now_s), order, do))
        return order

    def after(self, wait_s: float, do: Callable[[], object]) -> int:
        """The same, from now."""
        return self.at(self.now_s + wait_s, do)

    def drop(self, order: int) -> None:
        """Forgets something that has not been done yet."""
        self._dropped.add(order)

    def step(self) -> bool:
        """Does the next thing at its moment; False if there is none."""
        while self._agenda:
            at_s, order, do = heapq.heappop(self._agenda)
            if order in self._dropped:
                self._dropped.remove(order)
                continue
            self.now_s = at_s
            do()
            return True
        return False
