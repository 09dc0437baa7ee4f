"""Bytes promised, per device and process. Pure: no I/O, no clock.

A row belongs to one process or to one reservation. That of a process is written before it is spawned and freed when it
is known to be gone and its memory is back, never earlier.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from .pressure import Lately


@dataclass(frozen=True)
class Account:
    """One device, with its total bytes and those that vramd may promise."""

    total_bytes: int
    budget_bytes: int
    """The most that may ever be promised."""
    headroom_bytes: int = 0
    external_bytes: int = 0
    """Bytes that other programs take, as last seen."""


class OverBudgetError(Exception):
    """A promise that must not be made: the caller has not asked `free_bytes` first."""


class Ledger:
    """Rows of promised bytes. The sum of a device's rows never exceeds its budget, unless that was lowered since."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self._accounts = dict(accounts)
        self._rows: dict[int, dict[str, int]] = {}
        self._reserved = dict.fromkeys(accounts, 0)
        self._before: dict[str, int] = {}
        """Bytes that were promised when a budget was lowered below them, less what was freed since."""
        self._lately = {device: Lately() for device in accounts}
        self._external_at_first: dict[int, dict[str, int]] = {}
        """Bytes that others took of each reservation's devices when it was granted, or later, if that was less."""

    @property
    def accounts(self) -> Mapping[str, Account]:
        return self._accounts

    @property
    def rows(self) -> Mapping[int, Mapping[str, int]]:
        """Bytes per device of each row."""
        return self._rows

    def observe(self, device: str, total_bytes: int, external_bytes: int) -> None:
        self._accounts[device] = replace(self._accounts[device], total_bytes=total_bytes, external_bytes=external_bytes)
        for firsts in self._external_at_first.values():
            if device in firsts:
                firsts[device] = min(firsts[device], external_bytes)

    def limit(self, device: str, budget_bytes: int, headroom_bytes: int) -> None:
        """Changes what may be promised. What is promised already stays, even if it is more than a lower budget."""
        account = self._accounts[device]
        self._accounts[device] = replace(account, budget_bytes=budget_bytes, headroom_bytes=headroom_bytes)
        self._before[device] = self._reserved[device]
        self._tighten()

    def over_budget_bytes(self, device: str) -> int:
        """Bytes promised beyond the budget, which was lowered; 0 or less if there are none."""
        return self._reserved[device] - self._accounts[device].budget_bytes

    def _tighten(self) -> None:
        """What is freed of an excess is not promised again."""
        for device in list(self._before):
            self._before[device] = min(self._before[device], self._reserved[device])
            if self.over_budget_bytes(device) <= 0:
                del self._before[device]

    def _most_bytes(self, device: str) -> int:
        """Most that may be promised now."""
        return max(self._accounts[device].budget_bytes, self._before.get(device, 0))

    def remember(self, device: str, at_s: float, doubtful_bytes: int) -> None:
        """Keeps in mind for a while what others take now; `doubtful_bytes` of it may be of processes of ours.

        What arrived for a reservation is left out, for it is promised.
        """
        self._lately[device].take_in(at_s, self._others_bytes(device), doubtful_bytes)

    def reserved_bytes(self, device: str) -> int:
        return self._reserved[device]

    def free_bytes(self, device: str) -> int:
        """What can be promised now: within the budget, and beside what others take. Negative when they took ours.

        This decides what is refused and what is evicted; `steady_free_bytes` decides when a load begins.
        """
        return self._beside(device, self._others_bytes(device))

    def steady_free_bytes(self, device: str) -> int:
        """The same beside the most that others took within the last minute."""
        return self._beside(device, max(self._others_bytes(device), self._lately[device].most_bytes))

    def is_steady(self, device: str) -> bool:
        """Whether others took no more within the last minute than now."""
        return self._lately[device].most_bytes <= self._others_bytes(device)

    def is_within_budgets(self, needs: Mapping[str, int]) -> bool:
        """Whether the budgets would hold these bytes, were nothing else promised."""
        return all(need <= self._accounts[device].budget_bytes for device, need in needs.items())

    def is_budget_the_limit(self, device: str) -> bool:
        """Whether there would be more if the budget were larger, whatever others take."""
        return self._accounts[device].budget_bytes < self._usable_bytes(device, self._others_bytes(device))

    def _beside(self, device: str, others_bytes: int) -> int:
        usable_bytes = self._usable_bytes(device, others_bytes)
        return min(self._accounts[device].budget_bytes, usable_bytes) - self._reserved[device]

    def _usable_bytes(self, device: str, others_bytes: int) -> int:
        account = self._accounts[device]
        return account.total_bytes - account.headroom_bytes - others_bytes

    def _others_bytes(self, device: str) -> int:
        external_bytes = self._accounts[device].external_bytes
        return external_bytes - self._arrived_bytes(device) if self._external_at_first else external_bytes

    def _arrived_bytes(self, device: str) -> int:
        """Bytes that others took since it was reserved: they are promised already, and not to be counted twice."""
        external = self._accounts[device].external_bytes
        grown = {row: external - firsts[device] for row, firsts in self._external_at_first.items() if device in firsts}
        each = sum(self.arrived_bytes(row, device) for row in grown)
        return min(each, max(grown.values(), default=0))

    def arrived_bytes(self, row: int, device: str) -> int:
        """Bytes that others took of a device since this reservation was granted, up to its own."""
        growth = self._accounts[device].external_bytes - self._external_at_first[row][device]
        return min(self._rows[row][device], growth)

    def held_bytes(self, rows: Iterable[int], device: str) -> int:
        """Bytes that these rows hold on a device together."""
        return sum(self._rows[row].get(device, 0) for row in rows)

    def book(self, row: int, needs: Mapping[str, int]) -> None:
        """Writes a row, or rewrites it: all devices or none. Raises OverBudgetError and changes nothing."""
        before = self._rows.get(row, {})
        for device, need in needs.items():
            after = self._reserved[device] - before.get(device, 0) + need
            if need < 0 or after > self._most_bytes(device):
                raise OverBudgetError(
                    f"{device}: {after} bytes would be promised of {self._accounts[device].budget_bytes}"
                )
        self._subtract(before)
        self._rows[row] = dict(needs)
        for device, need in needs.items():
            self._reserved[device] += need
        self._tighten()

    def reserve(self, row: int, needs: Mapping[str, int]) -> None:
        """Writes the row of a reservation. Raises OverBudgetError and changes nothing."""
        self.book(row, needs)
        self._external_at_first[row] = {device: self._accounts[device].external_bytes for device in needs}

    def release(self, row: int) -> Mapping[str, int]:
        """Frees a row and returns it. Raises KeyError if there is none: nothing is freed twice."""
        needs = self._rows.pop(row)
        self._external_at_first.pop(row, None)
        self._subtract(needs)
        self._tighten()
        return needs

    def _subtract(self, needs: Mapping[str, int]) -> None:
        for device, need in needs.items():
            self._reserved[device] -= need

    def check(self) -> None:
        """Asserts what must hold after every event."""
        for device, account in self._accounts.items():
            held = self.held_bytes(self._rows, device)
            assert held == self._reserved[device], f"{device}: rows hold {held}, the sum says {self._reserved[device]}"
            assert held <= self._most_bytes(device), f"{device}: {held} promised of {account.budget_bytes}"
