"""Corrects quotes by past loads. Pure: the memory book keeps the observations, the shell makes them.

Two things are learned. The residual, bytes of a process beyond the engine's count (driver context, workspaces,
interpreter), hardly depends on the model, so it is learned per card, driver and build over all models. The total of a
load is learned for exactly the same load. Both are measured once, when a model is ready: later growth comes from
requests or faults, not from the load. Both need `FEWEST_LOADS`, and both are keyed by driver and build, so a change of
either starts afresh.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from vramd_common.load_settings import Settings

from ..domain.device_view import HOST
from ..domain.quote import Confidence, Quote, Source

_MIB = 1 << 20

FEWEST_LOADS = 3
"""Least number of loads before a lesson is used."""
LOADS_KEPT = 32
"""Latest loads kept for each lesson; older ones are dropped."""
MARGIN_BYTES = 16 * _MIB
MARGIN_SHARE = 0.02
"""Share of the bytes that loads took; the smaller of both margins applies."""
BUMP_BYTES = 128 * _MIB
BUMP_SHARE = 0.10
_ABSURD_BYTES = 1 << 50
"""Least count that is taken for one that wrapped below zero."""


@dataclass(frozen=True)
class Place:
    """The scope of a residual: when one of these changes, it is learned again."""

    device: str
    """UUID of a card, "host", or another permanent name of a device; never an index."""
    driver: str
    """Version of the device's driver; empty where there is none."""
    build: str
    """Version of llama-cpp-python, and its backend."""


@dataclass(frozen=True)
class Observation:
    place: Place
    engine_bytes: int
    """llama.cpp's own count."""
    measured_bytes: int | None
    """Bytes of the process after its warm-up, from the driver, or PSS on the host. None or 0: not known here."""

    @property
    def useless(self) -> bool:
        """Whether nothing can be learned, as the bytes are unknown or impossible."""
        if not self.measured_bytes:
            return True
        return not all(0 <= count < _ABSURD_BYTES for count in (self.engine_bytes, self.measured_bytes))

    @property
    def residual_bytes(self) -> int:
        """Bytes that the process took beyond the engine's count."""
        return max(0, (self.measured_bytes or 0) - self.engine_bytes)


@dataclass(frozen=True)
class LearnedUsage:
    residuals_bytes: Mapping[Place, tuple[int, ...]] = field(default_factory=dict)
    """Residuals of the last loads, oldest first."""
    loads_bytes: Mapping[tuple[str, Place], tuple[int, ...]] = field(default_factory=dict)
    """Totals of the last loads with one key on one device, oldest first."""
    bumped: frozenset[tuple[str, str]] = frozenset()
    """Keys, each with a device that once ran out of memory under it."""


def load_key(file_digest: str, settings: Settings, places: Mapping[str, Place]) -> str:
    """Returns a key that is equal if and only if all that decides the bytes of a load is equal.

    `file_digest` represents all that the file's size and tensors decide. `places` has the computing devices by id. Ids
    and threads are left out of the key: neither changes the bytes.
    """
    left_out = ("threads", "device", "shares")
    parts = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name not in left_out}
    parts |= {
        "file": file_digest,
        "places": tuple(places[device] for device in settings.devices),
        "split": tuple(share for _, share in settings.shares),
    }
    return "\n".join(f"{name}={value!r}" for name, value in sorted(parts.items()))


def learn(seen: Iterable[tuple[str, Observation]], bumped: Iterable[tuple[str, str]] = ()) -> LearnedUsage:
    """Learns from these loads, oldest first, each with its key; `bumped` is taken over unchanged."""
    residuals_bytes: dict[Place, deque[int]] = defaultdict(lambda: deque(maxlen=LOADS_KEPT))
    loads_bytes: dict[tuple[str, Place], deque[int]] = defaultdict(lambda: deque(maxlen=LOADS_KEPT))
    for key, one in seen:
        if not one.useless:
            residuals_bytes[one.place].append(one.residual_bytes)
            loads_bytes[key, one.place].append(one.measured_bytes or 0)
    return LearnedUsage(
        {place: tuple(sizes) for place, sizes in residuals_bytes.items()},
        {filed: tuple(sizes) for filed, sizes in loads_bytes.items()},
        frozenset(bumped),
    )


def residual_bytes(lessons: LearnedUsage, place: Place) -> int | None:
    """Returns a bound that residuals there rarely exceed; None before enough loads."""
    return _believed(lessons.residuals_bytes.get(place, ()))


def load_bytes(lessons: LearnedUsage, key: str, place: Place) -> int | None:
    """Returns a bound that loads with this key rarely exceed there; None before enough loads."""
    return _believed(lessons.loads_bytes.get((key, place), ()))


def _believed(sizes: Sequence[int]) -> int | None:
    """Returns the 95th percentile (nearest rank), but never the maximum: a single load may have gone wrong."""
    count = len(sizes)
    return sorted(sizes)[min(count - 1, -(-95 * count // 100)) - 1] if count >= FEWEST_LOADS else None


def adjust(quote: Quote, key: str, places: Mapping[str, Place], lessons: LearnedUsage) -> Quote:
    """Corrects a quote by past loads. Only `process_bytes` change, so no device falls below the engine's bytes.

    `places` has every device of the quote. The quote's `process_bytes` hold until something was learned.

    1. A declared quote is true by declaration.
    2. If this load's total is known on all devices, it is used with a margin; on the host it only raises the quote.
    3. If the residual of a card is known, it replaces the quote's `process_bytes`.
    4. A device that ran out of memory under this key gets more, once.
    """
    if quote.source is Source.DECLARED:  # 1
        return quote
    found = {device: load_bytes(lessons, key, places[device]) for device in quote.devices}
    taken = {device: size for device, size in found.items() if size is not None}
    learned = taken.keys() == quote.devices.keys()
    devices = {}
    for device, need in quote.devices.items():
        # llama.cpp does not use all the host memory that it allocates, so the difference says nothing there.
        residual = None if device == HOST else residual_bytes(lessons, places[device])
        process_bytes = need.process_bytes if residual is None else residual  # 3
        if learned:  # 2
            margin_bytes = min(MARGIN_BYTES, int(taken[device] * MARGIN_SHARE))
            # On the host, answers will use memory that the load does not use yet, so the quote may only rise.
            least_bytes = need.process_bytes if device == HOST else 0
            process_bytes = max(least_bytes, taken[device] + margin_bytes - need.engine_bytes)
        if (key, places[device].device) in lessons.bumped:  # 4
            process_bytes += max(BUMP_BYTES, int((need.engine_bytes + process_bytes) * BUMP_SHARE))
        devices[device] = replace(need, process_bytes=process_bytes)
    if not learned:
        return replace(quote, devices=devices)
    return replace(quote, devices=devices, confidence=Confidence.EXACT, source=Source.LEARNED)
