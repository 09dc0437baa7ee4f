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


def small(enum: WireEnum, values: Iterable[int]) -> tuple[str, ...]:
    """Words of several values, in small letters.

    >>> small(model_pb2.Lowered, [2, 3])
    ('kv_type', 'context')
    """
    return tuple(word(enum, value).lower() for value in values)


def numbers(enum: WireEnum) -> dict[str, int]:
    """What each word stands for that may be asked for, in small letters.

    >>> numbers(load_pb2.FlashAttention)
    {'auto': 1, 'on': 2, 'off': 3}
    """
    return {word(enum, value).lower(): value for _, value in enum.items() if value}
