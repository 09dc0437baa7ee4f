"""Parses sizes as people write them. Pure."""

import re

from vramd_common.sizes import parse_size as parse_bytes

from .config import Headroom, Size

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,9})?)\s*%", re.ASCII)
HEADROOM_WORDS = 'a size such as "1GiB" or a share such as "15%"'


def parse_size(text: str) -> Size:
    """Parses "8GiB", "600 MB", "1.5GiB" or "1048576" into bytes. Raises ValueError."""
    return Size(parse_bytes(text))


def parse_headroom(text: str) -> Headroom:
    """Parses a size, or a share below 100 %, into headroom. Raises ValueError."""
    if match := _SHARE.fullmatch(text.strip()):
        if float(match[1]) >= 100:
            raise ValueError(f'expected a share below 100%, got "{text}"')
        return Headroom(share=float(match[1]) / 100)
    try:
        return Headroom(size_bytes=parse_size(text))
    except ValueError as error:
        raise ValueError(f'expected {HEADROOM_WORDS}, got "{text}"') from error


def parse_budget(text: str) -> tuple[str, Size]:
    """Parses "host=600MiB" into device and bytes. Raises ValueError."""
    device, equals, size = text.rpartition("=")
    if not equals or not device:
        raise ValueError(f'expected DEVICE=SIZE such as host=600MiB, got "{text}"')
    return device, parse_size(size)
