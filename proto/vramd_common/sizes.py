"""Sizes as people write them, the same in the configuration, the SDK and the command line. Pure."""

import re

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
_LARGEST_BYTES = (1 << 63) - 1

SIZE_WORDS = 'a size such as "8GiB", "600MB" or a number of bytes'


def parse_size(text: str) -> int:
    """Returns the bytes of "8GiB", "600 MB", "1.5GiB" or "1048576". Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[2] is None and "." in match[1]):
        raise ValueError(f'expected {SIZE_WORDS}, got "{text}"')
    whole, _, fraction = match[1].partition(".")
    unit = _UNITS[(match[2] or "B").upper()]
    size_bytes = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    if size_bytes > _LARGEST_BYTES:
        raise ValueError(f'"{text}" is more than any device has')
    return size_bytes
