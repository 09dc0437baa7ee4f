"""Numbers every notice of the core for those who watch, and remembers the last ones."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass

from ..core.actions import Notice

REMEMBERED = 10_000
BEHIND = 10_000
"""A watcher that is further behind than this is cut off."""


@dataclass(frozen=True)
class Published:
    sequence: int
    """From 1, without gaps."""
    time_s: float
    """Unix time."""
    notice: Notice


class EventLog:
    """The notices of this supervisor. For the loop's thread."""

    def __init__(self) -> None:
        self._sequence = 0
        self._past: deque[Published] = deque(maxlen=REMEMBERED)
        self._watchers: set[asyncio.Queue[Published | None]] = set()

    def publish(self, notice: Notice) -> None:
        """Called by the loop for each notice; never waits."""
        self._sequence += 1
        published = Published(self._sequence, time.time(), notice)
        self._past.append(published)
        for watcher in list(self._watchers):
            if watcher.full():
                self._watchers.discard(watcher)
            else:
                watcher.put_nowait(published)

    def close(self) -> None:
        """Ends it: watchers get the rest, then the end."""
        for watcher in self._watchers:
            if not watcher.full():
                watcher.put_nowait(None)
        self._watchers.clear()

    @contextlib.contextmanager
    def watching(self, after_sequence: int | None) -> Iterator[AsyncGenerator[Published, None]]:
        """Yields notices from the start of the block on, after those remembered behind `after_sequence`, if given.

        A watcher that is too slow is ended.
        """
        news: asyncio.Queue[Published | None] = asyncio.Queue(BEHIND)
        past = [] if after_sequence is None else [one for one in self._past if one.sequence > after_sequence]
        self._watchers.add(news)
        try:
            yield self._told(past, news)
        finally:
            self._watchers.discard(news)

    async def _told(
        self, past: Iterable[Published], news: asyncio.Queue[Published | None]
    ) -> AsyncGenerator[Published, None]:
        for published in past:
            yield published
        while news in self._watchers or not news.empty():
            if (fresh := await news.get()) is None:
                return
            yield fresh
