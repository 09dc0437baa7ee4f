"""The event loop's clock: time in which this process did not run is not counted, and it tells how late the loop is.

A suspended machine, a stopped process or a jump of the system's monotonic clock would else end what waits for a moment:
streams, loads, holds. All that the event loop times goes through here; gRPC's own deadlines, which are the callers', do
not.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

PERIOD_S = 0.5
JUMP_S = 5.0
"""The clock is read at least every `PERIOD_S`; a longer pause than this one was no work of the loop's."""
LAG_KEPT_S = 60.0


class SteadyClock:
    """Seconds that never go back and never jump ahead."""

    def __init__(self, raw_s: Callable[[], float]) -> None:
        """`raw_s` is the system's monotonic clock."""
        self._raw_s = raw_s
        self._read_s = raw_s()
        self._left_out_s = 0.0
        self._lags: deque[tuple[float, float]] = deque()
        """When the loop was how late."""

    def now_s(self) -> float:
        """Reads the clock."""
        raw_s = self._raw_s()
        passed_s, self._read_s = raw_s - self._read_s, raw_s
        if passed_s < 0:
            self._left_out_s += passed_s
        elif passed_s > JUMP_S:
            self._left_out_s += passed_s - PERIOD_S
        return raw_s - self._left_out_s

    @property
    def lag_s(self) -> float:
        """The latest that the loop has been within the last minute."""
        return max((late_s for _, late_s in self._lags), default=0.0)

    def looked(self, late_s: float) -> None:
        """The loop came back this much later than it should have."""
        now_s = self.now_s()
        self._lags.append((now_s, late_s))
        while self._lags[0][0] < now_s - LAG_KEPT_S:
            self._lags.popleft()

    async def watch(self) -> None:
        """Reads the clock periodically, until it is cancelled."""
        while True:
            began_s, left_out_s = self._raw_s(), self._left_out_s
            await asyncio.sleep(PERIOD_S)
            self.looked(max(0.0, self._raw_s() - began_s - PERIOD_S))
            if jump_s := self._left_out_s - left_out_s:
                log.warning("this process did not run, or the system's clock jumped: %.1f s are not counted", jump_s)


def install(event_loop: asyncio.AbstractEventLoop) -> SteadyClock:
    """Has an event loop that has timed nothing yet go by a steady clock."""
    clock = SteadyClock(event_loop.time)
    event_loop.time = clock.now_s  # type: ignore[method-assign]
    return clock
