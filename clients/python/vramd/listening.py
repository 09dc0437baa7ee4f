"""Calls back when something happens: one feed of events, shared by all callbacks of a client."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, Literal, TypeVar

from vramd.async_stream import AsyncFeed
from vramd.errors import InvalidRequest, Unavailable, VramdError
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

AGAIN_S = 1.0
"""How often another supervisor is looked for when one has ended: a file is read, or a connection refused."""

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

    def of(self, kind: EventKind | str) -> list[Callback]:
        """In the order in which they were added."""
        return [callback for wanted, callback in self._wanted.values() if wanted == kind]


def _tell_of_fault(event: Event) -> None:
    log.exception("a callback for %s failed; it is called again for the next event", event.kind)


def _tell_of_end(error: VramdError | None, *, again: bool) -> None:
    hope = f"a supervisor is looked for every {AGAIN_S:g} s" if again else "callbacks are not called any more"
    log.warning("no more events, %s: %s", hope, error or "the supervisor ended the feed")


def _may_come_back(error: VramdError | None) -> bool:
    """Whether another supervisor may take the place of the one that is gone."""
    return error is None or isinstance(error, Unavailable)


class Listener:
    """Calls back from a thread of its own, as long as its client lives: events of the next supervisor too."""

    def __init__(self) -> None:
        self._callbacks: Callbacks[Callable[..., None]] = Callbacks()
        self._starting = threading.Lock()
        self._feed: Feed[Event] | None = None
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def add(self, topic: str, callback: Callable[..., None], watch: Callable[[], Feed[Event]]) -> Subscription:
        """Returns when events are watched. Raises VramdError if they cannot be."""
        subscription = self._callbacks.add(topic, callback)
        try:
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    self._feed = watch().__enter__()
                    self._thread = threading.Thread(target=self._run, args=(self._feed, watch), daemon=True)
                    self._thread.name = "vramd"
                    self._thread.start()
        except BaseException:
            subscription.close()
            raise
        return subscription

    def close(self) -> None:
        """Ends the thread. No callback is called afterwards, unless it takes very long or closes the client itself."""
        self._closing.set()
        if self._feed is not None and self._thread is not None:
            self._feed.cancel()
            if self._thread is not threading.current_thread():
                self._thread.join(END_LIMIT_S)

    def _run(self, feed: Feed[Event] | None, watch: Callable[[], Feed[Event]]) -> None:
        while feed is not None:
            feed = self._listen(feed, watch)

    def _listen(self, feed: Feed[Event], watch: Callable[[], Feed[Event]]) -> Feed[Event] | None:
        """Calls back until the feed ends; gives the next one, of whatever supervisor."""
        error = None
        try:
            for event in feed:
                self._call_back(event)
        except VramdError as raised:
            error = raised.with_traceback(None)
        again = _may_come_back(error)
        if not self._closing.is_set():
            _tell_of_end(error, again=again)
        while again and not self._closing.wait(AGAIN_S):
            try:
                self._feed = watch().__enter__()
            except VramdError as failure:
                again = _may_come_back(failure)
                if not again and not self._closing.is_set():
                    _tell_of_end(failure, again=False)
            else:
                if self._closing.is_set():  # by somebody who did not see this feed
                    self._feed.cancel()
                log.info("events are watched again")
                return self._feed
        return None

    def _call_back(self, event: Event) -> None:
        for callback in self._callbacks.of(event.kind):
            if event.detail is not None and not self._closing.is_set():
                try:
                    callback(event.detail)
                except Exception:  # whatever it is, it is the callback's, and the others go on
                    _tell_of_fault(event)


class AsyncListener:
    """Calls back from a task of its own, as long as its client lives: events of the next supervisor too."""

    def __init__(self) -> None:
        self._callbacks: Callbacks[Callable[..., Awaitable[None] | None]] = Callbacks()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def add(
        self, topic: str, callback: Callable[..., Awaitable[None] | None], watch: Callable[[], AsyncFeed[Event]]
    ) -> Subscription:
        """Returns when events are watched. Raises VramdError if they cannot be."""
        subscription = self._callbacks.add(topic, callback)
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop, self._starting, self._task = loop, asyncio.Lock(), None
        try:
            async with self._starting:
                if self._task is None or self._task.done() or self._loop is not loop:  # of two loops, one is refused
                    feed = await watch().__aenter__()
                    self._task = asyncio.ensure_future(self._run(feed, watch))
        except BaseException:
            subscription.close()
            raise
        return subscription

    async def close(self) -> None:
        """Ends the task, and a callback that it awaits."""
        self._closing = True
        if self._loop is not asyncio.get_running_loop() or self._task in (None, asyncio.current_task()):
            return
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self, feed: AsyncFeed[Event] | None, watch: Callable[[], AsyncFeed[Event]]) -> None:
        while feed is not None:
            feed = await self._listen(feed, watch)

    async def _listen(self, feed: AsyncFeed[Event], watch: Callable[[], AsyncFeed[Event]]) -> AsyncFeed[Event] | None:
        """Calls back until the feed ends; gives the next one, of whatever supervisor."""
        error = None
        try:
            async for event in feed:
                await self._call_back(event)
        except VramdError as raised:
            error = raised.with_traceback(None)
        again = _may_come_back(error)
        if not self._closing:
            _tell_of_end(error, again=again)
        while again and not self._closing:
            await asyncio.sleep(AGAIN_S)
            try:
                following = await watch().__aenter__()
            except VramdError as failure:
                again = _may_come_back(failure)
                if not again and not self._closing:
                    _tell_of_end(failure, again=False)
            else:
                log.info("events are watched again")
                return following
        return None

    async def _call_back(self, event: Event) -> None:
        for callback in self._callbacks.of(event.kind):
            if event.detail is not None:
                try:
                    done = callback(event.detail)
                    if inspect.isawaitable(done):
                        await done
                except Exception:  # whatever it is, it is the callback's, and the others go on
                    _tell_of_fault(event)
