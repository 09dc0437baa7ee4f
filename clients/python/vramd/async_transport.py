"""The channel for programs with an event loop, and how they wait: with `vramd.transport`, all that differs for threads.

The other files `async_*` are written once, for event loops; `clients/python/generate_sync.py` makes those for threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

import grpc

from vramd import failures
from vramd.channel import OPTIONS, metadata, require_own, secured
from vramd.errors import Cancelled, VramdError, WrongContext
from vramd.finding import Place

Value = TypeVar("Value")
Detail = TypeVar("Detail")

AsyncSleep = Callable[[float], Awaitable[None]]
AsyncCallback = Callable[[Detail], Awaitable[None] | None]


class AsyncLink:
    """A channel, the supervisor that it leads to, and the only loop in which it works."""

    def __init__(self, place: Place) -> None:
        """Raises WrongContext where no event loop runs."""
        self.place = place
        self.pid = os.getpid()
        self.loop = _running_loop()
        if place.tls is None:
            self._channel = grpc.aio.insecure_channel(place.address, OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(place.address, *secured(place.tls))
        self._metadata = metadata(place)

    @property
    def is_stale(self) -> bool:
        return self.loop.is_closed()

    def require_here(self) -> None:
        """Raises WrongContext in a forked child, in another loop, and in none."""
        require_own(self.pid)
        if _running_loop() is not self.loop:
            words = "this belongs to another event loop: make a client for each loop"
            raise WrongContext("OTHER_EVENT_LOOP", words)

    async def ask(self, path: str, request: bytes, left_s: float | None) -> bytes | VramdError:
        """Makes a call that has one answer; gives why it failed."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
        return await _outcome(method(request, timeout=left_s, metadata=self._metadata))

    def begin(self, path: str, request: bytes, left_s: float | None) -> AsyncStreamCall:
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(path)
        return AsyncStreamCall(self, method(request, timeout=left_s, metadata=self._metadata))

    async def close(self) -> None:
        """Ends its calls; does nothing in another loop."""
        if self.loop is asyncio.get_running_loop():
            await self._channel.close()


class _GrpcCall(Protocol):
    """The part of gRPC's call that is used here."""

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


class AsyncStreamCall:
    """The messages of one streaming call, as bytes."""

    def __init__(self, link: AsyncLink, call: _GrpcCall) -> None:
        self.link = link
        self._call = call

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, though perhaps not everything is read."""
        return self._call.done()

    async def read(self) -> bytes | VramdError | None:
        """Waits for the next message; gives None at the end, and why the call failed."""
        raw = await _outcome(self._call.read())
        return raw if isinstance(raw, bytes | VramdError) else None

    async def header(self) -> VramdError | None:
        """Waits until the supervisor has taken the call up; gives why it has not."""
        header = await _outcome(self._call.initial_metadata())
        if isinstance(header, VramdError):
            return header
        if not self._call.done() or await self._call.code() is grpc.StatusCode.OK:
            return None
        failure = await self.read()
        return failure if isinstance(failure, VramdError) else None

    async def trailer(self) -> dict[str, str | bytes]:
        """Waits for the end, and gives what the supervisor said with it. Raises VramdError."""
        pairs = await _outcome(self._call.trailing_metadata())
        if isinstance(pairs, VramdError):
            raise pairs
        return dict(pairs or ())

    def cancel(self) -> None:
        """Ends the call, from any thread, unless it is that of the parent or has ended with its loop."""
        loop = self.link.loop
        if os.getpid() != self.link.pid or loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is loop:
            self._call.cancel()
        else:  # the last reference went in another thread, or after the loop
            with contextlib.suppress(RuntimeError):  # it was closed in this moment
                loop.call_soon_threadsafe(self._call.cancel)


class AsyncDelay(asyncio.Event):
    """A wait that `set` ends."""

    async def sleep(self, wait_s: float, sleep: AsyncSleep | None) -> None:
        """Waits; `sleep` is the program's own."""
        either = {asyncio.ensure_future((sleep or asyncio.sleep)(wait_s)), asyncio.ensure_future(self.wait())}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in either:
                one.cancel()


class AsyncBackground:
    """Runs one piece of work beside the program, in a task, and again when that has ended."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def start(
        self, prepare: Callable[[], Awaitable[Value]], work: Callable[[Value], Coroutine[None, None, None]]
    ) -> None:
        """Begins the work, with what `prepare` gives, unless it is under way. Raises what `prepare` does."""
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop, self._starting, self._task = loop, asyncio.Lock(), None
        async with self._starting:
            if self._task is None or self._task.done() or self._loop is not loop:  # of two loops, one is refused
                self._task = asyncio.ensure_future(work(await prepare()))

    async def pause(self, wait_s: float) -> bool:
        """Waits, for the work; says whether to go on: not after `stop`."""
        await asyncio.sleep(wait_s)
        return True

    async def stop(self) -> None:
        """Ends the work, and waits for its end, unless it is the work that calls."""
        if self._loop is not asyncio.get_running_loop() or self._task in (None, asyncio.current_task()):
            return
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))


async def async_call_back(callback: AsyncCallback[Any], detail: object) -> None:
    """Calls, and awaits what a coroutine function gives."""
    done = callback(detail)
    if inspect.isawaitable(done):
        await done


async def _outcome(work: Awaitable[Value]) -> Value | VramdError:
    """The answer of a call, or the error. Raises CancelledError only if this task is cancelled.

    gRPC raises CancelledError for a call that was ended from elsewhere, too: a closed client must not look like a
    cancelled task.
    """
    inner = asyncio.ensure_future(work)
    try:
        await asyncio.wait((inner,))
    except BaseException:
        inner.cancel()
        raise
    if inner.cancelled():
        return Cancelled("CANCELLED", "the call was ended from elsewhere", code="CANCELLED")
    error = inner.exception()
    return failures.from_rpc(error) if isinstance(error, grpc.RpcError) else inner.result()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        words = "no event loop runs here, and an AsyncClient needs one: asyncio.run(main())"
        raise WrongContext("NO_EVENT_LOOP", words) from None
