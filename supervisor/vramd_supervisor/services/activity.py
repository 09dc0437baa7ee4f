"""Knows whether callers use this supervisor: the calls that are in progress, and when the last one ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Activity:
    """Counts the calls with a token; a probe of health is none."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """`now_s` returns monotonic seconds."""
        self._now_s = now_s
        self._calls = 0
        self._last_s = now_s()

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call is in progress within the block."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            self._last_s = self._now_s()

    @property
    def idle_s(self) -> float:
        """Seconds since the last call ended, or since the start; 0 while there is one."""
        return 0.0 if self._calls else self._now_s() - self._last_s
