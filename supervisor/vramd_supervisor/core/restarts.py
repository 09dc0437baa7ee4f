"""When a model whose processes die is loaded again: strikes, pauses, quarantine, the breaker. Pure: decides only.

A strike is the death of a process that vramd did not end.

1. Callers that wait have the model loaded again at once, and never sooner than LEAST_BETWEEN_S after the last start.
2. A model that comes back by itself (pinned, preloaded, held) does so after a pause, which doubles with each death, and
   with each load that was refused for something that may pass.
3. As many strikes within WINDOW_S as configured: no load for the time of the quarantine, then one on probation. The
   next death puts the model back into quarantine, unless its process has proven itself.
4. Many deaths of all models within a minute: loads begin one at a time.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..domain.quote import Quote
from ..domain.receipt import Exit

WINDOW_S = 600.0
"""How long a strike counts. Chromium and ModelMesh count three within minutes, too."""
LEAST_BETWEEN_S = 0.25
"""From one start of a model's process to the next."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
SPREAD_SHARE = 0.25
"""Most of a pause that is left out, so that models which died together do not come back together."""
PROVEN_S = 120.0
"""A process that has been ready for so long, and has answered, is taken for healthy."""
BREAKER_DEATHS = 15
BREAKER_S = 60.0
MOST_RUNS_AGAIN = 2
"""Times that a request runs again, or waits for another load, because its process died: at the third death it is more
likely the cause than chance."""
_GOLDEN = 0.6180339887498949
"""Multiples of it, whole parts left out, are spread evenly: a share for each process that is the same in a replay."""

NO_STRIKES = frozenset({Exit.ENDED, Exit.NOT_STARTED})
"""Ends that say nothing against a model: as asked, and processes that the system did not start."""


@dataclass(frozen=True)
class Strike:
    """One death."""

    at_s: float
    exit: Exit
    words: str
    """How the process ended."""


@dataclass(eq=False)
class History:
    """What is remembered of the deaths of a model's processes."""

    strikes: deque[Strike] = field(default_factory=deque)
    """Those of the last WINDOW_S, as of the last one."""
    in_row: int = 0
    """Deaths and refused loads since a process has proven itself."""
    refused: str = ""
    """Why its last load was refused, if none of its processes has died since."""
    next_start_s: float = 0.0
    """The moment from which callers have it loaded again."""
    returns_s: float = 0.0
    """The moment from which it comes back by itself."""
    timer_s: float = 0.0
    """The moment for which the timer is set that ends its pause."""
    quarantined_until_s: float = 0.0
    probation: bool = False
    """It was in quarantine, and no process has proven itself since."""
    less_bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes per device that the next load may have at most, after one that ran out of memory."""

    def recent(self, now_s: float) -> list[Strike]:
        """The strikes that count, the last one last."""
        return [strike for strike in self.strikes if now_s - strike.at_s < WINDOW_S]

    def is_quarantined(self, now_s: float) -> bool:
        """Whether no process of it may be started."""
        return now_s < self.quarantined_until_s

    @property
    def last_words(self) -> str:
        """How the last of its processes ended that died."""
        return self.strikes[-1].words if self.strikes else "could not be started"

    def ran_out(self, now_s: float) -> bool:
        """Whether a process was killed for want of memory, so that the next load takes less."""
        return any(strike.exit is Exit.OUT_OF_MEMORY for strike in self.recent(now_s))

    def prove(self) -> None:
        """A process was healthy: the next death is the first again, but for strikes that still count."""
        self.in_row = 0
        if self.probation:
            self.probation, self.quarantined_until_s = False, 0.0
            self.strikes.clear()


@dataclass(frozen=True)
class Limits:
    """What the configuration says."""

    strikes: int
    """0: no model is quarantined."""
    quarantine_s: float


def pause(history: History, now_s: float, worker_id: int, started_s: float) -> None:
    """A process is gone, or was never there; `started_s` is when it was chosen. The next one waits."""
    history.in_row += 1
    history.refused = ""
    history.next_start_s = started_s + LEAST_BETWEEN_S
    history.returns_s = max(history.next_start_s, now_s + pause_s(history.in_row, worker_id))


def put_off(history: History, now_s: float, number: int, why: str) -> None:
    """A load was refused; the next one that nobody asks for waits. `number` spreads the pauses."""
    history.in_row += 1
    history.refused = why
    history.returns_s = now_s + pause_s(history.in_row, number)


def strike(history: History, death: Strike, limits: Limits, *, serves: bool = False) -> bool:
    """Takes a death in. Returns whether the model is quarantined for it: never while another process of it `serves`."""
    history.strikes.append(death)
    while death.at_s - history.strikes[0].at_s >= WINDOW_S:
        history.strikes.popleft()
    if serves or not limits.strikes or (len(history.strikes) < limits.strikes and not history.probation):
        return False
    history.quarantined_until_s = death.at_s + limits.quarantine_s
    history.probation = True
    return True


def less_bytes(quote: Quote) -> dict[str, int]:
    """Bytes per device for the load after one that ran out of memory: half of what is not weights has to go.

    The steps of `quoting/degradation.py` bring it there, and lower nothing that was asked for.
    """
    return {
        device: need.total_bytes - max(1, (need.context_bytes + need.compute_bytes) // 2)
        for device, need in quote.devices.items()
    }


def pause_s(in_row: int, worker_id: int) -> float:
    """Seconds until a model comes back by itself after so many deaths in a row."""
    most_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(in_row - 1, 16))
    return most_s * (1 - SPREAD_SHARE * (worker_id * _GOLDEN % 1))


def is_proven(ready_for_s: float | None, *, answered: bool) -> bool:
    """Whether a process has shown that it is healthy; `ready_for_s` is None before it is ready."""
    return answered and ready_for_s is not None and ready_for_s >= PROVEN_S


class Breaker:
    """The deaths of all models of the last minute."""

    def __init__(self) -> None:
        self._deaths_s: deque[float] = deque(maxlen=BREAKER_DEATHS)

    def died(self, now_s: float) -> bool:
        """Takes a death in. Returns whether it is the one from which on loads begin one at a time."""
        before = self.is_open(now_s)
        self._deaths_s.append(now_s)
        return self.is_open(now_s) and not before

    def is_open(self, now_s: float) -> bool:
        """Whether loads begin one at a time."""
        deaths_s = self._deaths_s
        return len(deaths_s) == BREAKER_DEATHS and now_s - deaths_s[0] < BREAKER_S
