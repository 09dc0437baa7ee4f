"""NVIDIA cards as a backend: found by NVML, used through CUDA."""

from collections.abc import Iterator, Mapping, Sequence

from ..domain.device_view import HOST, DeviceKind
from .device import SHARED, Backend, Device, UnifiedProbe
from .nvml import Nvml, driver_version, find_cards
from .pdh import WddmProbe, open_counters
from .probe import BoundedProbe, Probe

NO_CUDA = (
    "llama.cpp here was built without CUDA; install the build for it: "
    "pip install --force-reinstall --no-deps --only-binary :all: 'llama-cpp-python>=0.3.36,<0.4' "
    "--extra-index-url https://abetlen.github.io/llama-cpp-python/whl/cu124"
)


class Nvidia(Backend):
    """NVIDIA cards; CUDA numbers them in the order of their UUIDs in CUDA_VISIBLE_DEVICES."""

    kind = DeviceKind.NVIDIA

    def names(self, devices: Sequence[Device]) -> tuple[str, ...]:
        return tuple(f"CUDA{at}" for at in range(len(devices)))

    def helper_names(self, devices: Sequence[object]) -> tuple[str, ...]:
        """See `Backend`. The helper sees virtual cards only, as CUDA takes memory of a real one just for a query."""
        return tuple(f"VRAMD{at}" for at in range(len(devices)))

    def environment(self, devices: Sequence[Device]) -> Mapping[str, str]:
        return {"CUDA_VISIBLE_DEVICES": ",".join(device.uuid for device in devices)}

    def why_unusable(self, device: Device, libraries: Sequence[str] | None) -> str:
        return NO_CUDA if libraries is not None and "cuda" not in libraries else device.unusable


NVIDIA = Nvidia()


def find(binding: Nvml, host: Probe) -> Iterator[Device]:
    """Yields NVIDIA cards. Windows counts per process, not per card, so its counters serve with a single card only."""
    cards, driver = find_cards(binding), driver_version(binding)
    counters = open_counters() if len(cards) == 1 else None
    for card in cards:
        unified = card.unified
        probe: Probe = UnifiedProbe(card, host) if unified else card
        if counters:
            probe = WddmProbe(probe, counters)
        yield Device(
            card.id,
            NVIDIA,
            card.name,
            BoundedProbe(card.id, probe),
            card.uuid,
            SHARED if unified else card.unusable(),
            card.pci_id,
            driver,
            HOST if unified else "",
        )
