"""Answers that come piece by piece, for programs with an event loop. All in one loop's thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from vramd import replies
from vramd.answer import Answer
from vramd.async_connection import AsyncConnection
from vramd.errors import VramdError

if TYPE_CHECKING:
    from typing_extensions import Self

    from vramd.answer_values import Finish, Timeline
    from vramd.calls import Call
    from vramd.replies import Piece
    from vramd.retry import Attempts

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


class AsyncReceiving(Generic[Value_co]):
    """The messages of one streaming call: `vramd.stream.Receiving`, with `await` before what waits."""

    def __init__(
        self,
        connection: AsyncConnection,
        call: Call[Value_co],
        attempts: Attempts,
        before: Callable[[Value_co], bool] | None = None,
    ) -> None:
        """`before` takes a message that comes before the first one that counts, and says whether it was such."""
        self._over = True
        self._connection = connection
        self._what = call
        self._before = before
        self._attempts = attempts
        self._woken = asyncio.Event()
        self._cancelled = asyncio.Event()
        self._begun = False
        self._link, self._call = connection.begin(call, attempts.left_s())
        self._over = False

    def __del__(self) -> None:
        if not self._over:
            self._connection.end(self._link, self._call)

    def __aiter__(self) -> AsyncIterator[Value_co]:
        return self

    async def __anext__(self) -> Value_co:
        if self._over:
            raise StopAsyncIteration
        self._connection.require_own()
        self._link.require_loop()
        try:
            got = await (self._receive() if self._begun else self._persist(self._first))
        except BaseException:
            self._end()
            raise
        self._begun, self._before = True, None  # what a program gives to be called may know this stream
        if got is None or isinstance(got, VramdError):
            self._over = True
            if got is None or self._cancelled.is_set():
                raise StopAsyncIteration
            try:
                raise got
            finally:
                del got  # it has this frame in its traceback
        return got

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, though perhaps nobody has read why."""
        return self._over or self._call.done()

    async def begun(self) -> None:
        """Waits until the supervisor has taken the call up. Raises what it was refused with, if it was."""
        if self._begun:
            return
        try:
            got = await self._persist(self._header)
        except BaseException:
            self._end()
            raise
        self._begun = True
        if isinstance(got, VramdError):
            self._over = True
            if not self._cancelled.is_set():
                try:
                    raise got
                finally:
                    del got  # it has this frame in its traceback

    async def trailer(self) -> dict[str, str | bytes]:
        """What the supervisor said with the end; waits for it."""
        pairs = await self._connection.outcome(self._call.trailing_metadata(), self._link)
        if isinstance(pairs, VramdError):
            raise pairs
        return dict(pairs or ())

    def cancel(self) -> None:
        """Ends the call; the iteration ends without an error. Idempotent."""
        self._cancelled.set()
        self._woken.set()
        self._connection.end(self._link, self._call)

    def _end(self) -> None:
        self._over = True
        self._connection.end(self._link, self._call)

    async def _persist(self, step: Callable[[], Awaitable[Value | VramdError]]) -> Value | VramdError:
        """Does a step of a call that has not begun, and again on a new call as long as that may help."""
        while True:
            got = await step()
            if not isinstance(got, VramdError) or self._cancelled.is_set():
                return got
            wait_s = await self._connection.next_in_s(got, self._link, self._attempts)
            if wait_s is None:
                return got
            await self._connection.pause(wait_s, self._woken)
            if self._cancelled.is_set():
                return got
            self._link, self._call = self._connection.begin(self._what, self._attempts.left_s())

    async def _header(self) -> Value_co | VramdError | None:
        header = await self._connection.outcome(self._call.initial_metadata(), self._link)
        if isinstance(header, VramdError):
            return header
        if not self._call.done() or await self._call.code() is grpc.StatusCode.OK:
            return None
        return await self._receive()

    async def _first(self) -> Value_co | VramdError | None:
        while True:
            got = await self._receive()
            if got is None or isinstance(got, VramdError) or self._before is None or not self._before(got):
                return got

    async def _receive(self) -> Value_co | VramdError | None:
        raw = await self._connection.outcome(self._call.read(), self._link)
        if isinstance(raw, VramdError):
            return raw
        return self._what.read(raw) if isinstance(raw, bytes) else None


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

    def __init__(self, values: AsyncReceiving[Value_co], *, announced: bool = False) -> None:
        """`announced`: the supervisor says when it begins to look."""
        self._values = values
        self._announced = announced

    def __aiter__(self) -> AsyncIterator[Value_co]:
        return self

    async def __anext__(self) -> Value_co:
        return await self._values.__anext__()

    async def __aenter__(self) -> Self:
        if self._announced:
            await self._values.begun()
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
        self._values.cancel()


class AsyncStream:
    """An answer on its way. The request is under way from the start; iterating gives text as it comes.

    Awaiting it gives the whole text. Leaving the block before the end, `close` and `cancel` end the answer in the
    worker too; so does cancelling the task that waits for it, and the end of this object. A loop that is left by
    `break` leaves an answer with a name on its way: it may be read on. Iterating, `text` and `finish` raise VramdError;
    what came before the error is in `received`.

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
        try:
            while (text := await self._advance()) == "":
                pass
        except BaseException as error:
            self._left(error)
            raise
        if text is None:
            raise StopAsyncIteration
        return text

    def __await__(self) -> Generator[None, None, str]:
        return self._whole().__await__()

    def __repr__(self) -> str:
        return f"<vramd.AsyncStream of {self.model}: {self._answer}>"

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
        >>> (await stream.finish).reason, stream.received
        ('STOP', 'Hello, you.')
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
        """The whole text, to be awaited, as the stream itself is. After `cancel` what had come by then.

        >>> await client.chat("talker", "Say hello.").text
        'Hello, you.'
        >>> await client.chat("talker", "Say hello.")
        'Hello, you.'
        """
        return self._whole()

    @property
    def finish(self) -> Coroutine[None, None, Finish]:
        """How the answer ended, and what it took, to be awaited. CANCELLED after `cancel`.

        >>> (await client.chat("talker", "Say hello.").finish).reason
        'STOP'
        """
        return self._end()

    @property
    def timeline(self) -> Coroutine[None, None, Timeline | None]:
        """Where the time went, to be awaited. None after `cancel`, and if the supervisor does not say.

        >>> timeline = await client.chat("talker", "Say hello.").timeline
        >>> timeline and timeline.loaded_s
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

    async def close(self) -> None:
        """The same as `cancel`, for programs that close what they iterate.

        >>> stream = client.chat("talker", "Say hello.")
        >>> await stream.close()
        >>> await stream
        ''
        """
        self.cancel()

    async def _whole(self) -> str:
        await self._drain()
        return self._answer.text

    async def _end(self) -> Finish:
        await self._drain()
        return self._answer.ended()

    async def _timeline(self) -> Timeline | None:
        await self._drain()
        return replies.timeline_of(await self._pieces.trailer())

    async def _drain(self) -> None:
        """Reads to the end. Raises VramdError, a second time too."""
        try:
            while not self._answer.is_broken and await self._advance() is not None:
                pass
        except VramdError as failure:
            self._answer.break_off(failure)  # and is raised from here, without the frames that it came through
        except BaseException:
            self.cancel()
            raise
        if self._answer.is_broken:
            raise self._answer.failure()

    async def _advance(self) -> str | None:
        """The text of the next message, which may be empty; None at the end."""
        try:
            piece = await self._pieces.__anext__()
        except StopAsyncIteration:
            piece = None
        return self._answer.take(piece)

    def _left(self, error: BaseException) -> None:
        """Notes why nothing more is read."""
        if isinstance(error, VramdError):
            self._answer.break_off(error)
        else:
            self.cancel()
