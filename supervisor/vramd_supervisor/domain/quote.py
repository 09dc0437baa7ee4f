"""Quotes: bytes that a load will need, by device and kind, and their confidence. Pure values."""

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
    """Bytes of the KV cache and the recurrent state."""
    compute_bytes: int = 0
    """Bytes of the graph's scratch and the logits."""
    process_bytes: int = 0
    """Bytes that the worker process takes without a model."""

    @property
    def engine_bytes(self) -> int:
        """Bytes that llama.cpp allocates."""
        return self.weights_bytes + self.context_bytes + self.compute_bytes

    @property
    def total_bytes(self) -> int:
        return self.engine_bytes + self.process_bytes

    def plus(self, other: "DeviceBytes") -> "DeviceBytes":
        return DeviceBytes(
            self.weights_bytes + other.weights_bytes,
            self.context_bytes + other.context_bytes,
            self.compute_bytes + other.compute_bytes,
            self.process_bytes + other.process_bytes,
        )


class Source(Enum):
    DECLARED = "declared"
    """Configuration of a simulated model."""
    CLOSED_FORM = "closed_form"
    """Formulas over the file's header."""
    DRY_RUN = "dry_run"
    """llama.cpp's own allocator, run without allocating."""
    LEARNED = "learned"
    """Measurements of earlier, identical loads."""
    FILE_SIZE = "file_size"
    """Size of the file and a guess, as the header tells too little."""


class Confidence(Enum):
    """The accuracy of a quote."""

    EXACT = "exact"
    CLOSE = "close"
    """Weights and KV cache are exact, compute is within a few per cent."""
    ROUGH = "rough"


@dataclass(frozen=True)
class Quote:
    """Bytes that a load will need on each device it touches."""

    devices: Mapping[str, DeviceBytes]
    confidence: Confidence
    source: Source
    seconds: float = 0.0
    """Time that computing the quote took."""
    key: str = ""
    """Key under which observations of such a load are kept; empty: none are."""

    @property
    def total_bytes(self) -> int:
        return sum(self.needs.values())

    @cached_property
    def needs(self) -> Mapping[str, int]:
        """Bytes on each device, of all kinds."""
        return {device: need.total_bytes for device, need in self.devices.items()}


Answer: TypeAlias = Quote | Problem
"""Answer to a question about settings: their quote, or the reason why the engine refuses them."""


class Lowered(Enum):
    """A setting that was lowered from its usual value so that a load fits."""

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
    """Settings that were lowered, in words, in the order of the steps."""
    lowered: tuple[Lowered, ...] = ()
    """The setting that each of these steps lowered."""
    cautions: tuple[str, ...] = ()
    """Effects that the settings may have on answers, in words; the settings are kept as asked for."""
