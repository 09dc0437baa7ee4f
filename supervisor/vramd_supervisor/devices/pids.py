"""By which number a GPU driver calls a process of ours. Linux: in a container it may be the host's."""

from collections.abc import Set
from pathlib import Path

_INITIAL = "pid:[4026531836]"
"""The namespace that is no container: PROC_PID_INIT_INO of the kernel (include/linux/proc_ns.h)."""


class PidNumbers:
    """Translates our process numbers into a driver's.

    NVIDIA's open drivers translate by themselves (osFindNsPid), older ones name every process by the number that the
    host has for it. Which of the two this one does is seen by whom it lists: numbers that no process here has are the
    host's.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._own = _namespace(proc / "self")
        self._sees_host = len(_numbers(proc / "self")) > 1
        self._asked: set[int] = set()
        """Processes that were asked about: such a one may be listed for a while after it has ended."""

    def number(self, pid: int, listed: Set[int]) -> int | None:
        """The number under which a driver lists a process, if it lists it; None where that cannot be known."""
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
    """A process's numbers, from the namespace of this /proc inwards; empty once it is gone."""
    try:
        lines = (process / "status").read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    line = next((line for line in lines if line.startswith("NSpid:")), "")
    return [int(word) for word in line.split()[1:]]


def _namespace(process: Path) -> str:
    """Empty where the system has none."""
    try:
        return str((process / "ns" / "pid").readlink())
    except OSError:
        return ""
