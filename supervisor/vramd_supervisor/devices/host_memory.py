"""RAM and CPU threads of this machine, within this process's control group and affinity."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from ..domain.device_view import HOST, DeviceKind, Sample
from ..domain.errors import in_words
from ..domain.receipt import Observed
from .cgroup import Cgroups
from .device import Backend, Device, Seen
from .probe import Probe

_SHARES = ("Pss", "Pss_Anon", "Pss_File", "AnonHugePages")
"""Rows of a process's `smaps_rollup`: all of its bytes, and what of them is memory, is files, is in huge pages."""

Memory = Callable[[], tuple[int, int]]
"""Total and available bytes of the machine."""


def _machine_memory() -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.total, memory.available


class HostProbe(Probe):
    """Measures host RAM: the machine's, or the control group's limit where that is lower."""

    def __init__(self, cgroups: Cgroups | None = None, memory: Memory = _machine_memory) -> None:
        self._cgroups = cgroups or Cgroups()
        self._memory = memory

    def sample(self) -> Sample:
        """Returns total and used bytes; file pages that the kernel would drop count as free."""
        total_bytes, available_bytes = self._memory()
        for limit in self._cgroups.memory_limits():
            total_bytes = min(total_bytes, limit.limit_bytes)
            available_bytes = min(available_bytes, limit.available_bytes)
        return Sample(total_bytes, max(0, total_bytes - available_bytes))

    def process_bytes(self, pid: int) -> int | None:
        """Returns the RAM of one process, with its part of shared pages (PSS); outside Linux, only private pages."""
        if (shared := self.process_shares(pid).get("Pss")) is not None:
            return shared
        try:
            return int(psutil.Process(pid).memory_full_info().uss)
        except (psutil.Error, OSError):
            return None

    def process_shares(self, pid: int) -> Mapping[str, int]:
        """Returns the bytes of one process by kind, as Linux names them; empty elsewhere."""
        return _shares_bytes(self._cgroups.proc, pid) if sys.platform == "linux" else {}


class Host(Backend):
    """The backend for RAM, which the system counts per process."""

    kind = DeviceKind.HOST
    how_measured = "what the process held just before the stop (proportional set size where the system tells it)"
    why_not_measured = "the system does not tell what the process held"

    def observe(self, probe: Probe, pid: int) -> Observed:
        """Measures a process, and says which part of it are pages of files: they stay cached until RAM is needed."""
        shares = probe.process_shares(pid) if isinstance(probe, HostProbe) else {}
        if not set(_SHARES) <= shares.keys():
            return super().observe(probe, pid)
        size, own, files, huge = (shares[name] for name in _SHARES)
        kinds = f"{in_words(own)} of its own, {in_words(huge)} of it in huge pages, {in_words(files)} in pages of files"
        return Observed(size, f"{self.how_measured}: {kinds}")

    def names(self, devices: Sequence[Device]) -> tuple[str, ...]:  # noqa: ARG002  llama.cpp has no name for it
        return ()

    def look(self, probe: Probe, pids: Sequence[int], ready: Sequence[int]) -> Seen:  # noqa: ARG002  nothing spills
        own = {pid: _own_bytes(pid) for pid in [*pids, psutil.Process().pid]}
        sample = probe.sample()
        return Seen(sample, sum(own.values()), 0, own, sample.used_bytes)


HOST_RAM = Host()


def find(probe: Probe | None = None) -> Device:
    """Returns the host as a device."""
    return Device(HOST, HOST_RAM, "RAM of this machine", probe or HostProbe())


def _own_bytes(pid: int) -> int:
    """Measures cheaply enough for every second.

    Pages of files (libraries, mapped weights) are left out where the system tells: the kernel counts them as available.
    """
    with contextlib.suppress(psutil.Error):
        memory = psutil.Process(pid).memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
    return 0


def _shares_bytes(proc: Path, pid: int) -> dict[str, int]:
    try:
        lines = (proc / str(pid) / "smaps_rollup").read_text("ascii", "replace").splitlines()
    except OSError:
        return {}
    rows = (line.partition(":") for line in lines)
    return {name: int(size.split()[0]) << 10 for name, _, size in rows if name in _SHARES}


def allowed_cpus() -> Sequence[int]:
    """Returns the numbers of the CPU threads that this process may run on; macOS has no such limit."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    elif sys.platform == "win32":  # noqa: RET505  mypy takes what follows a platform's return for unreachable
        return psutil.Process().cpu_affinity()
    else:
        return range(psutil.cpu_count() or 1)


def _affinity() -> int:
    return len(allowed_cpus())


def usable_cores(reserved: int, cgroups: Cgroups | None = None, affinity: Callable[[], int] = _affinity) -> int:
    """Returns the CPU threads for generating workers: usable here, within the quota, less `reserved`; at least 1.

    A fraction of a core is dropped: a thread beyond the quota is stopped in the middle of every period.
    """
    cores = affinity()
    quota = (cgroups or Cgroups()).cpu_quota()
    if quota is not None:
        cores = min(cores, int(quota))
    return max(1, cores - reserved)
