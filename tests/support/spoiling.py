"""Spoils bytes as disks, networks and fuzzers do; always in the same way for one seed."""

import struct
from random import Random

_NUMBERS = (0, 1, 2, 3, 7, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_LONG_NUMBERS = (*_NUMBERS, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_FLOATS = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e-38, 1e38)


def spoilt(whole: bytes, dice: Random, *, most: int | None = None, order: str = "<") -> bytes:
    """A copy with one to four faults, most of them in the first `most` bytes. `order` is that of bytes in numbers."""
    data = bytearray(whole)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _spoil(data, most if most and dice.random() < 0.9 else len(data), dice, order)
    return bytes(data)


def _spoil(data: bytearray, most: int, dice: Random, order: str) -> None:
    place = dice.randrange(max(1, min(most, len(data))))
    match dice.randrange(8) if data else 7:
        case 0 | 1:
            data[place] ^= 1 << dice.randrange(8)
        case 2:
            data[place] = dice.randrange(256)
        case 3:
            _put(data, place, struct.pack(f"{order}I", dice.choice(_NUMBERS)))
        case 4:
            _put(data, place, struct.pack(f"{order}Q", dice.choice(_LONG_NUMBERS)))
        case 5:
            _put(data, place, struct.pack(f"{order}f", dice.choice(_FLOATS)))
        case 6:
            del data[place : place + dice.choice((1, 4, 8, len(data)))]
        case _:
            data[place:place] = data[place : place + dice.choice((1, 4, 8, 64))]


def _put(data: bytearray, place: int, value: bytes) -> None:
    data[place : place + len(value)] = value
