"""Measures the bytes of a process, and waits until they are free again."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from ..domain.device_view import DeviceLostError
from ..domain.receipt import Observed
from ..threads.serial_calls import NoAnswerError, SerialCalls
from .device import Device

log = logging.getLogger(__name__)

MEASURE_S = 1.0
"""Longest measurement of a process; one usually takes milliseconds."""
WATCH_S = 5.0
"""Longest look at a card; its probe gives up earlier."""
POLL_S = 0.02
STEADY_S = 0.5
RELEASE_S = 2.0
"""Longest wait for a release. Drivers take 0.5 to 1.5 s (observed by Ollama and Unsloth); later, memory is external."""

BY_ITSELF = "the process ended by itself, so nothing was measured just before"


def measure(devices: Sequence[Device], pid: int) -> dict[str, Observed]:
    """Measures a process on these devices. It takes milliseconds, so it must not run in the loop's thread."""
    return {device.id: device.backend.observe(device.probe, pid) for device in devices}


def measuring_calls(worker_id: int) -> SerialCalls:
    """Returns the thread for all measurements of one process, as the system may block the thread that asks."""
    return SerialCalls(f"the system, asked about worker {worker_id},", MEASURE_S)


async def measure_soon(calls: SerialCalls, devices: Sequence[Device], pid: int) -> dict[str, Observed]:
    """Measures a process, within a bound and without failing: nothing must wait for a driver or file that hangs."""
    try:
        return await calls.run(lambda: measure(devices, pid))
    except NoAnswerError as error:
        why = str(error)
    except Exception as error:  # a probe's fault must not keep a process alive
        log.exception("process %d could not be measured", pid)
        why = f"measuring failed: {error}"
    return {device.id: Observed(None, why) for device in devices}


async def settle(devices: Sequence[Device], pid: int, before: Mapping[str, Observed]) -> dict[str, Observed]:
    """Waits, within a bound, until cards no longer show a dead process. Returns the bytes that each device gave back.

    Host memory is back when the process is reaped. A card that reports no processes is watched until its used bytes
    have not fallen for `STEADY_S`. A card that does not answer is not watched.
    """
    cards = [device for device in devices if device.kind.is_card]
    calls = SerialCalls(f"the cards, asked about process {pid},", WATCH_S)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    least_bytes: dict[str, int] = {}
    fell_s = dict.fromkeys((card.id for card in cards), begun_s)
    while cards and loop.time() < begun_s + RELEASE_S:
        for card in cards.copy():
            try:
                held, used = await calls.run(partial(_look_at, card, pid))
            except NoAnswerError as error:
                log.warning("%s", error)
                held, used = None, None
            if held is None and used is not None:
                if used < least_bytes.get(card.id, used + 1):
                    least_bytes[card.id], fell_s[card.id] = used, loop.time()
                if loop.time() < fell_s[card.id] + STEADY_S:
                    continue
            if not held:
                cards.remove(card)
        if cards:
            # Drivers do not signal that memory is free, so they are polled.
            await asyncio.sleep(POLL_S)
    return {device.id: before.get(device.id, Observed(None, BY_ITSELF)) for device in devices}


def _look_at(card: Device, pid: int) -> tuple[int | None, int | None]:
    """Returns the bytes of a process on a card, and where the driver does not report those, all used bytes.

    On a lost card the process holds nothing.
    """
    try:
        held = card.probe.process_bytes(pid)
        return held, card.probe.sample().used_bytes if held is None else None
    except DeviceLostError:
        return 0, None
