"""Looks at the devices again and again, and tells the core what they have and what others take of it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import psutil
from typing_extensions import assert_never

from ..core.events import DeviceSampled
from ..core.ledger import Account
from ..domain.device_view import DeviceKind, Sample
from ..loop import Loop
from ..threads.lane import Lane, NoThreadError
from .devices import Device

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
                look = partial(_sample, device, pids, ready)
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
                seen = _Seen(Sample(0, 0), 0, 0)
            else:
                self._lost.discard(device.id)
                self._unasked.discard(device.id)
            self._samples[device.id] = seen.sample
            self._loop.submit(self._told(device, seen))

    def _told(self, device: Device, seen: "_Seen") -> DeviceSampled:
        sample, ours = seen.sample, seen.ours_bytes
        taken = self._loop.core.taken_bytes(device.id) if ours is None else ours
        return DeviceSampled(
            self._loop.now_s(),
            device.id,
            sample.total_bytes,
            max(0, sample.used_bytes - taken),
            None if device.kind is DeviceKind.VIRTUAL else sample.used_bytes,
            seen.spilled_bytes,
            attributed=ours is not None,
            taken_bytes=seen.taken_bytes,
        )


class _Seen(NamedTuple):
    """A device, and what our own processes take of it."""

    sample: Sample
    ours_bytes: int | None
    """None where the driver does not tell."""
    spilled_bytes: int
    """What of that was moved to the host's memory."""
    taken_bytes: Mapping[int, int] = MappingProxyType({})
    """Of each of them alone."""


def _sample(device: Device, pids: Sequence[int], ready: Sequence[int]) -> _Seen:
    """Looks at a device.

    What our processes take is None where the driver does not tell (containers, Windows). They are asked about first:
    what one takes in between then counts as others', which is the safe side. What a load moves on purpose is no spill.
    """
    match device.kind:
        case DeviceKind.VIRTUAL:
            return _Seen(device.probe.sample(), 0, 0)
        case DeviceKind.NVIDIA | DeviceKind.BACKEND:
            told = {pid: size for pid in pids if (size := device.probe.process_bytes(pid)) is not None}
            ours = sum(told.values()) if told or not pids else None
            return _Seen(device.probe.sample(), ours, device.probe.spilled_bytes(ready), told)
        case DeviceKind.HOST:
            resident = {pid: _resident_bytes(pid) for pid in [*pids, psutil.Process().pid]}
            ours = sum(size.resident for size in resident.values())
            return _Seen(device.probe.sample(), ours, 0, {pid: size.own for pid, size in resident.items()})
        case _:
            assert_never(device.kind)


class _Resident(NamedTuple):
    resident: int
    own: int
    """Without what it may share with others, where the system tells: libraries."""


def _resident_bytes(pid: int) -> _Resident:
    """Cheap enough for every second; what processes share is counted for each."""
    with contextlib.suppress(psutil.Error):
        memory = psutil.Process(pid).memory_info()
        return _Resident(int(memory.rss), int(memory.rss - getattr(memory, "shared", 0)))
    return _Resident(0, 0)


def first_account(sample: Sample, budget_bytes: int, headroom_bytes: int) -> Account:
    """A device's account before anything of ours runs: all that is used is others'."""
    return Account(sample.total_bytes, budget_bytes, headroom_bytes, sample.used_bytes)
