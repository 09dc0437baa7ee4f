"""All that wait for room on the devices: loads whose ways are known, and announced reservations. Pure.

One line for each set of devices, so that what need not be looked at is not: of those that want the same devices only
the first can have its room next, and who waits for a device lets nobody overtake it there.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from vramd_common.load_settings import LoadOptions

from ..domain.causes import ASKED_FOR, Awaited
from ..domain.config import Priority
from ..domain.quote import Plan
from .line import PriorityQueue
from .state import Reservation


class PendingLoad:
    """A load that has no process yet: it waits for its plans, then for room."""

    def __init__(self, model: str, options: LoadOptions, turn: int, priority: Priority, since_s: float) -> None:
        self.model = model
        self.options = options
        self.turn = turn
        """Its place among all that wait for room."""
        self.priority = priority
        self.since_s = since_s
        """The moment it was first asked for."""
        self.plans: tuple[Plan, ...] = ()
        self.ways: Sequence[Mapping[str, int]] = ()
        """Bytes per device of each plan."""
        self.alternatives: tuple[Plan, ...] = ()
        """What would fit, if none of the plans can."""
        self.room_from_s = math.inf
        """The moment from which others were sent away for it."""
        self.because = ASKED_FOR
        """Why it is to be loaded."""
        self.opportunistic = False
        """Nobody asked for it: it goes without rather than that others have to leave."""
        self.patience_until_s = -math.inf
        """The moment for which the timer is set that has busy models leave for it."""
        self.awaited = Awaited.PLAN
        """What it waits for."""
        self.told = ""
        """What its callers were last told."""

    @property
    def order(self) -> int:
        """Its place in the line."""
        return self.turn

    def found(self, plans: Sequence[Plan], alternatives: Sequence[Plan]) -> None:
        """Takes in how it can be placed, and what would fit instead."""
        self.plans, self.alternatives = tuple(plans), tuple(alternatives)
        self.ways = [plan.quote.needs for plan in plans]

    @property
    def devices(self) -> frozenset[str]:
        """All that one of its ways would touch."""
        return frozenset(device for plan in self.plans for device in plan.quote.devices)


class AdmissionQueue:
    """Every call takes the same time, however many wait."""

    def __init__(self, age_s: float) -> None:
        """`age_s` is how long something waits to become as urgent as the next priority."""
        self._age_s = age_s
        self._lines: dict[frozenset[str], PriorityQueue[PendingLoad | Reservation]] = {}
        self._places: dict[int, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, waits: PendingLoad | Reservation) -> bool:
        return waits.order in self._places

    def add(self, waits: PendingLoad | Reservation, devices: Collection[str]) -> None:
        """Lets something wait for these devices."""
        where = self._places[waits.order] = frozenset(devices)
        self._lines.setdefault(where, PriorityQueue(self._age_s)).add(waits)

    def remove(self, waits: PendingLoad | Reservation) -> None:
        """It waits no longer; harmless if it did not."""
        where = self._places.pop(waits.order, None)
        if where is not None:
            self._lines[where].remove(waits.order)
            if not self._lines[where]:
                del self._lines[where]

    def first(self, taken: Collection[str]) -> PendingLoad | Reservation | None:
        """Who is next among those that want none of the devices that are taken."""
        open_lines = [line for devices, line in self._lines.items() if devices.isdisjoint(taken)]
        heads = [(line.key(head := line.first()), head) for line in open_lines]
        return min(heads, key=lambda one: one[0])[1] if heads else None
