"""Decides how many cores generating workers may use beside other programs. Pure.

Threads of one step wait for each other at barriers, hundreds of times per token. If another program runs on the core of
one thread, all of them wait for it (measured with one of two cores busy: 2 threads < 8 tokens/s, 1 thread 56).
"""

import math
from dataclasses import dataclass, replace

_TAKEN = 0.5
"""Share of a core from which on it counts as taken."""
_GIVEN_BACK = 0.3
"""Share of a core below which it counts as free again; between the two nothing changes."""
_JUDGED = 2
"""Readings whose mean takes cores away: one short burst does not."""
_CALM = 3
"""Readings that must all agree before cores are used again."""


@dataclass(frozen=True)
class CpuLoad:
    """The cores that other programs take and leave, as of the last readings."""

    limit: int
    """Cores that generating workers share while other programs take none."""
    left: int
    """Cores that they share now; at least 1, at most `limit`."""
    recent: tuple[float, ...] = ()
    """Cores' worth of time that other programs took, by reading, the last one at the end."""

    @property
    def foreign_cores(self) -> float:
        """Cores' worth of time that other programs took of late."""
        judged = self.recent[-_JUDGED:]
        return sum(judged) / len(judged) if judged else 0.0

    def after(self, cores: int, foreign_cores: float, *, follows: bool) -> "CpuLoad":
        """Takes in a reading: of so many `cores`, others took so much. With `follows` false, `left` is the limit."""
        seen = replace(self, recent=(*self.recent, foreign_cores)[-_CALM:])
        if not follows:
            return replace(seen, left=self.limit)
        fewer = seen._left(cores, seen.foreign_cores, _TAKEN)
        if fewer <= self.left:
            return replace(seen, left=fewer)
        if len(seen.recent) < _CALM:
            return seen
        return replace(seen, left=max(self.left, seen._left(cores, max(seen.recent), _GIVEN_BACK)))

    def _left(self, cores: int, foreign_cores: float, share: float) -> int:
        return max(1, min(self.limit, cores - math.floor(foreign_cores + 1 - share)))
