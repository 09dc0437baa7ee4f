"""How much of this machine's CPU time others take while something is measured."""

import contextlib
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class _Seen:
    at_s: float
    busy_s: float
    """CPU time of all programs, and what a hypervisor took."""
    own_s: float
    """CPU time of this process and its descendants, those that have ended included."""


class Others:
    """Watches one measurement: `Others()` before it, `share()` behind it."""

    def __init__(self) -> None:
        self._before = _look()

    def share(self) -> float:
        """The share of all cores that other programs, or other guests of the machine's host, took since then; 0 to 1.

        Counters have a hundredth of a second each, so a measurement below a second is told roughly.
        """
        now, before = _look(), self._before
        foreign_s = (now.busy_s - before.busy_s) - (now.own_s - before.own_s)
        return share_of(foreign_s, now.at_s - before.at_s, psutil.cpu_count() or 1)


def share_of(foreign_s: float, took_s: float, cores: int) -> float:
    """The share that this CPU time is of all cores' time."""
    return min(1.0, max(0.0, foreign_s / (took_s * cores)))


def _look() -> _Seen:
    own_s = 0.0
    for process in (this := psutil.Process(), *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            # A child that was waited for is in its parent's count of children.
            own_s += sum(process.cpu_times()[:4])
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    # A guest's time is in `user` already.
    all_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return _Seen(time.perf_counter(), all_s - idle_s, own_s)
