"""Finds the line of a key in TOML text that parses, for messages. Pure.

This is a line scanner, not a parser: it follows table headers, dotted and quoted keys, and skips multi-line strings. A
key inside an inline table is found at the line of the table.
"""

import re
from collections.abc import Sequence

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_PATH = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*\[\[?\s*({_PATH})\s*\]")
_KEY = re.compile(rf"\s*({_PATH})\s*=(.*)")
_EACH = re.compile(_PART)
_QUOTES = re.compile(r'"""|\'\'\'|"(?:[^"\\]|\\.)*"|\'[^\']*\'|#.*')


def line_of(text: str, path: Sequence[str]) -> int | None:
    """Returns the line of the key, else of the nearest table or key that holds it, from 1; None if there is neither."""
    best: tuple[int, int] | None = None
    table: tuple[str, ...] = ()
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            _, closed, rest = line.partition(inside)
            inside = _left_open(rest) if closed else inside
            continue
        if match := _TABLE.match(line):
            here = table = _parts(match[1])
        elif match := _KEY.match(line):
            here = (*table, *_parts(match[1]))
        else:
            inside = _left_open(line)
            continue
        inside = _left_open(match[2] if match.re is _KEY else "")
        common = _common(here, path)
        if common and (best is None or common > best[0]):
            best = common, number
    return best[1] if best else None


def _common(here: Sequence[str], path: Sequence[str]) -> int:
    """Returns how many parts of the path a line names; 0 if the line is about something else."""
    shared = min(len(here), len(path))
    return shared if tuple(path[:shared]) == tuple(here[:shared]) else 0


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") if part[0] in "\"'" else part for part in _EACH.findall(path))


def _left_open(value: str) -> str:
    """Returns the quotes of a string that this line begins and does not end; empty if there is none."""
    place = 0
    while match := _QUOTES.search(value, place):
        place = match.end()
        if match[0] in ('"""', "'''"):
            end = value.find(match[0], place)
            if end < 0:
                return match[0]
            place = end + 3
    return ""
