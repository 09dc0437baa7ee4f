"""What a device is to the shell, and what a backend is: all that devices of different kinds differ in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol

from ..domain.device_view import DeviceKind, DeviceView, Sample
from .probe import Probe

SHARED = "it has no memory of its own: models go to the host's"
"""Said of a card whose pool is the host's, so that no byte of it is promised twice."""


class Seen(NamedTuple):
    """A device at one moment, and what our own processes take of it."""

    sample: Sample
    ours_bytes: int | None
    """None where the driver does not tell."""
    spilled_bytes: int = 0
    """The part of that which was moved to the host's memory."""
    taken_bytes: Mapping[int, int] = MappingProxyType({})
    """Of each of them alone."""
    used_bytes: int | None = None
    """By all programs; None where only ours can be there."""


class Backend:
    """The devices of one kind. The base is a card that llama.cpp and a driver know; the others say what differs.

    A further backend is a file with a subclass and a function that finds its devices, its row in `DeviceKind`, and its
    place in `devices.find_devices`.
    """

    kind: ClassVar[DeviceKind]
    how_measured = "what the driver showed for the process just before the stop"
    why_not_measured = "the driver does not tell what the process held"

    def names(self, devices: "Sequence[Device]") -> tuple[str, ...]:
        """Names the devices of a load as llama.cpp does in the worker that uses them."""
        return tuple(device.uuid for device in devices)

    def helper_names(self, devices: "Sequence[Device]") -> tuple[str, ...]:
        """Names them as llama.cpp does in the quote helper."""
        return self.names(devices)

    def environment(self, devices: "Sequence[Device]") -> Mapping[str, str]:  # noqa: ARG002  most need none
        """Returns the variables that show a worker these devices and no others."""
        return {}

    def why_unusable(self, device: "Device", libraries: Sequence[str] | None) -> str:  # noqa: ARG002  as above
        """Says why no model is placed on a device; empty if models are.

        `libraries` are those that llama.cpp was built for ("cuda", …); None: not known yet.
        """
        return device.unusable

    def look(self, probe: Probe, pids: Sequence[int], ready: Sequence[int]) -> Seen:
        """Measures a device, and what our processes take of it.

        That is None where the driver does not tell (containers, Windows). They are asked about first: what one takes
        in between then counts as others', which is the safe side. What a load moves on purpose is no spill.
        """
        told = {pid: size for pid in pids if (size := probe.process_bytes(pid)) is not None}
        ours = sum(told.values()) if told or not pids else None
        sample = probe.sample()
        return Seen(sample, ours, probe.spilled_bytes(ready), told, sample.used_bytes)


class Card(Probe, Protocol):
    """A card that may have no memory of its own."""

    def temperature_c(self) -> int | None: ...  # noqa: D102
    def utilisation_percent(self) -> int | None: ...  # noqa: D102


class UnifiedProbe(Probe):
    """A card without memory of its own: its bytes are the host's, its processes are the driver's to tell."""

    def __init__(self, card: Card, host: Probe) -> None:
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
    backend: Backend
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
    def kind(self) -> DeviceKind:
        """What gives it its bytes."""
        return self.backend.kind

    @property
    def pool(self) -> str:
        """Id of the device whose bytes are taken when something is placed here: one pool is one account."""
        return self.shares or self.id

    @property
    def view(self) -> DeviceView:
        """What a placement has to know."""
        return DeviceView(self.id, self.kind, self.unusable)
