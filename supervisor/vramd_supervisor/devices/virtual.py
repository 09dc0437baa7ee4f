"""Virtual devices: a configured number of bytes for simulated models."""

from collections.abc import Iterator, Sequence

from ..domain.config import Config
from ..domain.device_view import DeviceKind, Sample
from .device import Backend, Device, Seen
from .probe import Probe


class VirtualProbe(Probe):
    """Reports a virtual device: a number of bytes that only vramd uses."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes

    def sample(self) -> Sample:
        """Returns the total; only the ledger counts what is used."""
        return Sample(self._total_bytes, 0)

    def process_bytes(self, pid: int) -> int | None:  # noqa: ARG002  the same for all
        """Returns None: a virtual device holds no real bytes."""
        return None


class Virtual(Backend):
    """The backend for virtual devices, whose use only the ledger counts."""

    kind = DeviceKind.VIRTUAL
    why_not_measured = "a virtual device has no bytes that could be measured"

    def look(self, probe: Probe, pids: Sequence[int], ready: Sequence[int]) -> Seen:  # noqa: ARG002  none has any
        return Seen(probe.sample(), 0)


VIRTUAL = Virtual()


def find(config: Config) -> Iterator[Device]:
    """Yields the configured virtual devices."""
    for device, settings in config.devices.items():
        if settings.kind == "virtual":
            assert settings.total is not None
            yield Device(device, VIRTUAL, f"virtual {device}", VirtualProbe(settings.total))
