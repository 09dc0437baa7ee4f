"""Devices as the shell sees them, and backends: the differences between kinds of devices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol

from ..domain.device_view import DeviceKind, DeviceView, Sample
from ..domain.receipt import Observed
from .probe import Probe

SHARED = "it has no memory of its own: models go to the host's"
"""Reason shown for a card that uses the host's memory, so that no byte is promised twice."""


class Seen(NamedTuple):
    """A device at one moment, with the bytes that vramd's processes take."""

    sample: Sample
    ours_bytes: int | None
    """Bytes of vramd's processes; None where the driver does not report them."""
    spilled_bytes: int = 0
    """Bytes of vramd's processes that were moved to host memory."""
    taken_bytes: Mapping[int, int] = MappingProxyType({})
    """Bytes of each of these processes."""
    used_bytes: int | None = None
    """Bytes used by all programs; None where only vramd can use the device."""


class Backend:
    """The behaviour of one kind of devices. The base is a card that llama.cpp and a driver know.

    A further backend needs a file with a subclass and a function that finds its devices, a row in `DeviceKind`, and a
    call in `devices.find_devices`.
    """

    kind: ClassVar[DeviceKind]
    how_measured = "what the driver showed for the process just before the stop"
    why_not_measured = "the driver does not tell what the process held"

    def observe(self, probe: Probe, pid: int) -> Observed:
        """Measures a process, and says how."""
        size = probe.process_bytes(pid)
        return Observed(size, self.why_not_measured if size is None else self.how_measured)

    def names(self, devices: "Sequence[Device]") -> tuple[str, ...]:
        """Returns llama.cpp's names for the devices of a load, in the worker that uses them."""
        return tuple(device.uuid for device in devices)

    def helper_names(self, devices: "Sequence[Device]") -> tuple[str, ...]:
        """Returns llama.cpp's names for the devices in the quote helper."""
        return self.names(devices)

    def environment(self, devices: "Sequence[Device]") -> Mapping[str, str]:  # noqa: ARG002  most need none
        """Returns the variables that show a worker these devices and no others."""
        return {}

    def why_unusable(self, device: "Device", libraries: Sequence[str] | None) -> str:  # noqa: ARG002  as above
        """Says why no model is placed on a device; empty if models are.

        `libraries` are the backends that llama.cpp was built with ("cuda", …); None if they are not known yet.
        """
        return device.unusable

    def look(self, probe: Probe, pids: Sequence[int], ready: Sequence[int]) -> Seen:
        """Measures a device, and the bytes that vramd's processes take of it.

        Those are None where the driver does not report them (containers, Windows). They are measured first, so growth
        in between counts as external, which is the safe side. Memory that a load moves on purpose is no spill.
        """
        told = {pid: size for pid in pids if (size := probe.process_bytes(pid)) is not None}
        ours = sum(told.values()) if told or not pids else None
        sample = probe.sample()
        return Seen(sample, ours, probe.spilled_bytes(ready), told, sample.used_bytes)


class Card(Probe, Protocol):
    """A card that may share the host's memory."""

    def temperature_c(self) -> int | None: ...
    def utilisation_percent(self) -> int | None: ...


class UnifiedProbe(Probe):
    """Measures a card that shares the host's memory: bytes of the host, processes by the card's driver."""

    def __init__(self, card: Card, host: Probe) -> None:
        self._card = card
        self._host = host

    def sample(self) -> Sample:
        """Returns the host's totals, with the card's temperature and utilisation."""
        host = self._host.sample()
        return Sample(host.total_bytes, host.used_bytes, self._card.temperature_c(), self._card.utilisation_percent())

    def process_bytes(self, pid: int) -> int | None:
        """Returns the bytes of one process through the card; None if the driver does not report them."""
        return self._card.process_bytes(pid)


@dataclass(frozen=True)
class Device:
    """A device of this machine."""

    id: str
    backend: Backend
    name: str
    """Name given by its maker."""
    probe: Probe
    uuid: str = ""
    """UUID of an NVIDIA card; for any other, its name in llama.cpp (Vulkan0), once that is known."""
    unusable: str = ""
    """Reason why no model can be placed here, whichever backends llama.cpp has."""
    pci_id: str = ""
    """PCI address of a card, as the system writes it: 0000:01:00.0."""
    driver: str = ""
    """Version of its driver, if known."""
    shares: str = ""
    """Id of the device whose memory it uses; empty if it uses none."""

    @property
    def kind(self) -> DeviceKind:
        return self.backend.kind

    @property
    def pool(self) -> str:
        """Id of the device whose bytes are used by what is placed here: one pool is one account."""
        return self.shares or self.id

    @property
    def view(self) -> DeviceView:
        return DeviceView(self.id, self.kind, self.unusable)
