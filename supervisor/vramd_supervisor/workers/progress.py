"""Tells processes that hang from slow ones. Pure: its seconds are those in which the supervisor itself ran.

A worker's event loop says about once a second how far its threads are. So each way to hang shows by itself: a stopped
process, a blocked event loop or a native call that keeps Python's lock say nothing more; a thread that is stuck in a
step no longer moves, while the others may.
"""

from collections.abc import Iterable
from typing import NamedTuple

TICK_S = 0.5
"""Time between two looks."""
MOST_TICK_S = 2 * TICK_S
"""A longer one has no more weight: meanwhile the supervisor was stopped, or its own loop was blocked."""
PAUSE_S = 2.0
"""A worker that is silent for longer is not believed to be there."""
ANSWER_S = 5.0
"""Then a worker that is given work has this long to say something: it had nothing to do."""
STEPS = 20
"""A step may take as many times what it is expected to take: others may get the cores meanwhile."""
MOST_STEP_S = 1800.0
"""Bound of that, as it is the worker that says what it expects."""


class Limits(NamedTuple):
    """Seconds without progress after which a process hangs."""

    stall_s: float = 20.0
    load_stall_s: float = 60.0
    """Of the thread that loads."""


class Activity(NamedTuple):
    """The work of one thread of a worker, as it says itself."""

    name: str
    at_work: bool
    """Whether it has work that is due."""
    steps: int
    """Grows with all that it does."""
    step_s: float = 0.0
    """Seconds that its present step may take, judging by its last ones."""


class Stall(NamedTuple):
    """A process that hangs."""

    how: str
    """In words."""
    limit_s: float
    """Seconds that it had for some progress."""
    before: bool = False
    """It hung before it was given anything."""


class Uptime:
    """Counts the seconds in which the supervisor's loop ran."""

    def __init__(self, now_s: float) -> None:
        self.s = 0.0
        self._last_s = now_s

    def tick(self, now_s: float) -> float:
        """Returns the seconds so far. Called every TICK_S if the loop runs."""
        self.s += min(now_s - self._last_s, MOST_TICK_S)
        self._last_s = now_s
        return self.s


class Watch:
    """Watches one process, from its first sign of life. `now_s` is uptime."""

    def __init__(self, limits: Limits, now_s: float) -> None:
        self._limits = limits
        self._heard_s = now_s
        self._owes = False
        self._given_s: float | None = None
        """The moment it was given work after it had said nothing for a while; None once it said something."""
        self._moved: dict[str, tuple[Activity, float]] = {}
        """Threads at work by name, with the moment of their last progress."""

    def heard(self, activities: Iterable[Activity], now_s: float) -> None:
        """It has said what its threads do."""
        self._heard_s, self._given_s = now_s, None
        moved = {}
        for activity in activities:
            before, since_s = self._moved.get(activity.name, (None, now_s))
            if before is None or before.steps != activity.steps:
                since_s = now_s
            if activity.at_work:
                moved[activity.name] = (activity, since_s)
        self._moved = moved

    def owes(self, owes: bool, now_s: float) -> None:
        """Whether callers, or a load, wait for it at this moment."""
        if owes and not self._owes and now_s - self._heard_s > PAUSE_S:
            self._given_s = now_s
        if not owes:
            self._given_s = None
        self._owes = owes

    def stall(self, now_s: float) -> Stall | None:
        """Returns how it hangs; None if it does not, or if nothing waits for one that says nothing."""
        stall_s, load_stall_s = self._limits
        if self._given_s is not None:
            limit_s = min(ANSWER_S, stall_s)
            if now_s - self._given_s >= limit_s:
                return Stall("its process was silent before it was given work, and is", limit_s, before=True)
        elif self._owes and now_s - self._heard_s >= stall_s:
            return Stall(f"its process has shown no sign of life for {stall_s:g} s", stall_s)
        for activity, since_s in self._moved.values():
            limit_s = load_stall_s if activity.name == "load" else stall_s
            limit_s = max(limit_s, min(STEPS * activity.step_s, MOST_STEP_S))
            # While it is silent it may have moved.
            if self._heard_s - since_s >= limit_s:
                return Stall(f"its thread {activity.name!r} has made no progress for {limit_s:.0f} s", limit_s)
        return None
