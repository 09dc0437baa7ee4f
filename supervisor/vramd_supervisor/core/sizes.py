"""Sizes as people write them. Pure."""

import re

from .config import Headroom, Size

_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*([KMGT]?i?B)?", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s*%", re.ASCII)
_LARGEST_BYTES = (1 << 63) - 1

SIZE_WORDS = 'a size such as "8GiB", "600MB" or a number of bytes'
HEADROOM_WORDS = 'a size such as "1GiB" or a share such as "15%"'


def parse_size(text: str) -> Size:
    """Bytes of "8GiB", "600 MB", "1.5GiB" or "1048576". Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[2] is None and "." in match[1]):
        raise ValueError(f'expected {SIZE_WORDS}, got "{text}"')
    whole, _, fraction = match[1].partition(".")
    unit = _UNITS[(match[2] or "B").upper()]
    size_bytes = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    if size_bytes > _LARGEST_BYTES:
        raise ValueError(f'"{text}" is more than any device has')
    return Size(size_bytes)


def parse_headroom(text: str) -> Headroom:
    """Headroom of a size or of a share below 100 %. Raises ValueError."""
    if match := _SHARE.fullmatch(text.strip()):
        if float(match[1]) >= 100:
            raise ValueError(f'expected a share below 100%, got "{text}"')
        return Headroom(share=float(match[1]) / 100)
    try:
        return Headroom(size_bytes=parse_size(text))
    except ValueError as error:
        raise ValueError(f'expected {HEADROOM_WORDS}, got "{text}"') from error


def parse_budget(text: str) -> tuple[str, Size]:
    """Device and bytes of "host=600MiB". Raises ValueError."""
    device, equals, size = text.rpartition("=")
    if not equals or not device:
        raise ValueError(f'expected DEVICE=SIZE such as host=600MiB, got "{text}"')
    return device, parse_size(size)
