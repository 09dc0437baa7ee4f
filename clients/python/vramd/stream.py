"""Answers that come piece by piece: one thread reads, any thread may cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc

from vramd import replies
from vramd.answer import Answer
from vramd.connection import Connection
from vramd.errors import VramdError

if TYPE_CHECKING:
    from typing_extensions import Self

    from vramd.answer_values import Finish, Timeline
    from vramd.calls import Call
    from vramd.replies import Piece
    from vramd.retry import Attempts

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


class Receiving(Generic[Value_co]):
    """The messages of one streaming call. It is made again, as the supervisor advises, until a first message is there.

    Iterating waits for the next message and raises VramdError. Whatever exception leaves it ends the call; so does the
    end of this object, which for that reason is in no circle of references: no failure is kept with its traceback.
    """

    def __init__(
        self,
        connection: Connection,
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
        self._changing = threading.RLock()
        self._woken = threading.Event()
        self._cancelled = threading.Event()
        self._begun = False
        self._link, self._call = connection.begin(call, attempts.left_s())
        self._over = False

    def __del__(self) -> None:
        if not self._over:
            self._connection.end(self._call)

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        if self._over:
            raise StopIteration
        try:
            self._connection.require_own()
            got = self._receive() if self._begun else self._persist(self._first)
        except BaseException:
            self._end()
            raise
        self._begun, self._before = True, None  # what a program gives to be called may know this stream
        if got is None or isinstance(got, VramdError):
            self._over = True
            if got is None or self._cancelled.is_set():
                raise StopIteration
            try:
                raise got
            finally:
                del got  # it has this frame in its traceback
        return got

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, though perhaps nobody has read why."""
        return self._over or not self._call.is_active()

    def begun(self) -> None:
        """Waits until the supervisor has taken the call up. Raises what it was refused with, if it was."""
        if self._begun:
            return
        try:
            got = self._persist(self._header)
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

    def trailer(self) -> dict[str, str | bytes]:
        """What the supervisor said with the end; waits for it."""
        return dict(self._call.trailing_metadata() or ())

    def cancel(self) -> None:
        """Ends the call, from any thread; the iteration ends without an error. Idempotent."""
        self._cancelled.set()
        self._woken.set()
        with self._changing:
            call = self._call
        self._connection.end(call)

    def _end(self) -> None:
        self._over = True
        self._connection.end(self._call)

    def _persist(self, step: Callable[[], Value | VramdError]) -> Value | VramdError:
        """Does a step of a call that has not begun, and again on a new call as long as that may help."""
        while True:
            got = step()
            if not isinstance(got, VramdError) or self._cancelled.is_set():
                return got
            wait_s = self._connection.next_in_s(got, self._link, self._attempts)
            if wait_s is None:
                return got
            self._connection.pause(wait_s, self._woken)
            with self._changing:  # who cancels before this ends the old call, who cancels behind it the new one
                if self._cancelled.is_set():
                    return got
                self._link, self._call = self._connection.begin(self._what, self._attempts.left_s())

    def _header(self) -> VramdError | None:
        self._call.initial_metadata()
        if not isinstance(self._call, grpc.RpcError) or self._call.is_active():
            return None
        failure = self._connection.failure(self._call, self._link)
        return None if failure.code == "OK" else failure

    def _first(self) -> Value_co | VramdError | None:
        while True:
            got = self._receive()
            if got is None or isinstance(got, VramdError) or self._before is None or not self._before(got):
                return got

    def _receive(self) -> Value_co | VramdError | None:
        try:
            raw = next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            return self._connection.failure(error, self._link)
        return self._what.read(raw)


class Feed(Generic[Value_co]):
    """What happens, as it happens: iterate, and leave the block or `cancel` to end it.

    Iterating waits, and raises VramdError. Entering the block of a `Client.watch` waits until the supervisor watches:
    of what happens then nothing is missed.

    >>> with client.logs("talker", lines=2) as lines:
    ...     for line in lines:
    ...         print(line)
    the model is ready
    2 tokens in 0.1 s
    """

    def __init__(self, values: Receiving[Value_co], *, announced: bool = False) -> None:
        """`announced`: the supervisor says when it begins to look."""
        self._values = values
        self._announced = announced

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        return next(self._values)

    def __enter__(self) -> Self:
        if self._announced:
            self._values.begun()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ends it, from any thread. Idempotent.

        >>> lines = client.logs("talker")
        >>> next(lines)
        'the model is ready'
        >>> lines.cancel()
        """
        self._values.cancel()


class Stream:
    """An answer on its way. The request is under way from the start; iterating gives text as it comes.

    Leaving the block before the end, `close` and `cancel` end the answer in the worker too; so does an exception that
    comes while it is waited for, Ctrl-C for one, and the end of this object. A loop that is left by `break` leaves an
    answer with a name on its way: it may be read on. Iterating, `text` and `finish` wait, and raise VramdError; what
    came before the error is in `received`.

    >>> with client.chat("talker", "Say hello.") as stream:
    ...     for text in stream:
    ...         print(repr(text))
    'Hello'
    ', you.'
    """

    def __init__(self, model: str, pieces: Receiving[Piece]) -> None:
        self.model = model
        self._pieces = pieces
        self._answer = Answer()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            while (text := self._advance()) == "":
                pass
        except BaseException as error:
            self._left(error)
            raise
        if text is None:
            raise StopIteration
        return text

    def __repr__(self) -> str:
        return f"<vramd.Stream of {self.model}: {self._answer}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer.finish is None:
            self.cancel()

    @property
    def received(self) -> str:
        """The text so far; does not wait.

        >>> stream = client.chat("talker", "Say hello.")
        >>> next(stream)
        'Hello'
        >>> stream.received
        'Hello'
        """
        return self._answer.text

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the tokens so far; does not wait. They may be ahead of the text.

        >>> stream = client.chat("talker", "Say hello.")
        >>> list(stream), stream.token_ids
        (['Hello', ', you.'], (0, 1))
        """
        return self._answer.token_ids

    @property
    def text(self) -> str:
        """The whole text; waits for the end. After `cancel` what had come by then.

        >>> client.chat("talker", "Say hello.").text
        'Hello, you.'
        """
        self._drain()
        return self.received

    @property
    def finish(self) -> Finish:
        """How the answer ended, and what it took; waits for the end. CANCELLED after `cancel`.

        >>> client.chat("talker", "Say hello.").finish.reason
        'STOP'
        """
        self._drain()
        return self._answer.ended()

    @property
    def timeline(self) -> Timeline | None:
        """Where the time went; waits for the end. None after `cancel`, and if the supervisor does not say.

        >>> timeline = client.chat("talker", "Say hello.").timeline
        >>> timeline and timeline.loaded_s
        2.5
        """
        self._drain()
        return replies.timeline_of(self._pieces.trailer())

    def cancel(self) -> None:
        """Ends the answer, from any thread; iterating then stops without an error. Idempotent.

        >>> stream = client.chat("talker", "Say hello.")
        >>> stream.cancel()
        >>> list(stream)
        []
        """
        self._answer.cancelled = True
        self._pieces.cancel()

    def close(self) -> None:
        """The same as `cancel`, for `contextlib.closing`.

        >>> stream = client.chat("talker", "Say hello.")
        >>> stream.close()
        >>> stream.text
        ''
        """
        self.cancel()

    def _drain(self) -> None:
        """Reads to the end. Raises VramdError, a second time too."""
        try:
            while not self._answer.is_broken and self._advance() is not None:
                pass
        except VramdError as failure:
            self._answer.break_off(failure)  # and is raised from here, without the frames that it came through
        except BaseException:
            self.cancel()
            raise
        if self._answer.is_broken:
            raise self._answer.failure()

    def _advance(self) -> str | None:
        """The text of the next message, which may be empty; None at the end."""
        return self._answer.take(next(self._pieces, None))

    def _left(self, error: BaseException) -> None:
        """Notes why nothing more is read."""
        if isinstance(error, VramdError):
            self._answer.break_off(error)
        else:
            self.cancel()
