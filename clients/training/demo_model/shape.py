"""The sizes of a network: what training, export and the list of domains need to know of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; the output shares the embedding's weights."""

    vocabulary: int = 1024
    embedding: int = 128
    layers: int = 6
    heads: int = 4
    feed_forward: int = 352
    context_tokens: int = 2048
    norm_epsilon: float = 1e-5
    rotary_base: float = 10000.0

    @property
    def head_dimensions(self) -> int:
        """Width of one head."""
        return self.embedding // self.heads
