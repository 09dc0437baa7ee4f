"""Finds the line in which a native process said why it aborted, and classes its end by that. Pure."""

import re
from collections.abc import Iterable, Sequence

from ..domain.receipt import Exit

_ASSERTION = re.compile(r"(?:^|[\\/])([\w.+-]+\.(?:c|cc|cpp|cu|cuh|h|hpp|m|mm):\d+: .+)$")
"""As ggml tells it, less the folder that it was built in."""
_UNCAUGHT = re.compile(r"terminate called after throwing|terminating (?:due to|with) uncaught exception")
_WHAT = re.compile(r"^\s*what\(\):\s*(.+)$")
_NO_MEMORY = re.compile(
    r"out of memory|failed to (?:allocate|reserve)|unable to allocate|bad_alloc|ErrorOutOf", re.IGNORECASE
)
_NO_DRIVER = re.compile(r"(?:CUDA|ROCm|SYCL|MUSA) error|vk::|ErrorDeviceLost", re.IGNORECASE)
_LONGEST = 600
_LAST = 60
"""Lines before the end of a process among which those are that belong to it; a stack takes some forty."""


def blames_the_machine(lines: Iterable[str]) -> bool:
    """Whether memory or a driver was the trouble, not the model."""
    return any(_NO_MEMORY.search(line) or _NO_DRIVER.search(line) for line in lines)


def classed(how: Exit, words: str, lines: Sequence[str]) -> tuple[Exit, str]:
    """The end of a process whose code gave itself up, by what it said last; any other end as it was."""
    if how is not Exit.CRASHED:
        return how, words
    last = lines[-_LAST:] if len(lines) > _LAST else lines
    for pattern, kind in ((_NO_MEMORY, Exit.OUT_OF_MEMORY), (_NO_DRIVER, Exit.DRIVER_LOST)):
        if said := next((line for line in reversed(last) if pattern.search(line)), ""):
            return kind, f"{words}: {said.strip()[:_LONGEST]}"
    why = telling(last)
    return (Exit.ASSERTION, f"{words}: {why}") if why else (how, words)


def telling(lines: Sequence[str]) -> str:
    """Why a process gave itself up, in its own words; empty if it did not say."""
    for line, after in zip(reversed(lines), ("", *reversed(lines)), strict=False):
        if assertion := _ASSERTION.search(line):
            return assertion[1][:_LONGEST]
        if _UNCAUGHT.search(line):
            what = _WHAT.match(after)
            return (f"{line.strip()}: {what[1]}" if what else line.strip())[:_LONGEST]
    return ""
