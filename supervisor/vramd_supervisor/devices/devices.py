"""Finds the devices of this machine and measures them: host RAM, cards, virtual ones. Decides nothing."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..domain.config import Config
from ..domain.device_view import HOST, DeviceKind, DeviceView, Sample
from .drm import DrmCard, Roots, find_drm_cards
from .host_memory import HostProbe
from .nvml import Card, Nvml, driver_version, find_cards, load_nvml
from .pdh import WddmProbe, open_counters
from .probe import BoundedProbe, Probe, VirtualProbe

_log = logging.getLogger(__name__)

SHARED = "it has no memory of its own: models go to the host's"
"""Said of a card whose pool is the host's, so that no byte of it is promised twice."""


class UnifiedProbe(Probe):
    """A card without memory of its own: its bytes are the host's, its processes are the driver's to tell."""

    def __init__(self, card: Card | DrmCard, host: Probe) -> None:
        self._card = card
        self._host = host

    def sample(self) -> Sample:
        """The host's totals, with what the card is doing."""
        host = self._host.sample()
        return Sample(host.total_bytes, host.used_bytes, self._card.temperature_c(), self._card.utilisation_percent())

    def process_bytes(self, pid: int) -> int | None:
        """What one process has through the card; None if the driver does not tell."""
        return self._card.process_bytes(pid)


@dataclass(frozen=True)
class Device:
    """A device of this machine."""

    id: str
    kind: DeviceKind
    name: str
    """As its maker calls it."""
    probe: Probe
    uuid: str = ""
    """Of a card by NVIDIA; of any other, what llama.cpp calls it (Vulkan0), once it has been asked."""
    unusable: str = ""
    """Why no model can be placed here, whatever llama.cpp was built for."""
    pci_id: str = ""
    """Of a card, as the system writes it: 0000:01:00.0."""
    driver: str = ""
    """Version of its driver, where that is known."""
    shares: str = ""
    """Id of the device whose memory it uses; empty if it has its own."""

    @property
    def pool(self) -> str:
        """Id of the device whose bytes are taken when something is placed here: one pool is one account."""
        return self.shares or self.id

    @property
    def view(self) -> DeviceView:
        """What a placement has to know."""
        return DeviceView(self.id, self.kind, self.unusable)


def find_devices(config: Config, nvml: Nvml | None = None, roots: Roots | None = None) -> list[Device]:
    """NVIDIA cards, AMD and Intel ones, virtual devices, then the host. Without a driver there are no cards: no fault.

    `nvml` stands in for the binding, None loads it; `roots` says where the system's files are.
    """
    binding = nvml or load_nvml()
    host = HostProbe()
    return [*(_nvidia(binding, host) if binding else ()), *_drm(roots, host), *without_cards(config, host)]


def without_cards(config: Config, host: Probe | None = None) -> list[Device]:
    """Those that no driver has to be asked for: virtual devices, then the host."""
    devices = []
    for device, settings in config.devices.items():
        if settings.kind == "virtual":
            assert settings.total is not None
            devices.append(Device(device, DeviceKind.VIRTUAL, f"virtual {device}", VirtualProbe(settings.total)))
    devices.append(Device(HOST, DeviceKind.HOST, "RAM of this machine", host or HostProbe()))
    return devices


class InWorker(NamedTuple):
    """Devices as a worker that uses them sees them."""

    names: tuple[str, ...]
    """As llama.cpp calls them there; none: the host."""
    environment: Mapping[str, str]
    """Variables that show it these and no others."""


def in_worker(devices: Sequence[Device]) -> InWorker:
    """How a worker sees the devices of one load, which are all of one kind."""
    if devices[0].kind is DeviceKind.NVIDIA:
        names = tuple(f"CUDA{at}" for at in range(len(devices)))
        return InWorker(names, {"CUDA_VISIBLE_DEVICES": ",".join(device.uuid for device in devices)})
    return InWorker(tuple(device.uuid for device in devices if device.kind is DeviceKind.BACKEND), {})


def warn_of_absent(config: Config, devices: Iterable[Device]) -> None:
    """Logs the devices that the configuration has limits for and that are not among all the devices there are."""
    for absent in sorted(set(config.devices) - {device.id for device in devices}):
        _log.warning("the configuration has limits for %s, which is not there", absent)


def _nvidia(binding: Nvml, host: Probe) -> Iterator[Device]:
    """Windows counts per process and not per card, so that its counters serve where there is one card only."""
    cards, driver = find_cards(binding), driver_version(binding)
    counters = open_counters() if len(cards) == 1 else None
    for card in cards:
        unified = card.unified
        probe: Probe = UnifiedProbe(card, host) if unified else card
        if counters:
            probe = WddmProbe(probe, counters)
        yield Device(
            card.id,
            DeviceKind.NVIDIA,
            card.name,
            BoundedProbe(card.id, probe),
            card.uuid,
            SHARED if unified else card.unusable(),
            card.pci_id,
            driver,
            HOST if unified else "",
        )


def _drm(roots: Roots | None, host: Probe) -> Iterator[Device]:
    for card in find_drm_cards(roots):
        yield Device(
            card.id,
            DeviceKind.BACKEND,
            card.name,
            BoundedProbe(card.id, UnifiedProbe(card, host) if card.unified else card),
            unusable=SHARED if card.unified else card.unusable(),
            pci_id=card.pci_id,
            shares=HOST if card.unified else "",
        )
