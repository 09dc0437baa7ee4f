"""Finds the devices of this machine and measures them: host RAM, NVIDIA cards, virtual ones. Decides nothing."""

import logging
from dataclasses import dataclass
from typing import Protocol

from ..core.config import Config
from ..core.device_view import HOST, DeviceKind, DeviceView, Sample
from .host_memory import HostProbe
from .nvml import Nvml, find_cards, load_nvml

_log = logging.getLogger(__name__)


class Probe(Protocol):
    """Measures one device. The calls take well under 10 ms and may be made from any one thread."""

    def sample(self) -> Sample:
        """What the device has and what is taken of it, by whomever. Raises DeviceLostError."""

    def process_bytes(self, pid: int) -> int | None:
        """Bytes that one process takes here; None where that cannot be known."""


class VirtualProbe:
    """A device that is nothing but a number of bytes; nobody else can use it."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes

    def sample(self) -> Sample:
        """Nothing is ever taken of it but what the ledger says."""
        return Sample(self._total_bytes, 0)

    def process_bytes(self, pid: int) -> int | None:  # noqa: ARG002  the same for all
        """Never known: nothing is there."""
        return None


@dataclass(frozen=True)
class Device:
    """A device of this machine."""

    id: str
    kind: DeviceKind
    name: str
    """As its maker calls it."""
    probe: Probe
    uuid: str = ""
    """Of a card."""
    unusable: str = ""
    """Why no model can be placed here, whatever llama.cpp was built for."""

    @property
    def view(self) -> DeviceView:
        """What a placement has to know."""
        return DeviceView(self.id, self.kind, self.unusable)


def find_devices(config: Config, nvml: Nvml | None = None) -> list[Device]:
    """NVIDIA cards, then virtual devices, then the host. Without a driver there are no cards, and that is no fault.

    `nvml` stands in for the binding; None loads it. A limit for a card that is not there is logged.
    """
    devices = []
    binding = nvml or load_nvml()
    for card in find_cards(binding) if binding else ():
        devices.append(Device(card.id, DeviceKind.NVIDIA, card.name, card, card.uuid, card.unusable()))
    for device, settings in config.devices.items():
        if settings.kind == "virtual":
            assert settings.total is not None
            devices.append(Device(device, DeviceKind.VIRTUAL, f"virtual {device}", VirtualProbe(settings.total)))
    devices.append(Device(HOST, DeviceKind.HOST, "RAM of this machine", HostProbe()))
    for missing in sorted(set(config.devices) - {device.id for device in devices}):
        _log.warning("the configuration has limits for %s, which is not there", missing)
    return devices
