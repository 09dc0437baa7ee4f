"""The findings of a benchmark. Pure. Units are seconds, bytes, tokens per second, and ratios of two of a kind."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class BenchError(Exception):
    """A benchmark cannot be run or was aborted; the text is for the user."""


class Unit(Enum):
    SECONDS = "s"
    BYTES = "bytes"
    TOKENS_PER_S = "tokens/s"
    RATIO = "ratio"
    SHARE = "share"
    """Of a whole: 0 to 1."""


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one thing, in order."""

    runs: tuple[float, ...]

    @property
    def least(self) -> float:
        return min(self.runs)

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def most(self) -> float:
        return max(self.runs)


@dataclass(frozen=True)
class Bar:
    """A target for the median of a figure."""

    limit: float
    at_most: bool
    """False: at least."""

    def met_by(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    name: str
    unit: Unit
    spread: Spread
    bar: Bar | None = None

    @property
    def met(self) -> bool | None:
        """None: there is no bar."""
        return None if self.bar is None else self.bar.met_by(self.spread.median)


@dataclass(frozen=True)
class Result:
    benchmark: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


def at_most(limit: float) -> Bar:
    """The smaller the better."""
    return Bar(limit, at_most=True)


def at_least(limit: float) -> Bar:
    """The larger the better."""
    return Bar(limit, at_most=False)


def figure(name: str, unit: Unit, values: Sequence[float], bar: Bar | None = None) -> Figure:
    """A figure of what was measured; at least one value is needed."""
    return Figure(name, unit, Spread(tuple(values)), bar)


def ratios(name: str, values: Sequence[float], others: Sequence[float], bar: Bar | None = None) -> Figure:
    """The ratio of each pair of neighbouring measurements, so that what slows both down cancels out."""
    return figure(name, Unit.RATIO, [value / other for value, other in zip(values, others, strict=True)], bar)
