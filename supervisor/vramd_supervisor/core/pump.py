"""Feeds events to a core one by one, has its actions carried out, and keeps its timers. Pure.

A supervisor, a simulation and the tests share it; they differ in the clock and in how actions are carried out.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from .actions import Action, CancelDeadline, CancelExpiry, Effect, SetTimer
from .events import DeadlinePassed, Event, ReservationExpired, Timed

Cancel = Callable[[], object]


class Pump:
    """The queue before a core, and the timers behind it."""

    def __init__(
        self,
        handle: Callable[[Event], Sequence[Action]],
        do: Callable[[Effect], object],
        at: Callable[[float, Callable[[], object]], Cancel],
    ) -> None:
        """`handle` is the core's, or a recorder's before it. `do` carries out what is no timer; it never waits.

        `at` schedules a call at a moment and returns how to cancel it.
        """
        self._handle = handle
        self._do = do
        self._at = at
        self._events: deque[Event] = deque()
        self._running = False
        self._timers: dict[Timed, tuple[Timed, Cancel]] = {}

    @property
    def timers(self) -> list[Timed]:
        """The timers that are set, the next one first."""
        return sorted((timer for timer, _ in self._timers.values()), key=lambda timer: timer.at_s)

    def is_set(self, timer: Timed) -> bool:
        """Whether a timer about the same is set, for whatever moment."""
        return _key(timer) in self._timers

    def submit(self, event: Event) -> None:
        """Takes an event in. If one is being handled, this one comes behind it, before the outer call returns."""
        self._events.append(event)
        if self._running:
            return
        self._running = True
        try:
            while self._events:
                for action in self._handle(self._events.popleft()):
                    self._carry_out(action)
        finally:
            self._running = False

    def _carry_out(self, action: Action) -> None:
        match action:
            case SetTimer(timer=timer):
                self._cancel(timer)
                self._timers[_key(timer)] = timer, self._at(timer.at_s, lambda: self._ring(timer))
            case CancelDeadline(request=request):
                self._cancel(DeadlinePassed(0.0, request))
            case CancelExpiry(reservation=reservation):
                self._cancel(ReservationExpired(0.0, reservation))
            case _:
                self._do(action)

    def _cancel(self, timer: Timed) -> None:
        if found := self._timers.pop(_key(timer), None):
            found[1]()

    def _ring(self, timer: Timed) -> None:
        del self._timers[_key(timer)]
        self.submit(timer)


def _key(timer: Timed) -> Timed:
    """Identifies a timer by what it is about, whenever it rings."""
    return replace(timer, at_s=0.0)
