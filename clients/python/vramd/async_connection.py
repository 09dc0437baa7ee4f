"""The way to a supervisor, for clients in an event loop: `vramd.connection`, with `await` before what waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc

from vramd import failures
from vramd.channel import OPTIONS, Metadata, metadata
from vramd.connection import closed, replaced, require_own
from vramd.errors import Cancelled, VramdError, WrongContext
from vramd.finding import Place, Search

if TYPE_CHECKING:
    from vramd.calls import Call
    from vramd.retry import Attempts

Value = TypeVar("Value")


class AsyncIncoming(Protocol):
    """What a channel gives for a streaming call."""

    def read(self) -> Awaitable[object]:
        """The next message; grpc.aio.EOF at the end."""

    def cancel(self) -> bool:
        """Ends the call."""

    def done(self) -> bool:
        """Whether it has ended."""

    def code(self) -> Awaitable[grpc.StatusCode]:
        """How it ended; waits for the end."""

    def initial_metadata(self) -> Awaitable[object]:
        """The header; comes with the end at the latest."""

    def trailing_metadata(self) -> Awaitable[Iterable[tuple[str, str | bytes]] | None]:
        """Comes with the end."""


@dataclass(frozen=True)
class AsyncLink:
    """A channel, the supervisor that it leads to, and the only loop in which it works."""

    place: Place
    channel: grpc.aio.Channel
    metadata: Metadata
    loop: asyncio.AbstractEventLoop

    def require_loop(self) -> None:
        """Raises WrongContext in another loop, or in none."""
        if _running_loop() is not self.loop:
            words = "this belongs to another event loop: each loop has a client, and streams, of its own"
            raise WrongContext("OTHER_EVENT_LOOP", words)


class AsyncConnection:
    """Calls to the supervisor that a search finds, from one event loop; from another one when that is closed.

    A forked child can do nothing with it, and does nothing to it: what it closed would be its parent's.
    """

    def __init__(self, search: Search, sleep: Callable[[float], Awaitable[None]]) -> None:
        """`sleep` waits between attempts. Raises what a search does. Needs no event loop yet."""
        self._search = search
        self._sleep = sleep
        self._pid = os.getpid()
        self._closed = False
        self._sleepers: set[asyncio.Event] = set()
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

    def require_own(self) -> None:
        """Raises WrongContext in a forked child."""
        require_own(self._pid)

    async def close(self) -> None:
        """Ends what runs and what waits. Idempotent."""
        if os.getpid() != self._pid:
            return
        self._closed = True
        for woken in self._sleepers:
            woken.set()
        if self._link is not None and self._link.loop is asyncio.get_running_loop():
            await self._link.channel.close()

    async def ask(self, call: Call[Value], attempts: Attempts) -> Value | VramdError:
        """Makes a call that has one answer. Gives why it failed, rather than raise it: the fewer frames it names."""
        while True:
            link = self._open_link()
            method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = link.channel.unary_unary(call.path)
            made = method(call.request, timeout=attempts.left_s(), metadata=link.metadata)
            answer = await self.outcome(made, link)
            if isinstance(answer, bytes):
                return call.read(answer)
            wait_s = await self.next_in_s(answer, link, attempts)
            if wait_s is None:
                return answer
            await self.pause(wait_s, asyncio.Event())

    def begin(self, call: Call[Value], left_s: float | None) -> tuple[AsyncLink, AsyncIncoming]:
        """Begins a streaming call. Raises ClientClosed, WrongContext."""
        link = self._open_link()
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = link.channel.unary_stream(call.path)
        return link, method(call.request, timeout=left_s, metadata=link.metadata)

    def end(self, link: AsyncLink, incoming: AsyncIncoming) -> None:
        """Ends a streaming call, from any thread, unless it is that of the parent or has ended with its loop."""
        if os.getpid() != self._pid or link.loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is link.loop:
            incoming.cancel()
        else:  # the last reference went in another thread, or after the loop
            with contextlib.suppress(RuntimeError):  # it was closed in this moment
                link.loop.call_soon_threadsafe(incoming.cancel)

    async def outcome(self, work: Awaitable[Value], link: AsyncLink) -> Value | VramdError:
        """What a call on a link answers, or why it failed. Raises CancelledError only if this task is cancelled.

        gRPC raises CancelledError for a call that was ended from elsewhere, too: a closed client must not look like a
        cancelled task.
        """
        inner = asyncio.ensure_future(work)
        try:
            await asyncio.wait((inner,))
        except BaseException:
            inner.cancel()
            raise
        told: VramdError = Cancelled("CANCELLED", "the call was ended from elsewhere", code="CANCELLED")
        if not inner.cancelled():
            error = inner.exception()
            if not isinstance(error, grpc.RpcError):
                return inner.result()
            told = failures.from_rpc(error)
        if isinstance(told, Cancelled) and self._closed:
            return closed()
        if isinstance(told, Cancelled) and link is not self._link:
            return replaced()
        return told

    async def next_in_s(self, failure: VramdError, link: AsyncLink, attempts: Attempts) -> float | None:
        """Seconds until a call that failed on this link is made again; None: it is not."""
        return attempts.next_in_s(failure, moved=failures.of_nobody(failure) and await self._moved(link))

    async def pause(self, wait_s: float, woken: asyncio.Event) -> None:
        """Waits, until the event at the longest; `close` sets it. Raises ClientClosed."""
        if wait_s > 0 and not self._closed:
            either = {asyncio.ensure_future(self._sleep(wait_s)), asyncio.ensure_future(woken.wait())}
            self._sleepers.add(woken)
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._sleepers.discard(woken)
                for one in either:
                    one.cancel()
        if self._closed:
            raise closed()

    def _open_link(self) -> AsyncLink:
        """Opened by the first call: it belongs to the event loop that runs then."""
        self.require_own()
        if self._closed:
            raise closed()
        loop = _running_loop()
        if self._link is not None and not self._link.loop.is_closed():
            self._link.require_loop()
        else:
            self._link = _opened(self._place, loop)
        return self._link

    async def _moved(self, link: AsyncLink) -> bool:
        """Whether another supervisor than that of this link is there now; calls go to it from then on."""
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
        self._place, self._link = place, _opened(place, link.loop)
        await link.channel.close()
        return True


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        words = "no event loop runs here, and an AsyncClient needs one: asyncio.run(main())"
        raise WrongContext("NO_EVENT_LOOP", words) from None


def _opened(place: Place, loop: asyncio.AbstractEventLoop) -> AsyncLink:
    return AsyncLink(place, grpc.aio.insecure_channel(place.address, OPTIONS), metadata(place), loop)
