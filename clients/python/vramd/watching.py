"""What happens in a supervisor, and what its processes print. One class of calls for each client."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, TypeVar, overload

from vramd import calls, values
from vramd.async_stream import AsyncFeed, AsyncReceiving
from vramd.calls import Call
from vramd.listening import AsyncListener, Listener, Subscription, Topic
from vramd.pressure import PressureChanged
from vramd.scheduling_values import QueueChanged, Thrashing
from vramd.stream import Feed, Receiving

Value = TypeVar("Value")


class Watching(ABC):
    """The calls of `Client` that go on for as long as somebody looks."""

    def __init__(self) -> None:
        self._listener = Listener()

    @abstractmethod
    def _receive(self, call: Call[Value], timeout_s: float | None) -> Receiving[Value]:
        """Begins a call; the client does."""

    def watch(
        self,
        kinds: Iterable[values.EventKind] = (),
        *,
        after_sequence: int | None = None,
        timeout_s: float | None = None,
    ) -> Feed[values.Event]:
        """What happens from now on; no kinds means all, `after_sequence` begins behind a remembered event.

        Behind 0 is the oldest that is remembered; None begins with the next that happens.

        Goes on for ever; only a `timeout_s` of its own limits it.

        >>> with client.watch(["EVICTION"]) as events:
        ...     gone = next(events).detail
        >>> isinstance(gone, vramd.Evicted) and gone.cause
        'evicted_for_model'
        """
        events = self._receive(calls.watch(kinds, after_sequence), timeout_s)
        return Feed(events, announced=True)

    @overload
    def on(self, topic: Literal["memory"], callback: Callable[[values.LedgerChanged], None]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["model"], callback: Callable[[values.ModelChanged], None]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["eviction"], callback: Callable[[values.Evicted], None]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["release"], callback: Callable[[values.Receipt], None]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["pressure"], callback: Callable[[PressureChanged], None]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["queue"], callback: Callable[[QueueChanged], None]) -> Subscription: ...
    @overload
    def on(self, topic: Literal["thrash"], callback: Callable[[Thrashing], None]) -> Subscription: ...

    def on(self, topic: Topic, callback: Callable[..., None]) -> Subscription:
        """Calls back for what happens from now on, until the subscription is closed, or this client.

        All callbacks of a client share one thread of their own: a slow one keeps the others waiting. One that raises is
        logged, and called again for the next event. When the supervisor ends, there is a warning in the log of `vramd`;
        the calls go on with the next supervisor that this client finds, and what happens until then is missed.

        >>> client.on("memory", lambda change: print(change.devices[0].reserved_bytes)).close()
        """
        return self._listener.add(topic, callback, self.watch)

    def logs(
        self, model: str = "", *, lines: int = 100, follow: bool = False, timeout_s: float | None = None
    ) -> Feed[str]:
        """The last lines that a model's worker printed, or the supervisor; with `follow` also those to come.

        Only a `timeout_s` of its own limits it.

        >>> list(client.logs("talker", lines=2))
        ['the model is ready', '2 tokens in 0.1 s']
        """
        printed = self._receive(calls.logs(model, lines, follow), timeout_s)
        return Feed(printed)


class AsyncWatching(ABC):
    """The same for `AsyncClient`."""

    def __init__(self) -> None:
        self._listener = AsyncListener()

    @abstractmethod
    def _receive(self, call: Call[Value], timeout_s: float | None) -> AsyncReceiving[Value]:
        """Begins a call; the client does."""

    def watch(
        self,
        kinds: Iterable[values.EventKind] = (),
        *,
        after_sequence: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncFeed[values.Event]:
        """What happens from now on.

        >>> async with client.watch(["EVICTION"]) as events:
        ...     gone = (await anext(events)).detail
        >>> isinstance(gone, vramd.Evicted) and gone.cause
        'evicted_for_model'
        """
        events = self._receive(calls.watch(kinds, after_sequence), timeout_s)
        return AsyncFeed(events, announced=True)

    @overload
    async def on(
        self, topic: Literal["memory"], callback: Callable[[values.LedgerChanged], Awaitable[None] | None]
    ) -> Subscription: ...
    @overload
    async def on(
        self, topic: Literal["model"], callback: Callable[[values.ModelChanged], Awaitable[None] | None]
    ) -> Subscription: ...
    @overload
    async def on(
        self, topic: Literal["eviction"], callback: Callable[[values.Evicted], Awaitable[None] | None]
    ) -> Subscription: ...
    @overload
    async def on(
        self, topic: Literal["release"], callback: Callable[[values.Receipt], Awaitable[None] | None]
    ) -> Subscription: ...
    @overload
    async def on(
        self, topic: Literal["pressure"], callback: Callable[[PressureChanged], Awaitable[None] | None]
    ) -> Subscription: ...
    @overload
    async def on(
        self, topic: Literal["queue"], callback: Callable[[QueueChanged], Awaitable[None] | None]
    ) -> Subscription: ...
    @overload
    async def on(
        self, topic: Literal["thrash"], callback: Callable[[Thrashing], Awaitable[None] | None]
    ) -> Subscription: ...

    async def on(self, topic: Topic, callback: Callable[..., Awaitable[None] | None]) -> Subscription:
        """Calls back for what happens from now on, in a task of its own; coroutine functions are awaited in turn.

        >>> subscription = await client.on("eviction", lambda gone: print(gone.model, gone.message))
        >>> subscription.close()
        """
        return await self._listener.add(topic, callback, self.watch)

    def logs(
        self, model: str = "", *, lines: int = 100, follow: bool = False, timeout_s: float | None = None
    ) -> AsyncFeed[str]:
        """The last lines that a model's worker printed, or the supervisor.

        >>> [line async for line in client.logs("talker", lines=2)]
        ['the model is ready', '2 tokens in 0.1 s']
        """
        printed = self._receive(calls.logs(model, lines, follow), timeout_s)
        return AsyncFeed(printed)
