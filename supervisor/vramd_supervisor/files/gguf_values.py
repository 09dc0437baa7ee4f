"""The header of a GGUF file as values. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vramd_common.reasons import Reason

from ..domain.catalog import Problem


class UnreadableModelError(Exception):
    """A file that is no model for vramd; `problem` has the reason and the words."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(reason, text)


@dataclass(frozen=True)
class Elements:
    """An array of the metadata; `values` is empty where it is of strings, or long."""

    kind: int
    """GGUF value type of each."""
    count: int
    values: tuple[int | float | bool, ...] = ()


Value = int | float | bool | str | Elements


@dataclass(frozen=True)
class Tensor:
    """A row of the table of tensors."""

    name: str
    type: int
    lengths: tuple[int, ...]
    """Values in each dimension; those of the first lie side by side."""
    size_bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.lengths)


@dataclass(frozen=True)
class Header:
    file_bytes: int
    metadata: Mapping[str, Value]
    kinds: Mapping[str, int]
    """GGUF value type of each entry of the metadata."""
    alignment: int
    """Bytes; every tensor begins at a multiple of it."""
    tensors: tuple[Tensor, ...]
    """In the file's order, which is the order they lie in."""
