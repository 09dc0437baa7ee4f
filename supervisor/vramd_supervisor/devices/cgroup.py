"""Reads the limits that Linux control groups (version 1 and 2) set for this process: memory and CPU time.

It reads small files below /proc and /sys; other systems have none, and so no limits.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60
"""Least number that means no limit: version 1 then writes one near 2^63."""


@dataclass(frozen=True)
class MemoryLimit:
    """The memory limit of one group, and the bytes left below it."""

    limit_bytes: int
    available_bytes: int
    """Limit less use, plus file pages that the kernel can drop."""


@dataclass(frozen=True)
class Cgroups:
    """The control groups of this process, at the paths where the system shows them."""

    proc: Path = Path("/proc")
    root: Path = Path("/sys/fs/cgroup")

    def memory_limits(self) -> list[MemoryLimit]:
        """Returns the limits of the process's group and of all its parents; all of them apply."""
        limits = []
        for folder in self._folders("memory"):
            limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
            if limit is None or limit >= _UNLIMITED_BYTES:
                continue
            used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
            droppable = _droppable_bytes(folder / "memory.stat")
            limits.append(MemoryLimit(limit, max(0, min(limit, limit - used + droppable))))
        return limits

    def cpu_quota(self) -> float | None:
        """Returns the CPU time that the process may use, in CPUs; None without a limit."""
        quotas = [quota for folder in self._folders("cpu") if (quota := _quota(folder)) is not None]
        return min(quotas, default=None)

    def oom_kills(self) -> int | None:
        """Returns how many processes the kernel has killed for want of memory: in the group, else in the system."""
        for folder in self._folders("memory"):
            for name in ("memory.events", "memory.oom_control"):
                if (count := _value(folder / name, "oom_kill")) is not None:
                    return count
        return _value(self.proc / "vmstat", "oom_kill")

    def _folders(self, controller: str) -> Iterator[Path]:
        """Yields the group's folder and its parents. Version 1 has a tree per controller; beside it, 2 may be empty."""
        try:
            lines = (self.proc / "self" / "cgroup").read_text("utf-8", "replace").splitlines()
        except OSError:
            return
        groups = [line.split(":", 2) for line in lines if line.count(":") >= 2]
        own = next((path for _, names, path in groups if controller in names.split(",")), None)
        top = self.root / controller
        if own is None:
            own = next((path for number, _, path in groups if number == "0"), None)
            top = self.root
        if own is None:
            return
        # In a container, the path may be the host's and not exist: then the root is the container's group.
        folder = Path(top, own.lstrip("/"))
        while True:
            if folder.is_dir():
                yield folder
            if folder == top or top not in folder.parents:
                return
            folder = folder.parent


def _text(file: Path) -> str:
    """Reads a file; empty if it does not exist, as the files of a group depend on the system."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _value(file: Path, key: str) -> int | None:
    """Reads one of a file's lines, each a key and a number."""
    found = re.search(rf"^{key} (\d+)$", _text(file), re.ASCII | re.MULTILINE)
    return int(found[1]) if found else None


def _droppable_bytes(file: Path) -> int:
    return _value(file, "total_inactive_file") or _value(file, "inactive_file") or 0


def _quota(folder: Path) -> float | None:
    """Reads the CPU quota: in one file in version 2, in two in 1. A word or a negative number means no limit."""
    if both := re.fullmatch(r"(\d+) (\d+)\s*", _text(folder / "cpu.max"), re.ASCII):
        quota_us, period_us = int(both[1]), int(both[2])
    else:
        quota_us, period_us = (_number(folder / f"cpu.cfs_{name}_us") or 0 for name in ("quota", "period"))
    return quota_us / period_us if quota_us and period_us else None
