"""Listens to what worker processes say of themselves, and tells which of them hang. Runs in the event loop's thread."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from .oom_kills import OOM_KILLS
from .progress import TICK_S, Limits, Stall, Uptime, Watch
from .worker_client import WorkerClient


class _Watched(NamedTuple):
    client: WorkerClient
    watch: Watch


class Beats:
    """Those of all worker processes."""

    def __init__(self, limits: Limits, clock: Callable[[], float], on_stall: Callable[[int, Stall], object]) -> None:
        """`on_stall` is told once of each process that hangs, by its worker id."""
        self._limits = limits
        self._clock = clock
        self._on_stall = on_stall
        self._uptime = Uptime(clock())
        self._watched: dict[int, _Watched] = {}

    async def run(self) -> None:
        """Looks again and again whether a process hangs, and what the kernel has killed, until it is cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            OOM_KILLS.look(self._clock())
            now_s = self._uptime.tick(self._clock())
            for worker_id, (client, watch) in list(self._watched.items()):
                watch.owes(client.calls > 0, now_s)
                if stall := watch.stall(now_s):
                    del self._watched[worker_id]
                    self._on_stall(worker_id, stall)

    async def listen(self, worker_id: int, client: WorkerClient) -> None:
        """Listens to a process as long as its connection stands; if that breaks, the client tells."""
        watch = Watch(self._limits, self._uptime.s)
        self._watched[worker_id] = _Watched(client, watch)
        try:
            async for activities in client.beats():
                watch.heard(activities, self._uptime.s)
        finally:
            self._watched.pop(worker_id, None)
