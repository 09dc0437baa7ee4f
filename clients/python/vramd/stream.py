"""Answers that come piece by piece: one thread reads, any thread may cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import grpc

from vramd import failures, replies
from vramd.answer import Answer
from vramd.errors import VramdError
from vramd.retry import Deadline, retrying

if TYPE_CHECKING:
    from typing_extensions import Self

    from vramd.answer_values import Finish, Timeline
    from vramd.replies import Piece

Value_co = TypeVar("Value_co", covariant=True)


class Incoming(Protocol):
    """What a channel gives for a streaming call."""

    def __next__(self) -> bytes: ...
    def cancel(self) -> bool:
        """Ends the call."""

    def is_active(self) -> bool:
        """Whether it has not ended."""

    def initial_metadata(self) -> object:
        """Waits for the header, or the end."""

    def trailing_metadata(self) -> Any:
        """Pairs, or None; waits for the end. Untyped: gRPC's calls and its errors, which are one, differ in it."""


class Receiving(Generic[Value_co]):
    """The messages of one streaming call. It is made again, as the supervisor advises, until a first message is there.

    Iterating waits for the next message and raises VramdError.
    """

    def __init__(
        self,
        begin: Callable[[float | None], Incoming],
        read: Callable[[bytes], Value_co],
        timeout_s: float | None,
        sleep: Callable[[float], None],
        before: Callable[[Value_co], bool] | None = None,
    ) -> None:
        """`before` takes a message that comes before the first one that counts, and says whether it was such."""
        self._begin = begin
        self._before = before
        self._read = read
        self._sleep = sleep
        self._deadline = Deadline(timeout_s)
        self._cancelled = threading.Event()
        self._over = False
        self._answered = False
        self._call = begin(self._deadline.left_s())
        self._failed = False

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        if self._over:
            raise StopIteration
        try:
            value = self._receive() if self._answered else retrying(self._deadline, self._sleep)(self._first)
            self._over = value is None
        except VramdError:
            self._over = True
            if self._cancelled.is_set():
                raise StopIteration from None
            raise
        if value is None:
            raise StopIteration
        self._answered = True
        return value

    def begun(self) -> None:
        """Waits until the supervisor has taken the call up. Raises what it was refused with, if it was."""
        self._call.initial_metadata()
        if isinstance(self._call, grpc.RpcError) and not self._call.is_active() and not self._cancelled.is_set():
            error = failures.from_rpc(self._call)
            if error.code != "OK":
                self._over = True
                raise error

    def trailer(self) -> dict[str, str | bytes]:
        """What the supervisor said with the end; waits for it."""
        return dict(self._call.trailing_metadata() or ())

    def cancel(self) -> None:
        """Ends the call, from any thread; the iteration ends without an error. Idempotent."""
        self._cancelled.set()
        self._call.cancel()

    def _first(self) -> Value_co | None:
        if self._failed:
            self._call = self._begin(self._deadline.left_s())
            self._failed = False
            if self._cancelled.is_set():  # while this thread waited for the next attempt
                self._call.cancel()
        while True:
            try:
                value = self._receive()
            except VramdError:
                self._failed = True
                raise
            if value is None or self._before is None or not self._before(value):
                return value

    def _receive(self) -> Value_co | None:
        try:
            return self._read(next(self._call))
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise failures.from_rpc(error) from error


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

    def __init__(
        self, values: Iterator[Value_co], cancel: Callable[[], None], begun: Callable[[], None] | None = None
    ) -> None:
        self._values = values
        self._cancel = cancel
        self._begun = begun

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        return next(self._values)

    def __enter__(self) -> Self:
        if self._begun is not None:
            self._begun()
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
        self._cancel()


class Stream:
    """An answer on its way. The request is under way from the start; iterating gives text as it comes.

    Leaving the block before the end, or `cancel`, ends the answer in the worker too. Iterating, `text` and `finish`
    wait, and raise VramdError; what came before the error is in `received`.

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
        while True:
            text = self._advance()
            if text is None:
                raise StopIteration
            if text:
                return text

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
    def finish(self) -> Finish | None:
        """How the answer ended, and what it took; waits for the end. None after `cancel`.

        >>> client.chat("talker", "Say hello.").finish.reason
        'STOP'
        """
        self._drain()
        return self._answer.finish

    @property
    def timeline(self) -> Timeline | None:
        """Where the time went; waits for the end. None after `cancel`, and if the supervisor does not say.

        >>> client.chat("talker", "Say hello.").timeline.loaded_s
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

    def _drain(self) -> None:
        if self._answer.error is not None:
            raise self._answer.error
        while self._advance() is not None:
            pass

    def _advance(self) -> str | None:
        """The text of the next message, which may be empty; None at the end."""
        with self._answer.noting():
            return self._answer.take(next(self._pieces, None))
