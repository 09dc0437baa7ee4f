"""Answers that come piece by piece: the messages of a call, and what a program sees of them."""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Generic, TypeVar

from vramd.async_connection import AsyncConnection
from vramd.async_transport import AsyncDelay
from vramd.errors import Cancelled, Internal, Unloaded, VramdError
from vramd.reading import read_timeline
from vramd.values.answers import Finish, Piece, Timeline, Usage
from vramd.values.models import Held

if TYPE_CHECKING:
    from typing_extensions import Self

    from vramd.calls import Call
    from vramd.retry import Attempts
    from vramd.values.words import ModelState

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


class AsyncReplies(Generic[Value_co]):
    """The replies of one streaming call. It is retried, as the supervisor advises, until a first message is there.

    Iterating waits for the next message and raises VramdError. Whatever exception leaves it ends the call; so does the
    end of this object, which for that reason is in no circle of references: no failure is kept with its traceback.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        call: Call[Value_co],
        attempts: Attempts,
        is_preliminary: Callable[[Value_co], bool] | None = None,
    ) -> None:
        """`is_preliminary(reply)` returns True for replies before the answer and where it is interrupted.

        They are not yielded.
        """
        self._over = True
        self._connection = connection
        self._call = call
        self._is_preliminary = is_preliminary
        self._attempts = attempts
        self._changing = threading.RLock()
        self._delay = AsyncDelay()
        self._cancelled = threading.Event()
        self._begun = False
        self._stream = connection.begin(call, attempts)
        self._over = False

    def __del__(self) -> None:
        if not self._over:
            self._stream.cancel()

    def __aiter__(self) -> AsyncIterator[Value_co]:
        return self

    async def __anext__(self) -> Value_co:
        if self._over:
            raise StopAsyncIteration
        self._stream.link.require_here()
        try:
            got = await (self._next() if self._begun else self._retrying(self._next))
        except BaseException:
            self._end()
            raise
        self._begun = True
        if got is None or isinstance(got, VramdError):
            self._over, self._is_preliminary = True, None  # what a program gives to be called may know this stream
            if got is None or self._cancelled.is_set():
                raise StopAsyncIteration
            try:
                raise got
            finally:
                del got  # it has this frame in its traceback
        return got

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, though perhaps it is not yet read why."""
        return self._over or self._stream.is_over

    async def begun(self) -> None:
        """Waits until the supervisor has taken the call up. Raises what it was refused with, if it was."""
        if self._begun:
            return
        try:
            got = await self._retrying(self._header)
        except BaseException:
            self._end()
            raise
        self._begun = True
        if got is not None:
            self._over = True
            if not self._cancelled.is_set():
                try:
                    raise got
                finally:
                    del got  # it has this frame in its traceback

    async def trailer(self) -> dict[str, str | bytes]:
        """Waits for the end, and gives what the supervisor said with it. Raises VramdError."""
        return await self._stream.trailer()

    def cancel(self) -> None:
        """Ends the call; the iteration ends without an error. Idempotent."""
        self._cancelled.set()
        self._delay.set()
        with self._changing:
            stream = self._stream
        stream.cancel()

    def _end(self) -> None:
        self._over, self._is_preliminary = True, None
        self._stream.cancel()

    async def _retrying(self, step: Callable[[], Awaitable[Value | VramdError]]) -> Value | VramdError:
        """Does a step of a call that has not begun, and again on a new call as long as that may help."""
        while True:
            got = await step()
            if not isinstance(got, VramdError) or self._cancelled.is_set():
                return got
            wait_s = await self._connection.next_in_s(got, self._stream.link, self._attempts)
            if wait_s is None:
                return got
            await self._connection.pause(wait_s, self._delay)
            with self._changing:  # a cancel before this ends the old call, one behind it the new call
                if self._cancelled.is_set():
                    return got
                self._stream = self._connection.begin(self._call, self._attempts)

    async def _header(self) -> VramdError | None:
        return self._connection.explained(await self._stream.header(), self._stream.link)

    async def _next(self) -> Value_co | VramdError | None:
        while True:
            got = await self._read()
            if (
                got is None
                or isinstance(got, VramdError)
                or self._is_preliminary is None
                or not self._is_preliminary(got)
            ):
                return got

    async def _read(self) -> Value_co | VramdError | None:
        raw = self._connection.explained(await self._stream.read(), self._stream.link)
        return self._call.read(raw) if isinstance(raw, bytes) else raw


class AsyncFeed(Generic[Value_co]):
    """Events or lines as they come: iterate, and leave the block or `cancel` to end it.

    Iterating waits, and raises VramdError. Entering the block of an `AsyncClient.watch` waits until the supervisor
    watches: of what happens then nothing is missed.

    >>> async with client.logs("talker", lines=2) as lines:
    ...     async for line in lines:
    ...         print(line)
    the model is ready
    2 tokens in 0.1 s
    """

    def __init__(self, replies: AsyncReplies[Value_co], *, headed: bool = False) -> None:
        """`headed`: the supervisor says when it begins to look."""
        self._replies = replies
        self._headed = headed

    def __aiter__(self) -> AsyncIterator[Value_co]:
        return self

    async def __anext__(self) -> Value_co:
        return await self._replies.__anext__()

    async def __aenter__(self) -> Self:
        if self._headed:
            await self._replies.begun()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ends it; iterating then stops without an error. Idempotent.

        >>> lines = client.logs("talker")
        >>> await anext(lines)
        'the model is ready'
        >>> lines.cancel()
        """
        self._replies.cancel()


class AsyncStream:
    """An answer on its way. The request is under way from the start; iterating gives text as it comes.

    Awaiting it gives the whole text. Leaving the block before the end, `close` and `cancel` end the answer in the
    worker too; so does cancelling the task that waits for it, and the end of this object. A loop that is left by
    `break` leaves an answer with a name on its way: it may be read on.

    Iterating, `text` and `finish` wait, and raise what `AsyncClient.chat` says; what came before the error is in
    `received`.

    >>> async with client.chat("talker", "Say hello.") as stream:
    ...     async for text in stream:
    ...         print(repr(text))
    'Hello'
    ', you.'
    """

    def __init__(self, model: str, replies: AsyncReplies[Piece]) -> None:
        self.model = model
        self._replies = replies
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._finish: Finish | None = None
        self._cancelled = False
        self._failure: VramdError | None = None
        """Without the frames that it came through: they would keep this alive."""

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        try:
            while (text := await self._advance()) == "":
                pass
        except VramdError as failure:
            self._failure = copy.copy(failure)
            raise
        except BaseException:
            self.cancel()
            raise
        if text is None:
            raise StopAsyncIteration
        return text

    def __await__(self) -> Generator[None, None, str]:  # only async
        return self._whole().__await__()

    def __repr__(self) -> str:
        if self._failure is not None:
            how = self._failure.reason
        else:
            how = self._finish.reason if self._finish else "CANCELLED" if self._cancelled else "on its way"
        return f"<vramd.AsyncStream of {self.model}: {len(self._token_ids)} tokens, {how}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._finish is None:
            self.cancel()

    @property
    def received(self) -> str:
        """The text so far; does not wait.

        >>> stream = client.chat("talker", "Say hello.")
        >>> await anext(stream)
        'Hello'
        >>> stream.received
        'Hello'
        """
        return "".join(self._texts)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the tokens so far; does not wait. They may be ahead of the text.

        >>> stream = client.chat("talker", "Say hello.")
        >>> await stream.text, stream.token_ids
        ('Hello, you.', (0, 1))
        """
        return tuple(self._token_ids)

    @property
    def text(self) -> Coroutine[None, None, str]:
        """The whole text; waits for the end. After `cancel` what had come by then.

        >>> await client.chat("talker", "Say hello.").text
        'Hello, you.'
        """
        return self._whole()

    @property
    def finish(self) -> Coroutine[None, None, Finish]:
        """The end of the answer, with its tokens and times; waits for it. CANCELLED after `cancel`.

        >>> (await client.chat("talker", "Say hello.").finish).reason
        'STOP'
        """
        return self._ended()

    @property
    def timeline(self) -> Coroutine[None, None, Timeline | None]:
        """The phases of the call; waits for the end. None after `cancel`, and if the supervisor does not say.

        >>> timeline = await client.chat("talker", "Say hello.").timeline
        >>> timeline and timeline.loaded_s
        2.5
        """
        return self._timeline()

    def cancel(self) -> None:
        """Ends the answer; iterating then stops without an error. Idempotent.

        >>> stream = client.chat("talker", "Say hello.")
        >>> stream.cancel()
        >>> [text async for text in stream]
        []
        """
        self._cancelled = True
        self._replies.cancel()

    async def close(self) -> None:
        """The same as `cancel`, for `contextlib.aclosing`.

        >>> stream = client.chat("talker", "Say hello.")
        >>> await stream.close()
        >>> await stream.text
        ''
        """
        self.cancel()

    async def _whole(self) -> str:
        await self._drain()
        return self.received

    async def _ended(self) -> Finish:
        await self._drain()
        return self._finish or Finish("CANCELLED", Usage(0, len(self._token_ids), 0.0, 0.0))

    async def _timeline(self) -> Timeline | None:
        await self._drain()
        return read_timeline(await self._replies.trailer())

    async def _drain(self) -> None:
        """Reads to the end. Raises VramdError, a second time too."""
        try:
            while self._failure is None and await self._advance() is not None:
                pass
        except VramdError as failure:
            self._failure = copy.copy(failure)  # and is raised from here, without the frames that it came through
        except BaseException:
            self.cancel()
            raise
        if self._failure is not None:
            raise copy.copy(self._failure)

    async def _advance(self) -> str | None:
        """Adds the next message and gives its text, which may be empty; None at the end."""
        try:
            piece = await self._replies.__anext__()
        except StopAsyncIteration:
            if self._finish is None and not self._cancelled and self._failure is None:
                raise Internal("INTERNAL", "the answer ended without saying how") from None
            return None
        self._texts.append(piece.text)
        self._token_ids.extend(piece.token_ids)
        self._finish = piece.finish or self._finish
        return piece.text


class AsyncHold:
    """A model that is kept warm until the block is left, or `cancel`; at the latest by the end of this process.

    It is loaded if need be, and evicted neither for others nor for being idle. If its process is lost, it is loaded
    again. Iterating gives what it is doing, as it changes, and waits. The hold lasts whether it is read or not.

    When the supervisor ends the hold, iterating and `ready` raise VramdError, each time: `Unloaded` if the model was
    unloaded.

    >>> async with client.hold("talker") as hold:
    ...     await hold.ready()
    ...     hold.state
    'READY'
    """

    def __init__(self, model: str, steps: AsyncReplies[Held]) -> None:
        self.model = model
        """Its id; "task:NAME" until the supervisor has said which one was chosen."""
        self.state: ModelState | str = "UNSPECIFIED"
        """The state of the model when it was last read: by `ready`, or by iterating. UNSPECIFIED before, and when
        the hold is over, except that a model that was unloaded is UNLOADED."""
        self._steps = steps
        self._cancelled = False
        self._failure: VramdError | None = None
        """The reason that the hold is lost, without the frames that it came through: they would keep this alive."""

    def __aiter__(self) -> AsyncIterator[Held]:
        return self

    async def __anext__(self) -> Held:
        try:
            step = await self._steps.__anext__()
        except VramdError as failure:
            self._failure = copy.copy(failure)
            self.state = "UNLOADED" if isinstance(failure, Unloaded) else "UNSPECIFIED"
            raise
        self.state = step.state
        self.model = step.model or self.model
        return step

    def __repr__(self) -> str:
        return f"<vramd.AsyncHold of {self.model}: {self.state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    async def ready(self) -> None:
        """Waits until the model is ready; returns at once if that is what was read last, and the hold lasts.

        Raises:
            Unloaded: The model was unloaded.
            Cancelled: The hold was ended by `cancel`.
            VramdError: The model cannot be loaded, as `AsyncClient.load` says; or the hold is over.

        >>> async with client.hold("talker") as hold:
        ...     await hold.ready()
        """
        lost = self.state == "READY" and self._steps.is_over
        try:
            while lost or self.state != "READY":
                await self.__anext__()
        except StopAsyncIteration:
            raise self._end() from None
        except VramdError:
            raise
        except BaseException:  # the wait is over, and so is the wish for the model
            self.cancel()
            raise

    def cancel(self) -> None:
        """Ends the hold; iterating then stops without an error. Idempotent.

        >>> hold = client.hold("talker")
        >>> hold.cancel()
        >>> [step async for step in hold]
        []
        """
        self._cancelled = True
        self.state = "UNSPECIFIED"
        self._steps.cancel()

    def _end(self) -> VramdError:
        """The error for a model that will not become ready any more."""
        if self._failure is not None:
            return copy.copy(self._failure)
        self.state = "UNSPECIFIED"
        if self._cancelled:
            return Cancelled("CANCELLED", f"the hold on {self.model} was ended from here", code="CANCELLED")
        return Internal("INTERNAL", f"the hold on {self.model} ended without saying why")
