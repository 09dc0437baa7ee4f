"""How scarce the memory of a device is, and what other programs took of it of late. Pure: no I/O, no clock.

Levels come from what all programs together really take, as the driver sees it, not from what the ledger has promised.
That alone keeps vramd from fighting with itself: whatever the budget, the ledger promises only what leaves the headroom
free beside the others, so the headroom is used up only by others that have grown since, or by a process of ours that
takes more than it was quoted. Then idle models are evicted, and for no other reason.
"""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

from ..domain.errors import in_words

OTHERS = "other programs"
"""Their names in messages."""
WINDOW_S = 60.0
"""How long the most that others took counts: a game that has freed its memory is likely to take it again."""
REOPEN_S = 10.0
"""How long half as much again as the headroom has to be free before a device takes loads again.

The headroom alone has to be free for WINDOW_S: where others have settled in between, no load waits for ever.
"""
EASE_SHARE = 0.05
"""The alarm ends when this share less of the device is taken, so that it does not ring again and again."""

_MOST_CRITICAL_BYTES = 128 << 20
_MOST_SPILLED_BYTES = 64 << 20
_LOW_SAMPLES = 2
"""In a row, before idle models are evicted: one may be a peak that is over already."""


class Level(IntEnum):
    """How scarce the memory of a device is. A higher one has all that the lower ones have."""

    NONE = 0
    WARN = 1
    """Past the alarm."""
    CLOSED = 2
    """The headroom is being used up: nothing is loaded here."""
    EVICT = 3
    """Half of the headroom is gone: idle models go."""
    CRITICAL = 4
    """Nearly nothing is left, or the driver moves bytes to the host's memory: idle models go at once."""


@dataclass(frozen=True)
class Reading:
    at_s: float
    total_bytes: int
    used_bytes: int
    """Bytes that all programs take together."""
    headroom_bytes: int
    alarm_share: float
    """Share of the total, 0 to 1."""
    returning_bytes: int = 0
    """Held by processes of ours that are on their way out."""
    spilled_bytes: int = 0
    """Bytes of our processes that the driver moved to the host's memory."""

    @property
    def free_bytes(self) -> int:
        """Bytes that no program takes. Negative where more is taken than there is."""
        return self.total_bytes - self.used_bytes

    @property
    def critical(self) -> bool:
        """Whether nearly nothing is left, or our processes have already lost bytes."""
        least_bytes = min(_MOST_CRITICAL_BYTES, self.headroom_bytes // 4)
        return self.free_bytes < least_bytes or self.spilled_bytes > _MOST_SPILLED_BYTES

    @property
    def low(self) -> bool:
        """Whether half of the headroom is gone, and does not come back with what is on its way out."""
        return 2 * (self.free_bytes + self.returning_bytes) < self.headroom_bytes

    @property
    def ample(self) -> bool:
        """Whether there is enough to reopen a closed device."""
        return 2 * self.free_bytes > 3 * self.headroom_bytes


@dataclass(frozen=True)
class Pressure:
    """The pressure on a device, by its samples so far."""

    level: Level = Level.NONE
    low_samples: int = 0
    """In a row."""
    ample_since_s: float | None = None
    """The moment since which a closed device has enough to reopen soon."""
    calm_since_s: float | None = None
    """The moment since which a closed device has its headroom free."""

    def after(self, reading: Reading) -> "Pressure":
        """The next state.

        1. It rises at once, only to EVICT with the second low sample in a row.
        2. A closed device stays as it is until enough was free for long enough, then it is judged by the alarm alone.
        3. The alarm ends below where it began.
        """
        low_samples = self.low_samples + 1 if reading.low else 0
        level = _risen(reading, low_samples)
        if level >= Level.CLOSED:  # 1, 2
            return Pressure(max(level, self.level), low_samples)
        if self.level >= Level.CLOSED:  # 2
            calm_since_s = reading.at_s if self.calm_since_s is None else self.calm_since_s
            ample_since_s = reading.at_s if self.ample_since_s is None else self.ample_since_s
            long_ample = reading.ample and reading.at_s - ample_since_s >= REOPEN_S
            if not long_ample and reading.at_s - calm_since_s < WINDOW_S:
                return Pressure(self.level, low_samples, ample_since_s if reading.ample else None, calm_since_s)
        alarm_share = reading.alarm_share - (EASE_SHARE if self.level is not Level.NONE else 0.0)  # 3
        warned = reading.used_bytes >= alarm_share * reading.total_bytes
        return Pressure(Level.WARN if warned else Level.NONE, low_samples)

    def deficit_bytes(self, reading: Reading) -> int:
        """Bytes that idle models have to give back now, so that the headroom is free again; 0 if they may stay."""
        if not reading.critical and self.low_samples < _LOW_SAMPLES:
            return 0
        missing_bytes = reading.headroom_bytes - reading.free_bytes
        return max(0, max(missing_bytes, 0) + reading.spilled_bytes - reading.returning_bytes)


def _risen(reading: Reading, low_samples: int) -> Level:
    """Judges a sample by itself, but for the alarm."""
    if reading.critical:
        return Level.CRITICAL
    if low_samples >= _LOW_SAMPLES:
        return Level.EVICT
    return Level.CLOSED if reading.free_bytes < reading.headroom_bytes else Level.NONE


def explain(level: Level, reading: Reading) -> str:
    """Why a device has come to a level, with the numbers."""
    free, total = in_words(max(0, reading.free_bytes)), in_words(reading.total_bytes)
    headroom = in_words(reading.headroom_bytes)
    text = f"{free} of {total} are free, "
    if level is Level.CRITICAL and reading.spilled_bytes > _MOST_SPILLED_BYTES:
        text += f"and the driver has moved {in_words(reading.spilled_bytes)} of ours to the host's memory"
    elif level is Level.CRITICAL:
        text += f"next to nothing of a headroom of {headroom}: idle models go at once"
    elif level is Level.EVICT:
        text += f"less than half of a headroom of {headroom}: idle models go"
    elif level is Level.CLOSED:
        text += f"less than the headroom of {headroom}: nothing is loaded here"
    elif level is Level.WARN:
        text += f"the alarm is at {100 * reading.alarm_share:g} % in use"
    else:
        text += "enough again"
    return text


class Lately:
    """The most that others took of a device within the last minute. The first sample counts as it is."""

    def __init__(self) -> None:
        self._falling: deque[tuple[float, int]] = deque()
        """Moment and bytes of each sample that no later one has reached: the first is the most."""
        self._last_bytes = 0

    @property
    def most_bytes(self) -> int:
        """0 before the first sample."""
        return self._falling[0][1] if self._falling else 0

    def take_in(self, at_s: float, others_bytes: int, doubtful_bytes: int) -> None:
        """Another sample; `doubtful_bytes` of it may be ours, so it stays at what it was as far as they allow."""
        others_bytes = min(others_bytes, max(self._last_bytes, others_bytes - doubtful_bytes))
        self._last_bytes = others_bytes
        while self._falling and self._falling[-1][1] <= others_bytes:
            self._falling.pop()
        self._falling.append((at_s, others_bytes))
        while self._falling[0][0] <= at_s - WINDOW_S:
            self._falling.popleft()
