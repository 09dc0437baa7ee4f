"""Looks at the devices again and again, and tells the core what they have and what others take of it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import psutil

from ..core.device_view import DeviceKind, Sample
from ..core.events import DeviceSampled
from ..core.ledger import Account
from ..core.view import taken_bytes
from ..loop import Loop
from .devices import Device

log = logging.getLogger(__name__)

PERIOD_S = 1.0


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
        self._lost: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(PERIOD_S)

    async def look(self) -> None:
        """Once, at every device."""
        pids = self._pids()
        for device in self._devices:
            try:
                sample, ours = await asyncio.to_thread(_sample, device, pids)
            except Exception as error:  # whatever a driver does, the others are looked at
                if device.id not in self._lost and not device.unusable:
                    log.error("%s gives no answer, nothing can be promised on it: %s", device.id, error)
                self._lost.add(device.id)
                sample, ours = Sample(0, 0), 0
            else:
                self._lost.discard(device.id)
            self._samples[device.id] = sample
            if ours is None:
                ours = taken_bytes(self._loop.core.world, device.id)
            external = max(0, sample.used_bytes - ours)
            self._loop.submit(DeviceSampled(self._loop.now_s(), device.id, sample.total_bytes, external))


def _sample(device: Device, pids: Sequence[int]) -> tuple[Sample, int | None]:
    """The device, and what our own processes take of it; None where the driver does not tell (containers, Windows)."""
    sample = device.probe.sample()
    match device.kind:
        case DeviceKind.VIRTUAL:
            return sample, 0
        case DeviceKind.NVIDIA:
            told = [size for pid in pids if (size := device.probe.process_bytes(pid)) is not None]
            return sample, sum(told) if told else None
        case DeviceKind.HOST:
            return sample, sum(_resident_bytes(pid) for pid in [*pids, psutil.Process().pid])


def _resident_bytes(pid: int) -> int:
    """Cheap enough for every second; what processes share is counted for each."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def first_account(sample: Sample, budget_bytes: int, headroom_bytes: int) -> Account:
    """A device's account before anything of ours runs: all that is used is others'."""
    return Account(sample.total_bytes, budget_bytes, headroom_bytes, sample.used_bytes)
