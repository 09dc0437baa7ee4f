"""Calls back when something happens: one feed of events, shared by all callbacks of a client."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Literal, TypeVar

from vramd.async_stream import AsyncFeed
from vramd.errors import InvalidRequest, VramdError
from vramd.stream import Feed
from vramd.values import Event, EventKind

log = logging.getLogger("vramd")

Topic = Literal["memory", "model", "eviction", "release", "pressure", "queue", "thrash"]
"""What can be listened to."""

TOPICS: Mapping[str, EventKind] = {
    "memory": "LEDGER",
    "model": "MODEL",
    "eviction": "EVICTION",
    "release": "RELEASE",
    "pressure": "PRESSURE",
    "queue": "QUEUE",
    "thrash": "THRASH",
}
"""Topic → kind of its events."""

END_LIMIT_S = 5.0
"""A callback that takes longer than this at the client's end is left behind."""

Callback = TypeVar("Callback", Callable[..., None], Callable[..., Awaitable[None] | None])
"""Takes the detail of its topic's events: `on` says so, to the type checker too."""


class Subscription:
    """What `on` returns: `close` it, and its callback is not called again.

    >>> subscription = client.on("model", lambda change: print(change.model, change.after))
    >>> subscription.close()
    """

    def __init__(self, close: Callable[[Subscription], None]) -> None:
        self._close = close

    def close(self) -> None:
        """Ends the calls; one that runs at this moment goes on. Idempotent, from any thread.

        >>> client.on("release", print).close()
        """
        self._close(self)


class Callbacks(Generic[Callback]):
    """Who is to be called for which events. Any thread may add and take away while another one looks."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._wanted: dict[Subscription, tuple[EventKind, Callback]] = {}

    def add(self, topic: str, callback: Callback) -> Subscription:
        """Raises InvalidRequest for a topic that there is not."""
        if topic not in TOPICS:
            raise InvalidRequest("FIELD_INVALID", f"{topic!r} is not one of {', '.join(TOPICS)}", {"field": "topic"})
        subscription = Subscription(self._remove)
        with self._changing:
            self._wanted = {**self._wanted, subscription: (TOPICS[topic], callback)}
        return subscription

    def _remove(self, subscription: Subscription) -> None:
        with self._changing:
            self._wanted = {kept: wanted for kept, wanted in self._wanted.items() if kept is not subscription}

    def of(self, kind: EventKind) -> list[Callback]:
        """In the order in which they were added."""
        return [callback for wanted, callback in self._wanted.values() if wanted == kind]


def _tell_of_fault(event: Event) -> None:
    log.exception("a callback for %s failed; it is called again for the next event", event.kind)


def _tell_of_end(error: VramdError | None) -> None:
    log.warning("no more events, callbacks are not called any more: %s", error or "the supervisor ended the feed")


class Listener:
    """Calls back from a thread of its own, as long as the supervisor and its client live."""

    def __init__(self, watch: Callable[[], Feed[Event]]) -> None:
        self._watch = watch
        self._callbacks: Callbacks[Callable[..., None]] = Callbacks()
        self._starting = threading.Lock()
        self._feed: Feed[Event] | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def add(self, topic: str, callback: Callable[..., None]) -> Subscription:
        """Returns when events are watched. Raises VramdError if they cannot be."""
        subscription = self._callbacks.add(topic, callback)
        try:
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    self._feed = self._watch().__enter__()
                    self._thread = threading.Thread(target=self._run, args=(self._feed,), name="vramd", daemon=True)
                    self._thread.start()
        except BaseException:
            subscription.close()
            raise
        return subscription

    def close(self) -> None:
        """Ends the thread. No callback is called afterwards, unless it takes very long or closes the client itself."""
        self._closing = True
        if self._feed is not None and self._thread is not None:
            self._feed.cancel()
            if self._thread is not threading.current_thread():
                self._thread.join(END_LIMIT_S)

    def _run(self, feed: Feed[Event]) -> None:
        error = None
        try:
            for event in feed:
                self._call_back(event)
        except VramdError as raised:
            error = raised
        if not self._closing:
            _tell_of_end(error)

    def _call_back(self, event: Event) -> None:
        for callback in self._callbacks.of(event.kind):
            if event.detail is not None and not self._closing:
                try:
                    callback(event.detail)
                except Exception:  # whatever it is, it is the callback's, and the others go on
                    _tell_of_fault(event)


class AsyncListener:
    """Calls back from a task of its own, as long as the supervisor and its client live."""

    def __init__(self, watch: Callable[[], AsyncFeed[Event]]) -> None:
        self._watch = watch
        self._callbacks: Callbacks[Callable[..., Awaitable[None] | None]] = Callbacks()
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def add(self, topic: str, callback: Callable[..., Awaitable[None] | None]) -> Subscription:
        """Returns when events are watched. Raises VramdError if they cannot be."""
        subscription = self._callbacks.add(topic, callback)
        try:
            async with self._starting:
                if self._task is None or self._task.done():
                    feed = await self._watch().__aenter__()
                    self._task = asyncio.ensure_future(self._run(feed))
        except BaseException:
            subscription.close()
            raise
        return subscription

    async def close(self) -> None:
        """Ends the task, and a callback that it awaits."""
        self._closing = True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self, feed: AsyncFeed[Event]) -> None:
        error = None
        try:
            async with feed:
                async for event in feed:
                    await self._call_back(event)
        except VramdError as raised:
            error = raised
        if not self._closing:
            _tell_of_end(error)

    async def _call_back(self, event: Event) -> None:
        for callback in self._callbacks.of(event.kind):
            if event.detail is not None:
                try:
                    done = callback(event.detail)
                    if inspect.isawaitable(done):
                        await done
                except Exception:  # whatever it is, it is the callback's, and the others go on
                    _tell_of_fault(event)
