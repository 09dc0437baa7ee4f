"""Devices, as values. Pure: `devices` finds and measures them."""

from dataclasses import dataclass
from enum import Enum

from .config import Config, DeviceConfig, Headroom

HOST = "host"
"""Id of the device for this machine's RAM."""

CUDA_CONTEXT_BYTES = 320 << 20
"""Assumed size of a process's CUDA context until one was measured. Reported: 107 MiB (RTX 4060 Ti) to 555 MiB (RTX PRO
6000) in llama.cpp #23604, about 300 MiB in Ollama #12102."""


class DeviceKind(Enum):
    """The kind of a device, with the properties that placements and quotes depend on."""

    HOST = "host"
    NVIDIA = "nvidia", CUDA_CONTEXT_BYTES, True
    VIRTUAL = "virtual"
    BACKEND = "backend"
    """A card that llama.cpp uses through another backend than CUDA: ROCm, Vulkan, SYCL, Metal."""

    def __init__(self, word: str, context_bytes: int = 0, has_pool: bool = False) -> None:
        self.word = word
        """Name that clients see; a further llama.cpp backend is called "backend"."""
        self.is_card = word not in ("host", "virtual")
        self.context_bytes = context_bytes
        """Driver context of each process, until loads have shown its true size."""
        self.has_pool = has_pool
        """Whether computing needs ggml-cuda's pool beside the graph."""
        self.usual_headroom = Headroom() if word == "virtual" else Headroom(size_bytes=256 << 20, share=0.03)


@dataclass(frozen=True)
class DeviceView:
    """The part of a device that a placement needs."""

    id: str
    kind: DeviceKind
    unusable: str = ""
    """Reason why no model is placed here, and the remedy; empty if models are."""
    total_bytes: int = 0
    """Size that the driver shows; 0 where it is not known."""


@dataclass(frozen=True)
class Limits:
    """Limits on the bytes that vramd may promise on a device."""

    budget_bytes: int
    """Most bytes that are ever promised."""
    headroom_bytes: int
    """Bytes left free for other programs."""


def limits(config: Config, device: str, kind: DeviceKind, total_bytes: int) -> Limits:
    """Returns the configured limits of a device of this size, else the defaults."""
    own = config.devices.get(device, DeviceConfig())
    headroom = own.headroom or config.server.headroom
    if headroom is None:
        headroom = kind.usual_headroom
    headroom_bytes = min(headroom.of(total_bytes), total_bytes)
    most = total_bytes - headroom_bytes
    return Limits(most if own.budget is None else min(own.budget, total_bytes), headroom_bytes)


@dataclass(frozen=True)
class Sample:
    """A device at one moment."""

    total_bytes: int
    used_bytes: int
    """Bytes used by all programs together."""
    temperature_c: int | None = None
    """Temperature; None where it is not known."""
    utilisation_percent: int | None = None
    """Utilisation; None where it is not known."""


class DeviceLostError(Exception):
    """Raised when a device that was present no longer answers."""
