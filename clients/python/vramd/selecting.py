"""Which model serves a task. One class of calls for each client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, TypeVar

from vramd import calls
from vramd.calls import Call
from vramd.selection_values import Selection

Value = TypeVar("Value")


class Selecting(ABC):
    """The calls of `Client` that look for a model, and change nothing."""

    @abstractmethod
    def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    def select(
        self,
        task: str,
        *,
        role: str = "",
        context: int = 0,
        prefer: Literal["light_now"] | None = None,
        timeout_s: float | None = None,
    ) -> Selection:
        """The best model for a task, and why. Loads nothing.

        What a model is good for is configured (`tasks`), else guessed from its file. `role` says who asks ("architect",
        "npc"), `context` how many tokens of context are needed at least. With `prefer="light_now"` a loaded model that
        suits goes before a better one that would have to be loaded.

        In a call, the model "task:code" is what `select("code")` says at that moment. Raises NotFound if no model
        serves; a task that nobody knows is for the general ones.

        >>> selection = client.select("code_generation", role="architect")
        >>> selection.model, [other.model for other in selection.considered]
        ('coder', ['talker'])
        """
        return self._ask(calls.select(task, role, context, prefer), timeout_s)


class AsyncSelecting(ABC):
    """The same for `AsyncClient`."""

    @abstractmethod
    async def _ask(self, call: Call[Value], timeout_s: float | None) -> Value:
        """Makes a call; the client does."""

    async def select(
        self,
        task: str,
        *,
        role: str = "",
        context: int = 0,
        prefer: Literal["light_now"] | None = None,
        timeout_s: float | None = None,
    ) -> Selection:
        """The best model for a task, and why. Loads nothing.

        >>> (await client.select("code_generation", role="architect")).model
        'coder'
        """
        return await self._ask(calls.select(task, role, context, prefer), timeout_s)
