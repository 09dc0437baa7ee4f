"""Why the supervisor did what it did. One class of calls for each client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from vramd import calls
from vramd.calls import Call
from vramd.decision_values import Decision

Value = TypeVar("Value")


class Explaining(ABC):
    """The calls of `Client` that ask for reasons, and change nothing."""

    @abstractmethod
    def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    def decisions(self, model: str = "", *, limit: int = 100, timeout_s: float | None = None) -> tuple[Decision, ...]:
        """Loads, evictions, refusals and degradations of a model, or of all; newest first, at most `limit`.

        They are kept when the supervisor ends: the last 20,000, if they are short. Raises NotFound for a model that
        nobody knows and nothing was decided about.

        >>> for decision in client.decisions("reader", limit=1):
        ...     print(decision.kind, decision.for_whom, decision.numbers["lacking_bytes"])
        evict talker 54525952.0
        """
        return self._ask(calls.decisions(model, limit), timeout_s)


class AsyncExplaining(ABC):
    """The same for `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    async def decisions(
        self, model: str = "", *, limit: int = 100, timeout_s: float | None = None
    ) -> tuple[Decision, ...]:
        """Loads, evictions, refusals and degradations of a model, or of all; newest first, at most `limit`.

        >>> [decision.kind for decision in await client.decisions("reader")]
        ['evict']
        """
        return await self._ask(calls.decisions(model, limit), timeout_s)
