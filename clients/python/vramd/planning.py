"""What a load would come to, before it is begun. One class of calls for each client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from vramd import calls
from vramd.calls import Call
from vramd.plan_values import Plan
from vramd.requests import LoadSettings

if TYPE_CHECKING:
    from typing_extensions import Unpack

Value = TypeVar("Value")


class Planning(ABC):
    """The calls of `Client` that ask what would be, and change nothing."""

    @abstractmethod
    def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    def plan(self, model: str, *, timeout_s: float | None = None, **settings: Unpack[LoadSettings]) -> Plan:
        """Says what a load would take, whether it fits, and who would have to go. Changes nothing.

        The need may have to be found out first, which can take seconds for a large file. What was true of the devices
        when it was asked may have changed when the load comes.

        >>> plan = client.plan("talker", kv_type="q8_0")
        >>> plan.fits, [victim.model for victim in plan.victims]
        (True, ['reader'])
        """
        return self._ask(calls.plan(model, settings), timeout_s)


class AsyncPlanning(ABC):
    """The same for `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    async def plan(self, model: str, *, timeout_s: float | None = None, **settings: Unpack[LoadSettings]) -> Plan:
        """Says what a load would take, whether it fits, and who would have to go. Changes nothing.

        >>> (await client.plan("talker", kv_type="q8_0")).fits
        True
        """
        return await self._ask(calls.plan(model, settings), timeout_s)
