"""Memory for other programs: vramd makes room for it before they take it. One class of calls for each client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from vramd import calls
from vramd.calls import Call
from vramd.reservation import Reservation, StandingReservation

Value = TypeVar("Value")


class Announcing(ABC):
    """The calls of `Client` about memory that the program itself, or another one, is about to take."""

    @abstractmethod
    def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    def reserve(
        self,
        size: str | int,
        *,
        device: str = "host",
        ttl_s: float = 60.0,
        label: str = "",
        timeout_s: float | None = None,
    ) -> Reservation:
        """Makes room for bytes that vramd's models do not take; returns when they are free.

        Idle models are evicted, least recently used first; busy ones are waited for. `size` is "1.5GiB" or a number of
        bytes. It ends by `release`, and after `ttl_s` by itself; at the latest with the supervisor.

        Raises TooLarge for more than the device may ever give, MemoryExhausted if pinned models, other reservations or
        other programs hold too much of it.

        >>> reservation = client.reserve("1.5GiB", device="gpu0", ttl_s=60)
        >>> client.release(reservation)
        True
        """
        return self._ask(calls.reserve(size, device, ttl_s, label), timeout_s)

    def release(self, reservation: Reservation | StandingReservation | int, *, timeout_s: float | None = None) -> bool:
        """Ends a reservation, given itself or by its id; says whether it stood until now. Twice is harmless.

        >>> client.release(8)
        True
        """
        return self._ask(calls.release(reservation), timeout_s)

    def reservations(self, *, timeout_s: float | None = None) -> tuple[StandingReservation, ...]:
        """Every reservation that stands, whoever made it.

        >>> [(one.id, one.label, one.left_s) for one in client.reservations()]
        [(8, 'game', 42.0)]
        """
        return self._ask(calls.reservations(), timeout_s)


class AsyncAnnouncing(ABC):
    """The same for `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    async def reserve(
        self,
        size: str | int,
        *,
        device: str = "host",
        ttl_s: float = 60.0,
        label: str = "",
        timeout_s: float | None = None,
    ) -> Reservation:
        """Makes room for bytes that vramd's models do not take.

        >>> (await client.reserve("1.5GiB", device="gpu0", ttl_s=60)).id
        8
        """
        return await self._ask(calls.reserve(size, device, ttl_s, label), timeout_s)

    async def release(
        self, reservation: Reservation | StandingReservation | int, *, timeout_s: float | None = None
    ) -> bool:
        """Ends a reservation; says whether it stood until now.

        >>> await client.release(8)
        True
        """
        return await self._ask(calls.release(reservation), timeout_s)

    async def reservations(self, *, timeout_s: float | None = None) -> tuple[StandingReservation, ...]:
        """Every reservation that stands, whoever made it.

        >>> [(one.id, one.label, one.left_s) for one in await client.reservations()]
        [(8, 'game', 42.0)]
        """
        return await self._ask(calls.reservations(), timeout_s)
