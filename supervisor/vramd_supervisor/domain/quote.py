"""What a load will need: bytes by device and kind, and how well they are known. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import TypeAlias

from vramd_common.load_settings import Settings

from .catalog import Problem


@dataclass(frozen=True)
class DeviceBytes:
    """Bytes of one load on one device, by kind."""

    weights_bytes: int = 0
    context_bytes: int = 0
    """KV cache and recurrent state."""
    compute_bytes: int = 0
    """Scratch of the graph, and the logits."""
    process_bytes: int = 0
    """What a worker takes before any model is there."""

    @property
    def engine_bytes(self) -> int:
        """What llama.cpp allocates."""
        return self.weights_bytes + self.context_bytes + self.compute_bytes

    @property
    def total_bytes(self) -> int:
        """Over all kinds."""
        return self.engine_bytes + self.process_bytes

    def plus(self, other: "DeviceBytes") -> "DeviceBytes":
        """Both together."""
        return DeviceBytes(
            self.weights_bytes + other.weights_bytes,
            self.context_bytes + other.context_bytes,
            self.compute_bytes + other.compute_bytes,
            self.process_bytes + other.process_bytes,
        )


class Source(Enum):
    """Where a quote comes from."""

    DECLARED = "declared"
    """The configuration of a simulated model says so."""
    CLOSED_FORM = "closed_form"
    """Formulas over the file's header."""
    DRY_RUN = "dry_run"
    """llama.cpp's own allocator, asked without allocating."""
    LEARNED = "learned"
    """What the same load took before."""
    FILE_SIZE = "file_size"
    """The header tells too little: bytes of the file and a guess."""


class Confidence(Enum):
    """How near a quote is to the truth."""

    EXACT = "exact"
    CLOSE = "close"
    """Weights and KV cache exact, compute within some per cent."""
    ROUGH = "rough"


@dataclass(frozen=True)
class Quote:
    """Bytes that a load will need on each device it touches."""

    devices: Mapping[str, DeviceBytes]
    confidence: Confidence
    source: Source
    seconds: float = 0.0
    """That it took to find out."""
    key: str = ""
    """Under which it is remembered what such a load takes; empty: it is not."""

    @property
    def total_bytes(self) -> int:
        """Over all devices."""
        return sum(self.needs.values())

    @cached_property
    def needs(self) -> Mapping[str, int]:
        """Bytes of each device, over all kinds."""
        return {device: need.total_bytes for device, need in self.devices.items()}


Answer: TypeAlias = Quote | Problem
"""What becomes of a question for settings: what they need, or why the engine refuses them."""


class Lowered(Enum):
    """A setting that is less than the usual one, so that a load fits."""

    UBATCH = auto()
    KV_TYPE = auto()
    CONTEXT = auto()
    GPU_LAYERS = auto()


@dataclass(frozen=True)
class Plan:
    """One way to load a model."""

    settings: Settings
    quote: Quote
    degraded: tuple[str, ...] = ()
    """Where the settings are less than the usual ones, in words and in the order of the steps."""
    lowered: tuple[Lowered, ...] = ()
    """The setting of each of these steps."""
    cautions: tuple[str, ...] = ()
    """What the settings may do to the answers, in words: they are as asked for all the same."""
