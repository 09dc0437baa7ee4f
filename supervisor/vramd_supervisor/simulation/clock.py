"""A clock that jumps from one thing to the next. Pure: what is due at one moment comes in the order it was set."""

import heapq
import math
from collections.abc import Callable
from functools import partial
from itertools import count


class VirtualClock:
    """Virtual seconds, and the calls to come."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._cancelled: set[int] = set()

    def at(self, at_s: float, call: Callable[[], object]) -> Callable[[], None]:
        """Schedules a call at a moment, now if that is past; returns how to cancel it."""
        order = next(self._order)
        heapq.heappush(self._agenda, (max(at_s, self.now_s), order, call))
        return partial(self._cancelled.add, order)

    def after(self, wait_s: float, call: Callable[[], object]) -> Callable[[], None]:
        """Schedules a call in some seconds; returns how to cancel it."""
        return self.at(self.now_s + wait_s, call)

    def step(self, until_s: float = math.inf) -> bool:
        """Moves to the next call and makes it; returns False if there is none until then."""
        while self._agenda and self._agenda[0][0] <= until_s:
            at_s, order, call = heapq.heappop(self._agenda)
            if order in self._cancelled:
                self._cancelled.remove(order)
                continue
            self.now_s = max(self.now_s, at_s)
            call()
            return True
        return False

    def run_until(self, until_s: float) -> None:
        """Makes all calls up to a moment, and stands there."""
        while self.step(until_s):
            pass
        self.now_s = until_s
