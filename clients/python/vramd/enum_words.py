"""Enums of the wire as words. Pure."""

from collections.abc import Iterable
from typing import Protocol


class WireEnum(Protocol):
    """What generated enums have."""

    def items(self) -> Iterable[tuple[str, int]]:
        """Every value by its name."""


def word(enum: WireEnum, number: int) -> str:
    """The name of a value without what all names of the enum begin with; a value of the future is its number.

    >>> word(model_pb2.ModelState, 5), word(model_pb2.ModelState, 99)
    ('READY', '99')
    """
    names = {value: name for name, value in enum.items()}
    return names.get(number, str(number)).removeprefix(names[0].removesuffix("UNSPECIFIED"))
