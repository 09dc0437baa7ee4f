"""Calls back when something happens: one feed of events, shared by all callbacks of a client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from vramd import callbacks
from vramd.async_stream import AsyncFeed
from vramd.async_transport import AsyncBackground, AsyncCallback, async_call_back
from vramd.callbacks import Callbacks, Subscription
from vramd.errors import VramdError
from vramd.values.events import Event

Watch = Callable[[], AsyncFeed[Event]]


class AsyncListener:
    """Calls back from one task, as long as its client lives: events of the next supervisor too."""

    def __init__(self) -> None:
        self._callbacks: Callbacks[AsyncCallback[Any]] = Callbacks()
        self._background = AsyncBackground()
        self._feed: AsyncFeed[Event] | None = None
        self._closing = threading.Event()

    async def add(self, topic: str, callback: AsyncCallback[Any], watch: Watch) -> Subscription:
        """Returns when events are watched. Raises VramdError if they cannot be."""
        subscription = self._callbacks.add(topic, callback)
        try:
            await self._background.start(lambda: self._begin(watch), lambda feed: self._run(feed, watch))
        except BaseException:
            subscription.close()
            raise
        return subscription

    async def close(self) -> None:
        """Ends the calls. None begins afterwards."""
        self._closing.set()
        if self._feed is not None:
            self._feed.cancel()
        await self._background.stop()

    async def _begin(self, watch: Watch) -> AsyncFeed[Event]:
        self._feed = await watch().__aenter__()
        if self._closing.is_set():  # `close` did not see this feed
            self._feed.cancel()
        return self._feed

    async def _run(self, feed: AsyncFeed[Event] | None, watch: Watch) -> None:
        while feed is not None:
            feed = await self._listen(feed, watch)

    async def _listen(self, feed: AsyncFeed[Event], watch: Watch) -> AsyncFeed[Event] | None:
        """Calls back until the feed ends; gives the next one, of whatever supervisor."""
        error = None
        try:
            async for event in feed:
                await self._call_back(event)
        except VramdError as raised:
            error = raised.with_traceback(None)
        again = callbacks.may_come_back(error)
        if not self._closing.is_set():
            callbacks.log_end_of_events(error, again=again)
        while again and not self._closing.is_set() and await self._background.pause(callbacks.LOOK_EVERY_S):
            try:
                following = await self._begin(watch)
            except VramdError as failure:
                again = callbacks.may_come_back(failure)
                if not again and not self._closing.is_set():
                    callbacks.log_end_of_events(failure, again=False)
            else:
                callbacks.log.info("events are watched again")
                return following
        return None

    async def _call_back(self, event: Event) -> None:
        for callback in self._callbacks.of(event.kind):
            if event.detail is not None and not self._closing.is_set():
                try:
                    await async_call_back(callback, event.detail)
                except Exception:  # whatever it is, it is the callback's, and the others go on
                    callbacks.log_failed_callback(event)
