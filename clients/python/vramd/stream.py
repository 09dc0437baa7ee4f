"""Answers that come piece by piece: one thread reads, any thread may cancel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import grpc

from vramd import failures, replies
from vramd.errors import Internal, VramdError
from vramd.retry import Deadline, retrying

if TYPE_CHECKING:
    from typing_extensions import Self
    from vramd_proto.v1.inference_pb2 import ChatResponse, GenerateResponse

    from vramd.values import Finish

Message_co = TypeVar("Message_co", covariant=True)
Value_co = TypeVar("Value_co", covariant=True)


class Incoming(Protocol[Message_co]):
    """What a channel gives for a streaming call."""

    def __next__(self) -> Message_co: ...
    def cancel(self) -> bool:
        """Ends the call."""


class Receiving(Generic[Message_co]):
    """The messages of one streaming call. It is made again, as the supervisor advises, until a first message is there.

    Iterating waits for the next message and raises VramdError.
    """

    def __init__(
        self,
        begin: Callable[[float | None], Incoming[Message_co]],
        timeout_s: float | None,
        sleep: Callable[[float], None],
    ) -> None:
        self._begin = begin
        self._sleep = sleep
        self._deadline = Deadline(timeout_s)
        self._cancelled = threading.Event()
        self._over = False
        self._answered = False
        self._call = begin(self._deadline.left_s())
        self._fresh = True

    def __iter__(self) -> Iterator[Message_co]:
        return self

    def __next__(self) -> Message_co:
        if self._over:
            raise StopIteration
        try:
            message = self._receive() if self._answered else retrying(self._deadline, self._sleep)(self._first)
        except VramdError:
            self._over = True
            if self._cancelled.is_set():
                raise StopIteration from None
            raise
        if message is None:
            self._over = True
            raise StopIteration
        self._answered = True
        return message

    def cancel(self) -> None:
        """Ends the call, from any thread; the iteration ends without an error. Idempotent."""
        self._cancelled.set()
        self._call.cancel()

    def _first(self) -> Message_co | None:
        if not self._fresh:
            self._call = self._begin(self._deadline.left_s())
            if self._cancelled.is_set():  # while this thread waited for the next attempt
                self._call.cancel()
        self._fresh = False
        return self._receive()

    def _receive(self) -> Message_co | None:
        try:
            return next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise failures.from_rpc(error) from error


class Feed(Generic[Value_co]):
    """What happens, as it happens: iterate, and leave the block or `cancel` to end it.

    Iterating waits, and raises VramdError.
    """

    def __init__(self, values: Iterator[Value_co], cancel: Callable[[], None]) -> None:
        self._values = values
        self._cancel = cancel

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        return next(self._values)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ends it, from any thread. Idempotent."""
        self._cancel()


class Stream:
    """An answer on its way. The request is under way from the start; iterating gives text as it comes.

    Leaving the block before the end, or `cancel`, ends the answer in the worker too. Iterating, `text` and `finish`
    wait, and raise VramdError; what came before the error is in `received`.
    """

    def __init__(self, model: str, messages: Receiving[ChatResponse | GenerateResponse]) -> None:
        self.model = model
        self._messages = messages
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._finish: Finish | None = None
        self._cancelled = False
        self._error: VramdError | None = None

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
        if self._finish is None:
            self.cancel()

    @property
    def received(self) -> str:
        """The text so far; does not wait."""
        return "".join(self._texts)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the tokens so far; does not wait. They may be ahead of the text."""
        return tuple(self._token_ids)

    @property
    def text(self) -> str:
        """The whole text; waits for the end. After `cancel` what had come by then."""
        self._drain()
        return self.received

    @property
    def finish(self) -> Finish | None:
        """How the answer ended, and what it took; waits for the end. None after `cancel`."""
        self._drain()
        return self._finish

    def cancel(self) -> None:
        """Ends the answer, from any thread; iterating then stops without an error. Idempotent."""
        self._cancelled = True
        self._messages.cancel()

    def _drain(self) -> None:
        if self._error is not None:
            raise self._error
        while self._advance() is not None:
            pass

    def _advance(self) -> str | None:
        """The text of the next message, which may be empty; None at the end."""
        try:
            message = next(self._messages, None)
            if message is None and self._finish is None and not self._cancelled and self._error is None:
                raise Internal("INTERNAL", "the answer ended without saying how")
        except VramdError as error:
            self._error = error
            raise
        if message is None:
            return None
        piece = replies.piece(message)
        self._texts.append(piece.text)
        self._token_ids.extend(piece.token_ids)
        self._finish = piece.finish or self._finish
        return piece.text
