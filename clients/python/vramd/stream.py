# Made by clients/python/generate_sync.py from async_stream.py: change that one.
"""Answers that come piece by piece: the messages of a call, and what a program sees of them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from vramd.connection import Connection
from vramd.errors import Cancelled, Internal, Unloaded, VramdError
from vramd.reading import read_timeline
from vramd.transport import Delay
from vramd.values.answers import Finish, Piece, Timeline, Usage
from vramd.values.models import Held

if TYPE_CHECKING:
    from typing_extensions import Self

    from vramd.calls import Call
    from vramd.retry import Attempts
    from vramd.values.words import ModelState

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


class Replies(Generic[Value_co]):
    """The replies of one streaming call. It is retried, as the supervisor advises, until a first message is there.

    Iterating waits for the next message and raises VramdError. Whatever exception leaves it ends the call; so does the
    end of this object, which for that reason is in no circle of references: no failure is kept with its traceback.
    """

    def __init__(
        self,
        connection: Connection,
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
        self._delay = Delay()
        self._cancelled = threading.Event()
        self._begun = False
        self._stream = connection.begin(call, attempts)
        self._over = False

    def __del__(self) -> None:
        if not self._over:
            self._stream.cancel()

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        if self._over:
            raise StopIteration
        self._stream.link.require_here()
        try:
            got = self._next() if self._begun else self._retrying(self._next)
        except BaseException:
            self._end()
            raise
        self._begun = True
        if got is None or isinstance(got, VramdError):
            self._over, self._is_preliminary = True, None  # what a program gives to be called may know this stream
            if got is None or self._cancelled.is_set():
                raise StopIteration
            try:
                raise got
            finally:
                del got  # it has this frame in its traceback
        return got

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, though perhaps it is not yet read why."""
        return self._over or self._stream.is_over

    def begun(self) -> None:
        """Waits until the supervisor has taken the call up. Raises what it was refused with, if it was."""
        if self._begun:
            return
        try:
            got = self._retrying(self._header)
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
        """Waits for the end, and gives what the supervisor said with it. Raises VramdError."""
        return self._stream.trailer()

    def cancel(self) -> None:
        """Ends the call, from any thread; the iteration ends without an error. Idempotent."""
        self._cancelled.set()
        self._delay.set()
        with self._changing:
            stream = self._stream
        stream.cancel()

    def _end(self) -> None:
        self._over, self._is_preliminary = True, None
        self._stream.cancel()

    def _retrying(self, step: Callable[[], Value | VramdError]) -> Value | VramdError:
        """Does a step of a call that has not begun, and again on a new call as long as that may help."""
        while True:
            got = step()
            if not isinstance(got, VramdError) or self._cancelled.is_set():
                return got
            wait_s = self._connection.next_in_s(got, self._stream.link, self._attempts)
            if wait_s is None:
                return got
            self._connection.pause(wait_s, self._delay)
            with self._changing:  # a cancel before this ends the old call, one behind it the new call
                if self._cancelled.is_set():
                    return got
                self._stream = self._connection.begin(self._call, self._attempts)

    def _header(self) -> VramdError | None:
        return self._connection.explained(self._stream.header(), self._stream.link)

    def _next(self) -> Value_co | VramdError | None:
        while True:
            got = self._read()
            if (
                got is None
                or isinstance(got, VramdError)
                or self._is_preliminary is None
                or not self._is_preliminary(got)
            ):
                return got

    def _read(self) -> Value_co | VramdError | None:
        raw = self._connection.explained(self._stream.read(), self._stream.link)
        return self._call.read(raw) if isinstance(raw, bytes) else raw


class Feed(Generic[Value_co]):
    """Events or lines as they come: iterate, and leave the block or `cancel` to end it.

    Iterating waits, and raises VramdError. Entering the block of an `Client.watch` waits until the supervisor
    watches: of what happens then nothing is missed.

    >>> with client.logs("talker", lines=2) as lines:
    ...     for line in lines:
    ...         print(line)
    the model is ready
    2 tokens in 0.1 s
    """

    def __init__(self, replies: Replies[Value_co], *, headed: bool = False) -> None:
        """`headed`: the supervisor says when it begins to look."""
        self._replies = replies
        self._headed = headed

    def __iter__(self) -> Iterator[Value_co]:
        return self

    def __next__(self) -> Value_co:
        return self._replies.__next__()

    def __enter__(self) -> Self:
        if self._headed:
            self._replies.begun()
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Ends it, from any thread; iterating then stops without an error. Idempotent.

        >>> lines = client.logs("talker")
        >>> next(lines)
        'the model is ready'
        >>> lines.cancel()
        """
        self._replies.cancel()


class Stream:
    """An answer on its way. The request is under way from the start; iterating gives text as it comes.

    Leaving the block before the end, `close` and `cancel` end the answer in the
    worker too; so does an exception that comes while
    it is waited for, Ctrl-C for one, and the end of this object. A loop that is left by
    `break` leaves an answer with a name on its way: it may be read on.

    Iterating, `text` and `finish` wait, and raise what `Client.chat` says; what came before the error is in
    `received`.

    >>> with client.chat("talker", "Say hello.") as stream:
    ...     for text in stream:
    ...         print(repr(text))
    'Hello'
    ', you.'
    """

    def __init__(self, model: str, replies: Replies[Piece]) -> None:
        self.model = model
        self._replies = replies
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._finish: Finish | None = None
        self._cancelled = False
        self._failure: VramdError | None = None
        """Without the frames that it came through: they would keep this alive."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            while (text := self._advance()) == "":
                pass
        except VramdError as failure:
            self._failure = copy.copy(failure)
            raise
        except BaseException:
            self.cancel()
            raise
        if text is None:
            raise StopIteration
        return text

    def __repr__(self) -> str:
        if self._failure is not None:
            how = self._failure.reason
        else:
            how = self._finish.reason if self._finish else "CANCELLED" if self._cancelled else "on its way"
        return f"<vramd.Stream of {self.model}: {len(self._token_ids)} tokens, {how}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._finish is None:
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
        return "".join(self._texts)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the tokens so far; does not wait. They may be ahead of the text.

        >>> stream = client.chat("talker", "Say hello.")
        >>> stream.text, stream.token_ids
        ('Hello, you.', (0, 1))
        """
        return tuple(self._token_ids)

    @property
    def text(self) -> str:
        """The whole text; waits for the end. After `cancel` what had come by then.

        >>> client.chat("talker", "Say hello.").text
        'Hello, you.'
        """
        return self._whole()

    @property
    def finish(self) -> Finish:
        """The end of the answer, with its tokens and times; waits for it. CANCELLED after `cancel`.

        >>> client.chat("talker", "Say hello.").finish.reason
        'STOP'
        """
        return self._ended()

    @property
    def timeline(self) -> Timeline | None:
        """The phases of the call; waits for the end. None after `cancel`, and if the supervisor does not say.

        >>> timeline = client.chat("talker", "Say hello.").timeline
        >>> timeline and timeline.loaded_s
        2.5
        """
        return self._timeline()

    def cancel(self) -> None:
        """Ends the answer, from any thread; iterating then stops without an error. Idempotent.

        >>> stream = client.chat("talker", "Say hello.")
        >>> stream.cancel()
        >>> [text for text in stream]
        []
        """
        self._cancelled = True
        self._replies.cancel()

    def close(self) -> None:
        """The same as `cancel`, for `contextlib.closing`.

        >>> stream = client.chat("talker", "Say hello.")
        >>> stream.close()
        >>> stream.text
        ''
        """
        self.cancel()

    def _whole(self) -> str:
        self._drain()
        return self.received

    def _ended(self) -> Finish:
        self._drain()
        return self._finish or Finish("CANCELLED", Usage(0, len(self._token_ids), 0.0, 0.0))

    def _timeline(self) -> Timeline | None:
        self._drain()
        return read_timeline(self._replies.trailer())

    def _drain(self) -> None:
        """Reads to the end. Raises VramdError, a second time too."""
        try:
            while self._failure is None and self._advance() is not None:
                pass
        except VramdError as failure:
            self._failure = copy.copy(failure)  # and is raised from here, without the frames that it came through
        except BaseException:
            self.cancel()
            raise
        if self._failure is not None:
            raise copy.copy(self._failure)

    def _advance(self) -> str | None:
        """Adds the next message and gives its text, which may be empty; None at the end."""
        try:
            piece = self._replies.__next__()
        except StopIteration:
            if self._finish is None and not self._cancelled and self._failure is None:
                raise Internal("INTERNAL", "the answer ended without saying how") from None
            return None
        self._texts.append(piece.text)
        self._token_ids.extend(piece.token_ids)
        self._finish = piece.finish or self._finish
        return piece.text


class Hold:
    """A model that is kept warm until the block is left, or `cancel`; at the latest by the end of this process.

    It is loaded if need be, and evicted neither for others nor for being idle. If its process is lost, it is loaded
    again. Iterating gives what it is doing, as it changes, and waits. The hold lasts whether it is read or not.

    When the supervisor ends the hold, iterating and `ready` raise VramdError, each time: `Unloaded` if the model was
    unloaded.

    >>> with client.hold("talker") as hold:
    ...     hold.ready()
    ...     hold.state
    'READY'
    """

    def __init__(self, model: str, steps: Replies[Held]) -> None:
        self.model = model
        """Its id; "task:NAME" until the supervisor has said which one was chosen."""
        self.state: ModelState | str = "UNSPECIFIED"
        """The state of the model when it was last read: by `ready`, or by iterating. UNSPECIFIED before, and when
        the hold is over, except that a model that was unloaded is UNLOADED."""
        self._steps = steps
        self._cancelled = False
        self._failure: VramdError | None = None
        """The reason that the hold is lost, without the frames that it came through: they would keep this alive."""

    def __iter__(self) -> Iterator[Held]:
        return self

    def __next__(self) -> Held:
        try:
            step = self._steps.__next__()
        except VramdError as failure:
            self._failure = copy.copy(failure)
            self.state = "UNLOADED" if isinstance(failure, Unloaded) else "UNSPECIFIED"
            raise
        self.state = step.state
        self.model = step.model or self.model
        return step

    def __repr__(self) -> str:
        return f"<vramd.Hold of {self.model}: {self.state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def ready(self) -> None:
        """Waits until the model is ready; returns at once if that is what was read last, and the hold lasts.

        Raises:
            Unloaded: The model was unloaded.
            Cancelled: The hold was ended by `cancel`.
            VramdError: The model cannot be loaded, as `Client.load` says; or the hold is over.

        >>> with client.hold("talker") as hold:
        ...     hold.ready()
        """
        lost = self.state == "READY" and self._steps.is_over
        try:
            while lost or self.state != "READY":
                self.__next__()
        except StopIteration:
            raise self._end() from None
        except VramdError:
            raise
        except BaseException:  # the wait is over, and so is the wish for the model
            self.cancel()
            raise

    def cancel(self) -> None:
        """Ends the hold, from any thread; iterating then stops without an error. Idempotent.

        >>> hold = client.hold("talker")
        >>> hold.cancel()
        >>> [step for step in hold]
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
