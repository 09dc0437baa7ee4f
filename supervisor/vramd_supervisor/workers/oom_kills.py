"""Tells a process that the kernel killed for want of memory from one that was killed from outside.

Both die of SIGKILL. The kernel counts its kills: in the control group (version 2: of all groups below, too), else for
the whole system. Where there is no such counter (macOS, Windows), no death is told to be one of these.
"""

import threading
from collections import deque
from collections.abc import Callable

from ..devices.cgroup import Cgroups

LOOK_S = 2.0
RECENT_S = 10.0
"""A process ends within this after the kernel has killed it: much memory takes time to be freed."""


class OomKills:
    """The kernel's counter, of which each kill explains one death. For any thread."""

    def __init__(self, read: Callable[[], int | None]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._explained = 0
        """The counter as of the last death that it explains."""
        self._looks: deque[tuple[float, int]] = deque()
        """The counter at the moments of the last looks."""
        self._past = 0
        """The counter as of a while ago."""

    def count(self) -> int:
        """The kills so far."""
        return self._read() or 0

    def look(self, now_s: float) -> None:
        """Notes the counter, where it is time to. Called again and again, so that old kills explain no death."""
        with self._lock:
            if self._looks and now_s < self._looks[-1][0] + LOOK_S:
                return
            self._looks.append((now_s, self.count()))
            while self._looks[0][0] <= now_s - RECENT_S:
                _, self._past = self._looks.popleft()

    def explain(self, before: int) -> bool:
        """Whether a process that has died of SIGKILL was one of them; `before` is the count when it was started.

        The counter is of others, too: a kill of a while ago was not this one.
        """
        with self._lock:
            explained = max(before, self._explained, self._past)
            if self.count() <= explained:
                return False
            self._explained = explained + 1
            return True


OOM_KILLS = OomKills(Cgroups().oom_kills)
