"""What past loads teach the next quote. Pure: the memory book keeps the observations, the shell makes them.

Two lessons. What a process takes beside the engine's own bytes (driver context, workspaces, interpreter) hardly depends
on the model, so that residual is learned for each card, driver and build over all models. What a load took is learned
for exactly the same load. Both are measured once a model is ready: what requests or faults make of its process later is
no load's. Both need `FEWEST_LOADS`, and neither outlives a change of driver or build, which are part of what they are
filed under.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from vramd_common.load_settings import Settings

from ..domain.device_view import HOST
from ..domain.quote import Confidence, Quote, Source

_MIB = 1 << 20

FEWEST_LOADS = 3
"""Before so many, a lesson is not believed."""
LOADS_KEPT = 32
"""The last of each lesson; older ones are forgotten."""
MARGIN_BYTES = 16 * _MIB
MARGIN_SHARE = 0.02
"""Of what loads took; the smaller margin counts."""
BUMP_BYTES = 128 * _MIB
BUMP_SHARE = 0.10
_ABSURD_BYTES = 1 << 50
"""A count past this has wrapped round below zero."""


@dataclass(frozen=True)
class Place:
    """Where a residual holds: as soon as one of these changes, it has to be learned anew."""

    device: str
    """UUID of a card, "host", or what else names a device for good; never an index."""
    driver: str
    """Version of the device's driver; empty where there is none."""
    build: str
    """Version of llama-cpp-python, and its backend."""


@dataclass(frozen=True)
class Observation:
    """One load on one device."""

    place: Place
    engine_bytes: int
    """llama.cpp's own count."""
    measured_bytes: int | None
    """Of the process after its warm-up, by the driver, or PSS on the host. None or 0: that cannot be known here."""

    @property
    def useless(self) -> bool:
        """Whether the bytes are not known, or cannot be true, so that nothing may be learned from them."""
        if not self.measured_bytes:
            return True
        return not all(0 <= count < _ABSURD_BYTES for count in (self.engine_bytes, self.measured_bytes))

    @property
    def residual_bytes(self) -> int:
        """What the process took beside the engine's bytes."""
        return max(0, (self.measured_bytes or 0) - self.engine_bytes)


@dataclass(frozen=True)
class LearnedUsage:
    """All that was learned."""

    residuals_bytes: Mapping[Place, tuple[int, ...]] = field(default_factory=dict)
    """Of the last loads, oldest first."""
    loads_bytes: Mapping[tuple[str, Place], tuple[int, ...]] = field(default_factory=dict)
    """Of the last loads with one key on one device, oldest first."""
    bumped: frozenset[tuple[str, str]] = frozenset()
    """Keys, each with the device that once ran out of memory under it."""


def load_key(file_digest: str, settings: Settings, places: Mapping[str, Place]) -> str:
    """What has to be the same for a load to take the same bytes, as text; equal if and only if all of it is.

    `file_digest` stands for all that the file's size and tensors decide. `places` has the computing devices by
    their ids, which themselves stay out of it, as do the threads: neither changes the bytes.
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
    """The lessons of these loads, oldest first, each with its key; `bumped` goes into them as it is."""
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
    """What they hardly ever exceed there; None before enough loads."""
    return _believed(lessons.residuals_bytes.get(place, ()))


def load_bytes(lessons: LearnedUsage, key: str, place: Place) -> int | None:
    """What loads with this key hardly ever exceed there; None before enough loads."""
    return _believed(lessons.loads_bytes.get((key, place), ()))


def _believed(sizes: Sequence[int]) -> int | None:
    """The 95th percentile (nearest rank), and never the most of all: a single load may have gone wrong."""
    count = len(sizes)
    return sorted(sizes)[min(count - 1, -(-95 * count // 100)) - 1] if count >= FEWEST_LOADS else None


def adjust(quote: Quote, key: str, places: Mapping[str, Place], lessons: LearnedUsage) -> Quote:
    """The quote as past loads correct it. Only `process_bytes` change, so no device falls below the engine's own bytes.

    `places` has every device of the quote. What the quote has as `process_bytes` holds until something was learned.

    1. A declared quote is true by declaration.
    2. What this very load takes is known on all devices: that, and a margin; on the host not less than without it.
    3. The residual of a card is known: it takes the place of the prior.
    4. A device that ran out of memory under this key gets more, once.
    """
    if quote.source is Source.DECLARED:  # 1
        return quote
    found = {device: load_bytes(lessons, key, places[device]) for device in quote.devices}
    taken = {device: size for device, size in found.items() if size is not None}
    learned = taken.keys() == quote.devices.keys()
    devices = {}
    for device, need in quote.devices.items():
        # What llama.cpp has allocated of the host's memory is not all in use: there the difference says nothing.
        residual = None if device == HOST else residual_bytes(lessons, places[device])
        process_bytes = need.process_bytes if residual is None else residual  # 3
        if learned:  # 2
            margin_bytes = min(MARGIN_BYTES, int(taken[device] * MARGIN_SHARE))
            # On the host a load does not use all yet that its answers will: it can only be more than was thought.
            least_bytes = need.process_bytes if device == HOST else 0
            process_bytes = max(least_bytes, taken[device] + margin_bytes - need.engine_bytes)
        if (key, places[device].device) in lessons.bumped:  # 4
            process_bytes += max(BUMP_BYTES, int((need.engine_bytes + process_bytes) * BUMP_SHARE))
        devices[device] = replace(need, process_bytes=process_bytes)
    if not learned:
        return replace(quote, devices=devices)
    return replace(quote, devices=devices, confidence=Confidence.EXACT, source=Source.LEARNED)
