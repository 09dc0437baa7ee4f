"""Numbers by which a GPU driver lists vramd's processes: in a Linux container they may be the host's."""

from collections.abc import Set
from pathlib import Path

_INITIAL = "pid:[4026531836]"
"""Namespace outside any container: PROC_PID_INIT_INO of the kernel (include/linux/proc_ns.h)."""


class PidNumbers:
    """Translates vramd's process numbers into a driver's.

    NVIDIA's open drivers translate numbers themselves (osFindNsPid), older ones list every process by its number on the
    host. The listed numbers tell both apart: those that no process here has are the host's.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._own = _namespace(proc / "self")
        self._sees_host = len(_numbers(proc / "self")) > 1
        self._asked: set[int] = set()
        """Processes that were asked about; a driver may list them for a while after they have ended."""

    def number(self, pid: int, listed: Set[int]) -> int | None:
        """Returns the number under which a driver would list a process; None if that cannot be known."""
        if self._own in ("", _INITIAL):
            return pid
        if self._sees_host:
            return next((outer for outer in listed if self._is(self._proc / str(outer), pid)), None)
        self._asked.add(pid)
        translated = all(other in self._asked or (self._proc / str(other)).is_dir() for other in listed)
        return pid if translated else None

    def _is(self, process: Path, pid: int) -> bool:
        return _numbers(process)[-1:] == [pid] and _namespace(process) == self._own


def _numbers(process: Path) -> list[int]:
    """Returns a process's numbers, from the namespace of this /proc inwards; empty once it is gone."""
    try:
        lines = (process / "status").read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    line = next((line for line in lines if line.startswith("NSpid:")), "")
    return [int(word) for word in line.split()[1:]]


def _namespace(process: Path) -> str:
    """Returns a process's namespace; empty where the system has none."""
    try:
        return str((process / "ns" / "pid").readlink())
    except OSError:
        return ""
