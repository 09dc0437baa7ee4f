"""Tells a process that the kernel killed for want of memory from one that was killed from outside.

Both die of SIGKILL. The kernel counts its kills: in the control group (version 2: of all groups below, too), else for
the whole system. Where there is no such counter (macOS, Windows), no death is told to be one of these.
"""

import threading
from collections.abc import Callable

from ..devices.cgroup import Cgroups


class OomKills:
    """The kernel's counter, of which each kill explains one death. For any thread."""

    def __init__(self, read: Callable[[], int | None]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._explained = 0
        """The counter as of the last death that it explains."""

    def count(self) -> int:
        """The kills so far."""
        return self._read() or 0

    def explain(self, before: int) -> bool:
        """Whether a process that has died of SIGKILL was one of them; `before` is the count when it was started."""
        with self._lock:
            explained = max(before, self._explained)
            if self.count() <= explained:
                return False
            self._explained = explained + 1
            return True


OOM_KILLS = OomKills(Cgroups().oom_kills)
