"""Tells the core periodically what other programs take of the CPU."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from ..core.events import CpuSampled
from ..loop import Loop
from ..threads.serial_calls import SerialCalls
from .cpu_time import CpuReading, read_cpu

log = logging.getLogger(__name__)

PERIOD_S = 0.5
_READ_S = 5.0
"""Longest time for one reading."""
_LEAST_S = 0.2
"""Least time between two readings that are compared: the system counts in steps of a hundredth of a second."""


class CpuSampler:
    def __init__(
        self,
        loop: Loop,
        pids: Callable[[], list[int]],
        read: Callable[[Sequence[int]], CpuReading] = read_cpu,
    ) -> None:
        """`pids` returns vramd's processes, without this one."""
        self._loop = loop
        self._pids = pids
        self._read = read
        self._calls = SerialCalls("the system's CPU time", _READ_S)
        self._before: CpuReading | None = None
        self._unread = False

    async def run(self) -> None:
        """Samples until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Reads once, and tells the core what came of it. Without an answer, what was last seen holds."""
        try:
            now = await self._calls.run(partial(self._read, self._pids()))
        except Exception as error:  # whatever the system does, models are served
            if not self._unread:
                log.warning("CPU threads do not follow what other programs take: %s", error)
            self._unread = True
            return
        self._unread = False
        before = self._before
        if before is not None and now.at_s - before.at_s < _LEAST_S:
            return
        self._before = now
        foreign_cores = None if before is None else now.foreign_cores(before)
        if foreign_cores is not None:
            self._loop.submit(CpuSampled(self._loop.now_s(), now.cores, foreign_cores))
