"""Answers that come piece by piece, for programs with an event loop. All in one loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import grpc

from vramd import failures, replies
from vramd.answer import Answer
from vramd.errors import Cancelled, VramdError
from vramd.retry import Deadline, async_retrying

if TYPE_CHECKING:
    from typing_extensions import Self

    from vramd.answer_values import Finish, Timeline
    from vramd.replies import Piece

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


class AsyncIncoming(Protocol):
    """What a channel gives for a streaming call."""

    def read(self) -> Awaitable[object]:
        """The next message; grpc.aio.EOF at the end."""

    def cancel(self) -> bool:
        """Ends the call."""

    def done(self) -> bool:
        """Whether it has ended."""

    def initial_metadata(self) -> Awaitable[object]:
        """The header; comes with the end at the latest."""

    def trailing_metadata(self) -> Awaitable[Iterable[tuple[str, str | bytes]] | None]:
        """Comes with the end."""


async def outcome(work: Awaitable[Value]) -> Value:
    """What a call answers. Raises VramdError; CancelledError only if it is this task that is cancelled.

    gRPC raises CancelledError for a call that was ended from elsewhere, too: a closed client must not look like a
    cancelled task.
    """
    inner = asyncio.ensure_future(work)
    try:
        await asyncio.wait((inner,))
    except asyncio.CancelledError:
        inner.cancel()
        raise
    if inner.cancelled():
        raise Cancelled("CANCELLED", "the call was ended: it was cancelled, or its client closed", code="CANCELLED")
    try:
        return inner.result()
    except grpc.RpcError as error:
        raise failures.from_rpc(error) from error


class AsyncReceiving(Generic[Value_co]):
    """The messages of one streaming call. It is made again, as the supervisor advises, until a first message is there.

    Iterating raises VramdError.
    """

    def __init__(
        self,
        begin: Callable[[float | None], AsyncIncoming],
        read: Callable[[bytes], Value_co],
        timeout_s: float | None,
        sleep: Callable[[float], Awaitable[None]],
        before: Callable[[Value_co], bool] | None = None,
    ) -> None:
        """`before` takes a message that comes before the first one that counts, and says whether it was such."""
        self._begin = begin
        self._before = before
        self._read = read
        self._sleep = sleep
        self._deadline = Deadline(timeout_s)
        self._cancelled = False
        self._over = False
        self._answered = False
        self._call = begin(self._deadline.left_s())
        self._failed = False

    def __aiter__(self) -> AsyncIterator[Value_co]:
        return self

    async def __anext__(self) -> Value_co:
        if self._over:
            raise StopAsyncIteration
        try:
            if self._answered:
                value = await self._receive()
            else:
                value = await async_retrying(self._deadline, self._sleep)(self._first)
            self._over = value is None
        except VramdError:
            self._over = True
            if self._cancelled:
                raise StopAsyncIteration from None
            raise
        if value is None:
            raise StopAsyncIteration
        self._answered = True
        return value

    async def begun(self) -> None:
        """Waits until the supervisor has taken the call up. Raises what it was refused with, if it was."""
        await outcome(self._call.initial_metadata())
        if self._call.done() and not self._cancelled:
            self._over = True
            await self._receive()

    async def trailer(self) -> dict[str, str | bytes]:
        """What the supervisor said with the end; waits for it."""
        pairs = await outcome(self._call.trailing_metadata())
        return dict(pairs or ())

    def cancel(self) -> None:
        """Ends the call; the iteration ends without an error. Idempotent."""
        self._cancelled = True
        self._call.cancel()

    async def _first(self) -> Value_co | None:
        if self._failed:
            self._call = self._begin(self._deadline.left_s())
            self._failed = False
            if self._cancelled:  # while this task waited for the next attempt
                self._call.cancel()
        while True:
            try:
                value = await self._receive()
            except VramdError:
                self._failed = True
                raise
            if value is None or self._before is None or not self._before(value):
                return value

    async def _receive(self) -> Value_co | None:
        raw = await outcome(self._call.read())
        return self._read(raw) if isinstance(raw, bytes) else None


class AsyncFeed(Generic[Value_co]):
    """What happens, as it happens: `async for`, and leave the block or `cancel` to end it.

    Iterating raises VramdError. Entering the block of an `AsyncClient.watch` waits until the supervisor watches: of
    what happens then nothing is missed.

    >>> async with client.logs("talker", lines=2) as lines:
    ...     async for line in lines:
    ...         print(line)
    the model is ready
    2 tokens in 0.1 s
    """

    def __init__(
        self,
        values: AsyncIterator[Value_co],
        cancel: Callable[[], None],
        begun: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._values = values
        self._cancel = cancel
        self._begun = begun

    def __aiter__(self) -> AsyncIterator[Value_co]:
        return self

    async def __anext__(self) -> Value_co:
        return await self._values.__anext__()

    async def __aenter__(self) -> Self:
        if self._begun is not None:
            await self._begun()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ends it. Idempotent.

        >>> lines = client.logs("talker")
        >>> async for line in lines:
        ...     print(line)
        ...     lines.cancel()
        the model is ready
        """
        self._cancel()


class AsyncStream:
    """An answer on its way. The request is under way from the start; iterating gives text as it comes.

    Leaving the block before the end, or `cancel`, ends the answer in the worker too. Iterating, `text` and `finish`
    raise VramdError; what came before the error is in `received`.

    >>> async with client.chat("talker", "Say hello.") as stream:
    ...     async for text in stream:
    ...         print(repr(text))
    'Hello'
    ', you.'
    """

    def __init__(self, model: str, pieces: AsyncReceiving[Piece]) -> None:
        self.model = model
        self._pieces = pieces
        self._answer = Answer()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while True:
            text = await self._advance()
            if text is None:
                raise StopAsyncIteration
            if text:
                return text

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer.finish is None:
            self.cancel()

    @property
    def received(self) -> str:
        """The text so far.

        >>> stream = client.chat("talker", "Say hello.")
        >>> await stream.finish and stream.received
        'Hello, you.'
        """
        return self._answer.text

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the tokens so far. They may be ahead of the text.

        >>> stream = client.chat("talker", "Say hello.")
        >>> await stream.text, stream.token_ids
        ('Hello, you.', (0, 1))
        """
        return self._answer.token_ids

    @property
    def text(self) -> Coroutine[None, None, str]:
        """The whole text, to be awaited. After `cancel` what had come by then.

        >>> await client.chat("talker", "Say hello.").text
        'Hello, you.'
        """
        return self._whole()

    @property
    def finish(self) -> Coroutine[None, None, Finish | None]:
        """How the answer ended, and what it took, to be awaited. None after `cancel`.

        >>> (await client.chat("talker", "Say hello.").finish).reason
        'STOP'
        """
        return self._end()

    @property
    def timeline(self) -> Coroutine[None, None, Timeline | None]:
        """Where the time went, to be awaited. None after `cancel`, and if the supervisor does not say.

        >>> (await client.chat("talker", "Say hello.").timeline).loaded_s
        2.5
        """
        return self._timeline()

    def cancel(self) -> None:
        """Ends the answer; iterating then stops without an error. Idempotent.

        >>> stream = client.chat("talker", "Say hello.")
        >>> stream.cancel()
        >>> await stream.text
        ''
        """
        self._answer.cancelled = True
        self._pieces.cancel()

    async def _whole(self) -> str:
        await self._end()
        return self._answer.text

    async def _end(self) -> Finish | None:
        if self._answer.error is not None:
            raise self._answer.error
        while await self._advance() is not None:
            pass
        return self._answer.finish

    async def _timeline(self) -> Timeline | None:
        await self._end()
        return replies.timeline_of(await self._pieces.trailer())

    async def _advance(self) -> str | None:
        """The text of the next message, which may be empty; None at the end."""
        with self._answer.noting():
            try:
                piece = await self._pieces.__anext__()
            except StopAsyncIteration:
                piece = None
            return self._answer.take(piece)
