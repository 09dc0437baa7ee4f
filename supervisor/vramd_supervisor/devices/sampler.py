"""Measures the devices periodically, and reports their totals and external bytes to the core."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from ..core.events import DeviceSampled
from ..core.ledger import Account
from ..domain.device_view import Sample
from ..domain.exhaustion import exhausted
from ..loop import Loop
from ..threads.serial_calls import SerialCalls
from .device import Device, Seen

log = logging.getLogger(__name__)

PERIOD_S = 1.0
LOOK_S = 5.0
"""Longest look at one device; the probe of a card gives up earlier."""


class Sampler:
    """Measures devices in threads and submits the results to the loop."""

    def __init__(
        self, loop: Loop, devices: Sequence[Device], samples: dict[str, Sample], pids: Callable[[], list[int]]
    ):
        """Keeps `samples` current for readers; `pids` returns vramd's processes."""
        self._loop = loop
        self._devices = devices
        self._samples = samples
        self._pids = pids
        self._calls = {device.id: SerialCalls(device.id, LOOK_S) for device in devices}
        self._lost: set[str] = set()
        self._unasked: set[str] = set()

    async def run(self) -> None:
        """Samples until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        pids = self._pids()
        ready = self._loop.core.ready_pids()
        for device in self._devices:
            try:
                look = partial(device.backend.look, device.probe, pids, ready)
                seen = await self._calls[device.id].run(look)
            except Exception as error:  # whatever one driver does, the other devices are sampled
                if exhausted(error):  # a lack here, not there: the last sample holds
                    if device.id not in self._unasked:
                        log.warning("what was last seen of %s holds: %s", device.id, error)
                    self._unasked.add(device.id)
                    continue
                if device.id not in self._lost and not device.unusable:
                    log.error("%s gives no answer, nothing can be promised on it: %s", device.id, error)
                self._lost.add(device.id)
                seen = Seen(Sample(0, 0), 0, used_bytes=0)
            else:
                self._lost.discard(device.id)
                self._unasked.discard(device.id)
            self._samples[device.id] = seen.sample
            self._loop.submit(self._told(device, seen))

    def _told(self, device: Device, seen: Seen) -> DeviceSampled:
        sample, ours = seen.sample, seen.ours_bytes
        taken = self._loop.core.taken_bytes(device.id) if ours is None else ours
        return DeviceSampled(
            self._loop.now_s(),
            device.id,
            sample.total_bytes,
            max(0, sample.used_bytes - taken),
            seen.used_bytes,
            seen.spilled_bytes,
            attributed=ours is not None,
            taken_bytes=seen.taken_bytes,
        )


def first_account(sample: Sample, budget_bytes: int, headroom_bytes: int) -> Account:
    """Returns a device's account before any worker runs: all used bytes are external."""
    return Account(sample.total_bytes, budget_bytes, headroom_bytes, sample.used_bytes)
