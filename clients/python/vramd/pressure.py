"""How scarce the memory of a device is, as values. Pure."""

from dataclasses import dataclass
from typing import Literal

Pressure = Literal["UNSPECIFIED", "NONE", "WARN", "CLOSED", "EVICT", "CRITICAL"]
"""From enough to next to nothing. CLOSED: nothing is loaded there. EVICT, CRITICAL: idle models go."""


@dataclass(frozen=True)
class PressureChanged:
    """The memory of a device became scarcer, or less so: one event for each crossing.

    >>> with client.watch(["PRESSURE"]) as events:
    ...     change = next(events).detail
    >>> isinstance(change, vramd.PressureChanged) and (change.device, change.before, change.after)
    ('gpu0', 'WARN', 'CLOSED')
    """

    device: str
    before: Pressure | str
    after: Pressure | str
    free_bytes: int
    """What nobody takes."""
    external_bytes: int
    """Taken by programs that are not vramd's."""
    headroom_bytes: int
    """Left to them."""
    message: str
    """Why, with the numbers."""
