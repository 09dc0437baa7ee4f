"""The table of a soak, and the bars that it has to hold."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from support.soak.faults import Window
from support.soak.judge import Verdict
from support.soak.requests import Request

SHOWN = 8
"""Requests of a kind that are shown in full."""


@dataclass(frozen=True)
class Bar:
    """A figure with a bound."""

    name: str
    seen: float
    most: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.seen <= self.most


@dataclass
class Report:
    """What a soak found."""

    title: str
    verdict: Verdict
    windows: Sequence[Window]
    detected_s: Sequence[tuple[Window, float]]
    """Faults that end a process, and how long after them the supervisor said so."""
    counts: dict[str, int]
    """States that models came into."""
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return all(bar.holds for bar in self.bars)

    def lines(self) -> Iterable[str]:
        yield self.title
        yield ""
        yield from self._requests()
        yield ""
        yield from self._faults()
        yield ""
        yield "  ".join(f"{name} {count}" for name, count in self.counts.items())
        yield ""
        yield f"{'BAR':<52}{'SEEN':>14}{'MOST':>14}"
        for bar in self.bars:
            seen, most = (f"{value:.4g} {bar.unit}".strip() for value in (bar.seen, bar.most))
            most = "none" if bar.most == math.inf else most
            yield f"{bar.name:<52}{seen:>14}{most:>14}{'' if bar.holds else '  MISSED'}"
        for name, requests in (
            ("unaccounted", self.verdict.unaccounted),
            ("unexpected", self.verdict.unexpected),
            ("untouched", self.verdict.untouched),
        ):
            yield from (f"{name}: {_line(request)}" for request in requests[:SHOWN])
        yield from self.notes
        yield "holds" if self.holds else "FALLS SHORT"

    def _requests(self) -> Iterable[str]:
        kinds = sorted({kind for kind, _ in self.verdict.ends})
        ends: Counter[str] = Counter()
        for (_, end), count in self.verdict.ends.items():
            ends[end] += count
        yield f"{'REQUESTS BY END':<28}{'all':>7}" + "".join(f"{kind:>9}" for kind in kinds)
        for end, count in ends.most_common():
            yield f"{end:<28}{count:>7}" + "".join(
                f"{self.verdict.ends.get((kind, end), 0) or '':>9}" for kind in kinds
            )

    def _faults(self) -> Iterable[str]:
        yield f"{'FAULT':<44}{'times':>6}{'detected p50/max':>20}{'answers again':>20}"
        for fault, times in Counter(window.fault for window in self.windows).most_common():
            detected = [seconds for window, seconds in self.detected_s if window.fault == fault]
            again = [one.ended_s - one.began_s for one in self.windows if one.fault == fault and one.noticed_within_s]
            yield f"{fault:<44}{times:>6}{_times(detected):>20}{_times(again):>20}"


def _times(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3f} / {max(seconds):.3f} s" if seconds else ""


def _line(request: Request) -> str:
    took = "never ended" if request.ended_s is None else f"{request.ended_s - request.began_s:.2f} s, {request.end}"
    return f"{request.kind} of {request.model} by {request.client} at {request.began_s:.2f}: {took}: {request.said}"
