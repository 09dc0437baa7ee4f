"""Recognises models that drive each other out again and again. Pure."""

from collections import deque
from dataclasses import dataclass

WINDOW_S = 120.0
"""What is longer ago does not count, and the same two are not told of again within it."""
MOST_EVICTIONS = 4
"""Of two models by each other within the window; that is two rounds of ping-pong."""


@dataclass(frozen=True)
class PingPong:
    """Two models that drive each other out."""

    models: tuple[str, str]
    loads_per_minute: float
    useful_share: float
    """Of the time, the part in which neither was being loaded."""


class Loads:
    """The last loads, and who had to go for whom."""

    def __init__(self) -> None:
        self._evictions: deque[tuple[float, str, str]] = deque()
        self._loads: deque[tuple[float, str, float]] = deque()
        self._told_s: dict[tuple[str, str], float] = {}

    def evicted(self, now_s: float, model: str, for_whom: str) -> None:
        """A model has to go for another."""
        self._evictions.append((now_s, model, for_whom))

    def loaded(self, now_s: float, model: str, load_s: float) -> None:
        """A model is ready, after so many seconds."""
        self._loads.append((now_s, model, load_s))

    def ping_pong(self, now_s: float) -> PingPong | None:
        """Two models that have just become too much for each other; told once in a window."""
        for story in (self._evictions, self._loads):
            while story and story[0][0] < now_s - WINDOW_S:
                story.popleft()
        if not self._evictions:
            return None
        _, model, for_whom = self._evictions[-1]
        pair = (min(model, for_whom), max(model, for_whom))
        mutual = [(at_s, one) for at_s, one, other in self._evictions if {one, other} == set(pair)]
        both_ways = {one for _, one in mutual} == set(pair)
        if not both_ways or len(mutual) < MOST_EVICTIONS or now_s < self._told_s.get(pair, -WINDOW_S) + WINDOW_S:
            return None
        self._told_s[pair] = now_s
        span_s = max(now_s - mutual[0][0], 1e-9)
        loads = [load_s for at_s, one, load_s in self._loads if one in pair and at_s >= mutual[0][0]]
        return PingPong(pair, 60.0 * len(mutual) / span_s, max(0.0, 1.0 - sum(loads) / span_s))
