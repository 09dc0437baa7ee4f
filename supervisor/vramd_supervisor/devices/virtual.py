"""Virtual devices: a configured number of bytes for simulated models."""

from collections.abc import Iterator, Sequence

from ..domain.config import Config
from ..domain.device_view import DeviceKind, Sample
from .device import Backend, Device, Seen
from .probe import Probe


class VirtualProbe(Probe):
    """A device that is nothing but a number of bytes; nobody else can use it."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes

    def sample(self) -> Sample:
        """Nothing is ever taken of it but what the ledger says."""
        return Sample(self._total_bytes, 0)

    def process_bytes(self, pid: int) -> int | None:  # noqa: ARG002  the same for all
        """Never known: nothing is there."""
        return None


class Virtual(Backend):
    """Only the ledger says what is taken."""

    kind = DeviceKind.VIRTUAL
    why_not_measured = "a virtual device has no bytes that could be measured"

    def look(self, probe: Probe, pids: Sequence[int], ready: Sequence[int]) -> Seen:  # noqa: ARG002  none has any
        """See `Backend`."""
        return Seen(probe.sample(), 0)


VIRTUAL = Virtual()


def find(config: Config) -> Iterator[Device]:
    """Those of the configuration."""
    for device, settings in config.devices.items():
        if settings.kind == "virtual":
            assert settings.total is not None
            yield Device(device, VIRTUAL, f"virtual {device}", VirtualProbe(settings.total))
