"""The CPU time that this machine and vramd's processes have used, and what is left of it for other programs."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from .host_memory import allowed_cpus

_BUSY = ("user", "nice", "system", "irq", "softirq")
"""Time of a CPU in which a program of this system ran. Time that a hypervisor took (steal) is none of it: it falls as
soon as less is computed here, so that what follows it would swing."""


@dataclass(frozen=True)
class CpuReading:
    at_s: float
    """Monotonic seconds."""
    busy_s: Sequence[float]
    """CPU seconds since the system's start, by each CPU thread that this process may run on."""
    own_s: Mapping[int, float]
    """CPU seconds of each of vramd's processes, by its pid."""

    @property
    def cores(self) -> int:
        return len(self.busy_s)

    def foreign_cores(self, before: "CpuReading") -> float | None:
        """Returns the cores' worth of time that other programs have taken since an earlier reading.

        None if that is unknown: a process of vramd has ended meanwhile, and what it used last is in no reading.
        """
        elapsed_s = self.at_s - before.at_s
        gone = any(used_s > self.own_s.get(pid, -1.0) for pid, used_s in before.own_s.items())
        if elapsed_s <= 0 or gone or self.cores != before.cores:
            return None
        own_s = sum(used_s - before.own_s.get(pid, 0.0) for pid, used_s in self.own_s.items())
        foreign_s = sum(self.busy_s) - sum(before.busy_s) - own_s
        return min(max(0.0, foreign_s / elapsed_s), float(self.cores))


def read_cpu(pids: Sequence[int]) -> CpuReading:
    """Reads the CPU time of this process, of these and of the machine."""
    times = psutil.cpu_times(percpu=True)
    at_s = time.monotonic()
    busy = [sum(getattr(times[cpu], kind, 0.0) for kind in _BUSY) for cpu in allowed_cpus() if cpu < len(times)]
    own: dict[int, float] = {}
    for process in (psutil.Process(), *_processes(pids)):
        with contextlib.suppress(psutil.Error):  # it has ended
            used = process.cpu_times()
            own[process.pid] = used.user + used.system
    return CpuReading(at_s, busy, own)


def _processes(pids: Sequence[int]) -> Sequence[psutil.Process]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found
