"""Looks at the devices again and again, and tells the core what they have and what others take of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from ..core.events import DeviceSampled
from ..core.ledger import Account
from ..domain.device_view import Sample
from ..loop import Loop
from ..threads.lane import Lane, NoThreadError
from .device import Device, Seen

log = logging.getLogger(__name__)

PERIOD_S = 1.0
LOOK_S = 5.0
"""For one device; the probe of a card gives up by itself."""


class Sampler:
    """Measures in a thread, tells in the loop."""

    def __init__(
        self, loop: Loop, devices: Sequence[Device], samples: dict[str, Sample], pids: Callable[[], list[int]]
    ):
        """`samples` is kept current for those who look; `pids` tells which processes are ours."""
        self._loop = loop
        self._devices = devices
        self._samples = samples
        self._pids = pids
        self._lanes = {device.id: Lane(device.id, LOOK_S) for device in devices}
        self._lost: set[str] = set()
        self._unasked: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Once, at every device."""
        pids = self._pids()
        ready = self._loop.core.ready_pids()
        for device in self._devices:
            try:
                look = partial(device.backend.look, device.probe, pids, ready)
                seen = await self._lanes[device.id].run(look)
            except NoThreadError as error:  # of ours: what was last seen holds
                if device.id not in self._unasked:
                    log.warning("what was last seen of a device holds: %s", error)
                self._unasked.add(device.id)
                continue
            except Exception as error:  # whatever a driver does, the others are looked at
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
    """A device's account before anything of ours runs: all that is used is others'."""
    return Account(sample.total_bytes, budget_bytes, headroom_bytes, sample.used_bytes)
