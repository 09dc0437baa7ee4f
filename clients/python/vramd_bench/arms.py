"""Measures the arms of a benchmark in turn, each while others leave the machine alone."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from .figures import Figure, Unit, figure
from .others import Others
from .subject import Setup

Measured = TypeVar("Measured")

MOST_FOREIGN = 0.08
"""Share of all CPU time; a measurement during which others took more is repeated."""
MOST_REPEATS = 2

NOTE = (
    f"Arms take turns. One during which other programs took more than {MOST_FOREIGN:.0%} of the CPU is measured again, "
    f"{MOST_REPEATS} times at most; the quietest counts. "
    "vramd's threads do not follow other programs meanwhile (`[server] yield_cores = false`): the other arms are such."
)


class Watch(Protocol):
    """Watches from when it was made."""

    def share(self) -> float:
        """The share of the CPU that others took since then."""


class Arms:
    """Runs measurements; keeps what others took meanwhile."""

    def __init__(self, setup: Setup, watch: Callable[[], Watch] = Others) -> None:
        self._watch = watch
        self._most_repeats = 0 if setup.quick else MOST_REPEATS
        self._foreign: dict[str, list[float]] = {}

    def take(self, arm: str, measure: Callable[[], Measured]) -> Measured:
        """Measures once, or again while others work. Raises what `measure` raises."""
        share, measured = self._watched(measure)
        for _ in range(self._most_repeats):
            if share <= MOST_FOREIGN:
                break
            share, measured = min((share, measured), self._watched(measure), key=lambda found: found[0])
        self._foreign.setdefault(arm, []).append(share)
        return measured

    def figures(self) -> list[Figure]:
        """What others took of the CPU, arm by arm."""
        return [figure(f"CPU of other programs, {arm}", Unit.SHARE, shares) for arm, shares in self._foreign.items()]

    def _watched(self, measure: Callable[[], Measured]) -> tuple[float, Measured]:
        watch = self._watch()
        measured = measure()
        return watch.share(), measured
