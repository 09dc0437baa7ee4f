# Made by clients/python/generate_sync.py from async_listener.py: change that one.
"""Calls back when something happens: one feed of events, shared by all callbacks of a client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from vramd import callbacks
from vramd.callbacks import Callbacks, Subscription
from vramd.errors import VramdError
from vramd.stream import Feed
from vramd.transport import Background, Callback, call_back
from vramd.values.events import Event

Watch = Callable[[], Feed[Event]]


class Listener:
    """Calls back from one thread, as long as its client lives: events of the next supervisor too."""

    def __init__(self) -> None:
        self._callbacks: Callbacks[Callback[Any]] = Callbacks()
        self._background = Background()
        self._feed: Feed[Event] | None = None
        self._closing = threading.Event()

    def add(self, topic: str, callback: Callback[Any], watch: Watch) -> Subscription:
        """Returns when events are watched. Raises VramdError if they cannot be."""
        subscription = self._callbacks.add(topic, callback)
        try:
            self._background.start(lambda: self._begin(watch), lambda feed: self._run(feed, watch))
        except BaseException:
            subscription.close()
            raise
        return subscription

    def close(self) -> None:
        """Ends the calls. None begins afterwards; one that takes very long may go on."""
        self._closing.set()
        if self._feed is not None:
            self._feed.cancel()
        self._background.stop()

    def _begin(self, watch: Watch) -> Feed[Event]:
        self._feed = watch().__enter__()
        if self._closing.is_set():  # `close` did not see this feed
            self._feed.cancel()
        return self._feed

    def _run(self, feed: Feed[Event] | None, watch: Watch) -> None:
        while feed is not None:
            feed = self._listen(feed, watch)

    def _listen(self, feed: Feed[Event], watch: Watch) -> Feed[Event] | None:
        """Calls back until the feed ends; gives the next one, of whatever supervisor."""
        error = None
        try:
            for event in feed:
                self._call_back(event)
        except VramdError as raised:
            error = raised.with_traceback(None)
        again = callbacks.may_come_back(error)
        if not self._closing.is_set():
            callbacks.log_end_of_events(error, again=again)
        while again and not self._closing.is_set() and self._background.pause(callbacks.LOOK_EVERY_S):
            try:
                following = self._begin(watch)
            except VramdError as failure:
                again = callbacks.may_come_back(failure)
                if not again and not self._closing.is_set():
                    callbacks.log_end_of_events(failure, again=False)
            else:
                callbacks.log.info("events are watched again")
                return following
        return None

    def _call_back(self, event: Event) -> None:
        for callback in self._callbacks.of(event.kind):
            if event.detail is not None and not self._closing.is_set():
                try:
                    call_back(callback, event.detail)
                except Exception:  # whatever it is, it is the callback's, and the others go on
                    callbacks.log_failed_callback(event)
