"""Recognises models that evict each other again and again. Pure."""

from collections import deque
from dataclasses import dataclass
from typing import TypeVar

Pair = tuple[str, str]
"""Two models, in the order of their names."""
K = TypeVar("K")
T = TypeVar("T")

WINDOW_S = 120.0
"""Seconds for which loads and evictions count; the same two models are reported at most once within them."""
MOST_EVICTIONS = 4
"""Evictions of two models by each other, within the window, that are reported; that is two rounds of ping-pong."""


@dataclass(frozen=True)
class PingPong:
    """Two models that evict each other."""

    models: Pair
    loads_per_minute: float
    useful_share: float
    """Share of the time in which neither was being loaded."""


class Loads:
    """The last loads and evictions. Older ones are forgotten as new ones come."""

    def __init__(self) -> None:
        self._evictions: dict[Pair, deque[tuple[float, str]]] = {}
        """Evictions of two models by each other: when, and which of them."""
        self._loads: dict[str, deque[tuple[float, float]]] = {}
        """Loads of a model: when it was ready, after how many seconds."""
        self._oldest_evictions: deque[tuple[float, Pair]] = deque()
        self._oldest_loads: deque[tuple[float, str]] = deque()
        self._told_s: dict[Pair, float] = {}
        self._last: Pair | None = None

    def evicted(self, now_s: float, model: str, for_whom: str) -> None:
        """Takes in that a model is evicted for another."""
        self._last = pair = (min(model, for_whom), max(model, for_whom))
        self._evictions.setdefault(pair, deque()).append((now_s, model))
        self._oldest_evictions.append((now_s, pair))

    def loaded(self, now_s: float, model: str, load_s: float) -> None:
        """Takes in that a model is ready, after `load_s` seconds."""
        self._loads.setdefault(model, deque()).append((now_s, load_s))
        self._oldest_loads.append((now_s, model))

    def ping_pong(self, now_s: float) -> PingPong | None:
        """Two models that have just evicted each other too often; reported once in a window."""
        _forget(self._oldest_evictions, self._evictions, now_s - WINDOW_S)
        _forget(self._oldest_loads, self._loads, now_s - WINDOW_S)
        pair = self._last
        if pair is None:
            return None
        mutual = self._evictions.get(pair, deque())
        if len(mutual) < MOST_EVICTIONS or now_s < self._told_s.get(pair, -WINDOW_S) + WINDOW_S:
            return None
        if {model for _, model in mutual} != set(pair):
            return None
        self._told_s[pair] = now_s
        from_s = mutual[0][0]
        span_s = max(now_s - from_s, 1e-9)
        loads_s = [load_s for model in pair for at_s, load_s in self._loads.get(model, ()) if at_s >= from_s]
        return PingPong(pair, 60.0 * len(mutual) / span_s, max(0.0, 1.0 - sum(loads_s) / span_s))


def _forget(oldest: deque[tuple[float, K]], kept: dict[K, deque[tuple[float, T]]], before_s: float) -> None:
    while oldest and oldest[0][0] < before_s:
        _, key = oldest.popleft()
        kept[key].popleft()
        if not kept[key]:
            del kept[key]
