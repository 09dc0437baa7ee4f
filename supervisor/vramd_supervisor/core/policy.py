"""Who has to go when something must come. Pure; only decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A process that may be ended."""

    incarnation: int
    last_used_s: float
    held_bytes: Mapping[str, int]
    """What ending it gives back, per device."""
    sacrificial: bool = False
    """It goes before all others."""
    reload_s: float = 0.0
    """What its last load took."""
    busy: bool = False
    """It works for somebody, or somebody waits for it."""

    @property
    def rank(self) -> tuple[bool, bool, float, float, int]:
        """The lower, the sooner it goes: who is idle, sacrificial, least recently used, soon loaded again."""
        return self.busy, not self.sacrificial, self.last_used_s, self.reload_s, self.incarnation


def victims(candidates: Sequence[Candidate], missing_bytes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The incarnations to end so that `missing_bytes` come free; None if all of them together do not suffice.

    In the order of their rank, but only such as hold bytes where some are missing; of those picked, the ones that turn
    out not to be needed are spared again, the youngest first.
    """
    missing = {device: need for device, need in missing_bytes.items() if need > 0}
    picked: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda one: one.rank):
        if _suffice(picked, missing):
            break
        if any(candidate.held_bytes.get(device, 0) for device in missing):
            picked.append(candidate)
    if not _suffice(picked, missing):
        return None
    for candidate in reversed(picked.copy()):
        without = [other for other in picked if other is not candidate]
        if _suffice(without, missing):
            picked = without
    return tuple(candidate.incarnation for candidate in picked)


def _suffice(picked: Sequence[Candidate], missing: Mapping[str, int]) -> bool:
    return all(sum(c.held_bytes.get(device, 0) for c in picked) >= need for device, need in missing.items())
