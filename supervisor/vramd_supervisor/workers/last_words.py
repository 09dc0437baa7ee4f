"""Finds the line in which a native process said why it aborted. Pure."""

import re
from collections.abc import Iterable, Sequence

_ASSERTION = re.compile(r"(?:^|[\\/])([\w.+-]+\.(?:c|cc|cpp|cu|cuh|h|hpp|m|mm):\d+: .+)$")
"""As ggml tells it, less the folder that it was built in."""
_UNCAUGHT = re.compile(r"terminate called after throwing|terminating (?:due to|with) uncaught exception")
_WHAT = re.compile(r"^\s*what\(\):\s*(.+)$")
_NOT_THE_MODEL = re.compile(
    r"out of memory|failed to (?:allocate|reserve)|unable to allocate|bad_alloc"
    r"|(?:CUDA|ROCm|SYCL|MUSA) error|vk::|ErrorDeviceLost|ErrorOutOf",
    re.IGNORECASE,
)
_LONGEST = 600


def blames_the_machine(lines: Iterable[str]) -> bool:
    """Whether memory or a driver was the trouble, not the model."""
    return any(map(_NOT_THE_MODEL.search, lines))


def telling(lines: Sequence[str]) -> str:
    """Why a process gave itself up, in its own words; empty if it did not say."""
    for line, after in zip(reversed(lines), ("", *reversed(lines)), strict=False):
        if assertion := _ASSERTION.search(line):
            return assertion[1][:_LONGEST]
        if _UNCAUGHT.search(line):
            what = _WHAT.match(after)
            return (f"{line.strip()}: {what[1]}" if what else line.strip())[:_LONGEST]
    return ""
