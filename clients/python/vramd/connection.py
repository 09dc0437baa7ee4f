# Made by clients/python/generate_sync.py from async_connection.py: change that one.
"""The way to a supervisor: a channel, which is replaced when another supervisor is there."""

from __future__ import annotations

import os
import threading
from typing import TypeVar

from vramd import failures
from vramd.calls import Call
from vramd.channel import require_own
from vramd.errors import Cancelled, ClientClosed, VramdError
from vramd.finding import Place, Search
from vramd.retry import Attempts
from vramd.transport import Delay, Link, Sleep, StreamCall

Value = TypeVar("Value")
Answer = TypeVar("Answer")


class Connection:
    """Calls to the supervisor that a search finds.

    Any thread may use it.
    A forked child cannot use it, and does not close it: the sockets are its parent's.
    """

    def __init__(self, search: Search, sleep: Sleep | None) -> None:
        """`sleep` waits between attempts; None waits so that `close` and `cancel` end it. Raises what a search does."""
        self._search = search
        self._sleep = sleep
        self._pid = os.getpid()
        self._changing = threading.RLock()  # held for moments only, and never while something is awaited
        self._closed = False
        self._delays: set[Delay] = set()
        self._place = search.look()
        self._link: Link | None = None

    @property
    def place(self) -> Place:
        """The place of the supervisor that was found last."""
        return self._place

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """Ends what runs and what waits. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._changing:
            self._closed = True
            for delay in self._delays:
                delay.set()
        if self._link is not None:
            self._link.close()

    def ask(self, call: Call[Value], attempts: Attempts) -> Value | VramdError:
        """Makes a call that has one answer. Returns the error instead of raising it: fewer frames in its traceback."""
        while True:
            link = self._open_link()
            answer = self.explained(link.ask(call.path, call.request, attempts.left_s()), link)
            if isinstance(answer, bytes):
                return call.read(answer)
            wait_s = self.next_in_s(answer, link, attempts)
            if wait_s is None:
                return answer
            self.pause(wait_s, Delay())

    def begin(self, call: Call[Value], attempts: Attempts) -> StreamCall:
        """Begins a streaming call. Raises ClientClosed, WrongContext."""
        with self._changing:
            return self._open_link().begin(call.path, call.request, attempts.left_s())

    def explained(self, answer: Answer | VramdError, link: Link) -> Answer | VramdError:
        """Says why gRPC reports a cancellation: it does so for every call of a channel that is closed."""
        if isinstance(answer, Cancelled) and self._closed:
            return _closed()
        if isinstance(answer, Cancelled) and link is not self._link:
            return failures.failure("UNAVAILABLE", "another one is in its place", b"")
        return answer

    def next_in_s(self, failure: VramdError, link: Link, attempts: Attempts) -> float | None:
        """Seconds until a call that failed on this link is retried; None: it is not."""
        return attempts.next_in_s(failure, moved=failures.may_be_gone(failure) and self._moved(link))

    def pause(self, wait_s: float, delay: Delay) -> None:
        """Waits until the time is over, or the delay is ended, as `close` does. Raises ClientClosed."""
        with self._changing:
            if not self._closed:
                self._delays.add(delay)
        try:
            if wait_s > 0 and not self._closed:
                delay.sleep(wait_s, self._sleep)
        finally:
            with self._changing:
                self._delays.discard(delay)
        if self._closed:
            raise _closed()

    def _open_link(self) -> Link:
        """The channel for the next call, which the first call opens."""
        require_own(self._pid)
        with self._changing:
            if self._closed:
                raise _closed()
            if self._link is None or self._link.is_stale:
                self._link = Link(self._place)
            self._link.require_here()
            return self._link

    def _moved(self, link: Link) -> bool:
        """Looks whether another supervisor has taken the place of this link's; calls go to it from now on."""
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
            self._place, self._link = place, Link(place)
        link.close()
        return True


def _closed() -> ClientClosed:
    return ClientClosed("CLIENT_CLOSED", "the client is closed", code="CANCELLED")
