"""What a load will need: bytes by device and kind, and how well they are known. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


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
    def total_bytes(self) -> int:
        """Over all kinds."""
        return self.weights_bytes + self.context_bytes + self.compute_bytes + self.process_bytes


class Source(Enum):
    """Where a quote comes from."""

    DECLARED = "declared"
    """The configuration of a simulated model says so."""
    CLOSED_FORM = "closed_form"
    """Formulas over the file's header."""
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

    @property
    def total_bytes(self) -> int:
        """Over all devices."""
        return sum(need.total_bytes for need in self.devices.values())
