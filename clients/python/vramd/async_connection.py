"""The way to a supervisor: a channel, which is replaced when another supervisor is there."""

from __future__ import annotations

import os
import threading
from typing import TypeVar

from vramd import failures
from vramd.async_transport import AsyncIncoming, AsyncLink, AsyncNap, AsyncSleep
from vramd.calls import Call
from vramd.channel import require_own
from vramd.errors import Cancelled, ClientClosed, VramdError
from vramd.finding import Place, Search
from vramd.retry import Attempts

Value = TypeVar("Value")
Answer = TypeVar("Answer")


class AsyncConnection:
    """Calls to the supervisor that a search finds.

    It belongs to one event loop, and to the next one that calls when that is closed.
    A forked child can do nothing with it, and does nothing to it: what it closed would be its parent's.
    """

    def __init__(self, search: Search, sleep: AsyncSleep | None) -> None:
        """`sleep` waits between attempts; None waits so that `close` and `cancel` end it. Raises what a search does."""
        self._search = search
        self._sleep = sleep
        self._pid = os.getpid()
        self._changing = threading.RLock()  # held for moments only, and never while something is awaited
        self._closed = False
        self._naps: set[AsyncNap] = set()
        self._place = search.look()
        self._link: AsyncLink | None = None

    @property
    def place(self) -> Place:
        """Of the supervisor that was found last."""
        return self._place

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    async def close(self) -> None:
        """Ends what runs and what waits. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._changing:
            self._closed = True
            for nap in self._naps:
                nap.set()
        if self._link is not None:
            await self._link.close()

    async def ask(self, call: Call[Value], attempts: Attempts) -> Value | VramdError:
        """Makes a call that has one answer. Gives why it failed, rather than raise it: the fewer frames it names."""
        while True:
            link = self._open_link()
            answer = self.meant(await link.ask(call.path, call.request, attempts.left_s()), link)
            if isinstance(answer, bytes):
                return call.read(answer)
            wait_s = await self.next_in_s(answer, link, attempts)
            if wait_s is None:
                return answer
            await self.pause(wait_s, AsyncNap())

    def begin(self, call: Call[Value], attempts: Attempts) -> AsyncIncoming:
        """Begins a streaming call. Raises ClientClosed, WrongContext."""
        with self._changing:
            return self._open_link().begin(call.path, call.request, attempts.left_s())

    def meant(self, answer: Answer | VramdError, link: AsyncLink) -> Answer | VramdError:
        """What came over a link; gRPC calls every end of its channel a cancellation, whatever it was closed for."""
        if isinstance(answer, Cancelled) and self._closed:
            return _closed()
        if isinstance(answer, Cancelled) and link is not self._link:
            return failures.failure("UNAVAILABLE", "another one is in its place", b"")
        return answer

    async def next_in_s(self, failure: VramdError, link: AsyncLink, attempts: Attempts) -> float | None:
        """Seconds until a call that failed on this link is made again; None: it is not."""
        return attempts.next_in_s(failure, moved=failures.of_nobody(failure) and await self._moved(link))

    async def pause(self, wait_s: float, nap: AsyncNap) -> None:
        """Waits; `close` ends it, and whoever sets the nap. Raises ClientClosed."""
        with self._changing:
            if not self._closed:
                self._naps.add(nap)
        try:
            if wait_s > 0 and not self._closed:
                await nap.take(wait_s, self._sleep)
        finally:
            with self._changing:
                self._naps.discard(nap)
        if self._closed:
            raise _closed()

    def _open_link(self) -> AsyncLink:
        """Opened by the first call."""
        require_own(self._pid)
        with self._changing:
            if self._closed:
                raise _closed()
            if self._link is None or self._link.is_outlived:
                self._link = AsyncLink(self._place)
            self._link.require_here()
            return self._link

    async def _moved(self, link: AsyncLink) -> bool:
        """Whether another supervisor than that of this link is there now; calls go to it from then on."""
        with self._changing:
            if self._closed:
                return False
            if self._link is not link:
                return True
            try:
                place = self._search.look()
            except VramdError:  # none is there now: what the call itself came to says it better
                return False
            if place == link.place:
                return False
            self._place, self._link = place, AsyncLink(place)
        await link.close()
        return True


def _closed() -> ClientClosed:
    return ClientClosed("CLIENT_CLOSED", "the client is closed", code="CANCELLED")
