"""Models that are kept warm for as long as somebody wants them. One class of calls, and one lease, for each client."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from vramd import calls
from vramd.async_stream import AsyncReceiving
from vramd.calls import Call
from vramd.errors import Cancelled, Internal, Unloaded, VramdError
from vramd.requests import LoadSettings
from vramd.scheduling_values import ModelState
from vramd.stream import Receiving
from vramd.values import Held

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

Value = TypeVar("Value")


class Lease:
    """What a hold was told so far. Pure; shared by both kinds of hold."""

    def __init__(self, model: str) -> None:
        self.model = model
        """Its id; "task:NAME" until the supervisor has said which one was chosen."""
        self.state: ModelState | str = "UNSPECIFIED"
        """What the model was doing when that was last read: by `ready`, or by iterating. UNSPECIFIED before, and when
        the hold is over, except that a model that somebody unloaded is UNLOADED."""
        self._cancelled = False
        self._failure: VramdError | None = None
        """Why the hold is lost."""

    def _note(self, step: Held) -> None:
        self.state = step.state
        self.model = step.model or self.model

    def _lose(self, failure: VramdError) -> None:
        self._failure = copy.copy(failure)  # without the frames that it came through: they would keep this alive
        self.state = "UNLOADED" if isinstance(failure, Unloaded) else "UNSPECIFIED"

    def _end(self) -> VramdError:
        """Why a model will not become ready any more."""
        if self._failure is not None:
            return copy.copy(self._failure)
        self.state = "UNSPECIFIED"
        if self._cancelled:
            return Cancelled("CANCELLED", f"the hold on {self.model} was ended from here", code="CANCELLED")
        return Internal("INTERNAL", f"the hold on {self.model} ended without saying why")


class Hold(Lease):
    """A model that is kept warm until the block is left, or `cancel`; at the latest by the end of this process.

    It is loaded if need be, and not evicted for others nor for being idle. If its process is lost, it is loaded anew.
    Iterating gives what it is doing, as it changes, and waits; it raises VramdError when the supervisor ends the hold:
    `Unloaded`, if somebody unloads the model. Nobody has to read for the hold to last.

    >>> with client.hold("talker") as hold:
    ...     hold.ready()
    ...     hold.state
    'READY'
    """

    def __init__(self, model: str, steps: Receiving[Held]) -> None:
        super().__init__(model)
        self._steps = steps

    def __iter__(self) -> Iterator[Held]:
        return self

    def __next__(self) -> Held:
        try:
            step = next(self._steps)
        except VramdError as failure:
            self._lose(failure)
            raise
        self._note(step)
        return step

    def __repr__(self) -> str:
        return f"<vramd.Hold of {self.model}: {self.state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def ready(self) -> None:
        """Waits until the model is ready; returns at once if that is what was read last, and the hold lasts.

        Raises VramdError; when the hold is over each time.

        >>> with client.hold("talker") as hold:
        ...     hold.ready()
        """
        lost = self.state == "READY" and self._steps.is_over
        try:
            while lost or self.state != "READY":
                if next(self, None) is None:
                    raise self._end()
        except VramdError:
            raise
        except BaseException:  # Ctrl-C for one: nobody waits for it any more
            self.cancel()
            raise

    def cancel(self) -> None:
        """Ends the hold, from any thread; iterating then stops without an error. Idempotent.

        >>> hold = client.hold("talker")
        >>> hold.cancel()
        >>> list(hold)
        []
        """
        self._cancelled = True
        self.state = "UNSPECIFIED"
        self._steps.cancel()


class AsyncHold(Lease):
    """A model that is kept warm until the block is left, or `cancel`: `Hold`, with `await` before what waits.

    >>> async with client.hold("talker") as hold:
    ...     await hold.ready()
    ...     hold.state
    'READY'
    """

    def __init__(self, model: str, steps: AsyncReceiving[Held]) -> None:
        super().__init__(model)
        self._steps = steps

    def __aiter__(self) -> AsyncIterator[Held]:
        return self

    async def __anext__(self) -> Held:
        try:
            step = await self._steps.__anext__()
        except VramdError as failure:
            self._lose(failure)
            raise
        self._note(step)
        return step

    def __repr__(self) -> str:
        return f"<vramd.AsyncHold of {self.model}: {self.state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    async def ready(self) -> None:
        """Waits until the model is ready; returns at once if that is what was read last, and the hold lasts.

        Raises VramdError; when the hold is over each time.

        >>> async with client.hold("talker") as hold:
        ...     await hold.ready()
        """
        lost = self.state == "READY" and self._steps.is_over
        try:
            while lost or self.state != "READY":
                await self.__anext__()
        except StopAsyncIteration:
            raise self._end() from None
        except VramdError:
            raise
        except BaseException:  # the task is cancelled: nobody waits for it any more
            self.cancel()
            raise

    def cancel(self) -> None:
        """Ends the hold; iterating then stops without an error. Idempotent.

        >>> hold = client.hold("talker")
        >>> hold.cancel()
        >>> [step async for step in hold]
        []
        """
        self._cancelled = True
        self.state = "UNSPECIFIED"
        self._steps.cancel()


class Holding(ABC):
    """The call of `Client` that keeps a model warm."""

    @abstractmethod
    def _receive(self, call: Call[Value], timeout_s: float | None) -> Receiving[Value]:
        """Begins a call; the client does."""

    def hold(
        self, model: str, *, label: str = "", timeout_s: float | None = None, **settings: Unpack[LoadSettings]
    ) -> Hold:
        """Keeps a model warm as long as the hold lives: loaded, and not evicted. Does not wait: `Hold.ready` does.

        Only a `timeout_s` of its own limits it. Many may hold the same model; what is held cannot make room for others,
        so these may be refused with MemoryExhausted. `label` says for whom, in messages and listings.

        >>> with client.hold("talker", context=4096) as hold:
        ...     for step in hold:
        ...         print(step.state, step.message)
        ...         if step.state == "READY":
        ...             break
        LOADING talker is LOADING
        READY it is kept warm
        """
        return Hold(model, self._receive(calls.hold(model, label, settings), timeout_s))


class AsyncHolding(ABC):
    """The same for `AsyncClient`."""

    @abstractmethod
    def _receive(self, call: Call[Value], timeout_s: float | None) -> AsyncReceiving[Value]:
        """Begins a call; the client does."""

    def hold(
        self, model: str, *, label: str = "", timeout_s: float | None = None, **settings: Unpack[LoadSettings]
    ) -> AsyncHold:
        """Keeps a model warm as long as the hold lives: loaded, and not evicted. `AsyncHold.ready` waits.

        >>> async with client.hold("talker") as hold:
        ...     [step.state async for step in hold]
        ['LOADING', 'READY']
        """
        return AsyncHold(model, self._receive(calls.hold(model, label, settings), timeout_s))
