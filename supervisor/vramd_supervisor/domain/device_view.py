"""What a device is, as values. Pure: `devices` finds and measures them."""

from dataclasses import dataclass
from enum import Enum

from .config import Config, DeviceConfig, Headroom

HOST = "host"
"""Id of the device that is this machine's RAM."""

CUDA_CONTEXT_BYTES = 320 << 20
"""A process's CUDA context before anything of it was measured. Reported: 107 MiB (RTX 4060 Ti) to 555 MiB (RTX PRO
6000) in llama.cpp #23604, about 300 MiB in Ollama #12102."""


class DeviceKind(Enum):
    """What gives a device its bytes, with what placements and quotes have to know of it."""

    HOST = "host"
    NVIDIA = "nvidia", CUDA_CONTEXT_BYTES, True
    VIRTUAL = "virtual"
    BACKEND = "backend"
    """A card that llama.cpp uses through another backend than CUDA: ROCm, Vulkan, SYCL, Metal."""

    def __init__(self, word: str, context_bytes: int = 0, has_pool: bool = False) -> None:
        self.word = word
        """As clients are told; a further backend of llama.cpp is told as "backend"."""
        self.is_card = word not in ("host", "virtual")
        self.context_bytes = context_bytes
        """Of a driver for each process, before loads have taught what it takes."""
        self.has_pool = has_pool
        """Beside the graph it computes in a pool of ggml-cuda's."""
        self.usual_headroom = Headroom() if word == "virtual" else Headroom(size_bytes=256 << 20, share=0.03)


@dataclass(frozen=True)
class DeviceView:
    """As much of a device as a placement has to know."""

    id: str
    kind: DeviceKind
    unusable: str = ""
    """Why no model is placed here, and what to do about it; empty if models are."""
    total_bytes: int = 0
    """As its driver shows; 0 where that is not known."""


@dataclass(frozen=True)
class Limits:
    """What vramd may promise of a device."""

    budget_bytes: int
    """At most, ever."""
    headroom_bytes: int
    """Left free for other programs."""


def limits(config: Config, device: str, kind: DeviceKind, total_bytes: int) -> Limits:
    """What the configuration says of a device of this size, else the defaults."""
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
    """By all programs together."""
    temperature_c: int | None = None
    """None where it cannot be known."""
    utilisation_percent: int | None = None
    """None where it cannot be known."""


class DeviceLostError(Exception):
    """A device that was there gives no answer any more."""
