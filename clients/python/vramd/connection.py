"""The way to a supervisor, for clients with threads: a channel, which is made anew when another supervisor is there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import grpc

from vramd import failures
from vramd.channel import OPTIONS, Metadata, metadata
from vramd.errors import Cancelled, ClientClosed, VramdError, WrongContext
from vramd.finding import Place, Search

if TYPE_CHECKING:
    from vramd.calls import Call
    from vramd.retry import Attempts

Value = TypeVar("Value")


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


@dataclass(frozen=True)
class Link:
    """A channel, and the supervisor that it leads to."""

    place: Place
    channel: grpc.Channel
    metadata: Metadata


def closed() -> ClientClosed:
    """What every call of a closed client comes to."""
    return ClientClosed("CLIENT_CLOSED", "the client is closed", code="CANCELLED")


def replaced() -> VramdError:
    """What a call comes to whose channel was closed because another supervisor was found."""
    return failures.failure("UNAVAILABLE", "another one is in its place", b"")


def require_own(pid: int) -> None:
    """Raises WrongContext in a forked child of the process `pid`: gRPC's threads and sockets are not the child's."""
    if os.getpid() != pid:
        words = f"this client belongs to process {pid}, and this is a forked child of it: make a client of its own here"
        raise WrongContext("FORKED", words)


class Connection:
    """Calls to the supervisor that a search finds. Any thread may use it.

    A forked child can do nothing with it, and does nothing to it: what it closed would be its parent's.
    """

    def __init__(self, search: Search, sleep: Callable[[float], None] | None) -> None:
        """`sleep` waits between attempts; None waits so that `close` and `cancel` end it. Raises what a search does."""
        self._search = search
        self._sleep = sleep
        self._pid = os.getpid()
        self._changing = threading.RLock()
        self._closed = False
        self._sleepers: set[threading.Event] = set()
        self._link = _opened(search.look())

    @property
    def place(self) -> Place:
        """Of the supervisor that was found last."""
        return self._link.place

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def require_own(self) -> None:
        """Raises WrongContext in a forked child."""
        require_own(self._pid)

    def close(self) -> None:
        """Ends what runs and what waits. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._changing:
            self._closed = True
            for woken in self._sleepers:
                woken.set()
        self._link.channel.close()

    def ask(self, call: Call[Value], attempts: Attempts) -> Value | VramdError:
        """Makes a call that has one answer. Gives why it failed, rather than raise it: the fewer frames it names."""
        while True:
            link = self._open_link()
            answer = self._attempt(link, call, attempts.left_s())
            if isinstance(answer, bytes):
                return call.read(answer)
            wait_s = self.next_in_s(answer, link, attempts)
            if wait_s is None:
                return answer
            self.pause(wait_s, threading.Event())

    def begin(self, call: Call[Value], left_s: float | None) -> tuple[Link, Incoming]:
        """Begins a streaming call. Raises ClientClosed, WrongContext."""
        with self._changing:
            link = self._open_link()
            method: grpc.UnaryStreamMultiCallable[bytes, bytes] = link.channel.unary_stream(call.path)
            return link, method(call.request, timeout=left_s, metadata=link.metadata)

    def end(self, incoming: Incoming) -> None:
        """Ends a streaming call, unless it is that of the parent."""
        if os.getpid() == self._pid:
            incoming.cancel()

    def failure(self, error: grpc.RpcError, link: Link) -> VramdError:
        """The error for what a call on a link raised."""
        told = failures.from_rpc(error)
        if isinstance(told, Cancelled) and (self._closed or link is not self._link):
            return self._ended_channel(link)
        return told

    def next_in_s(self, failure: VramdError, link: Link, attempts: Attempts) -> float | None:
        """Seconds until a call that failed on this link is made again; None: it is not."""
        return attempts.next_in_s(failure, moved=failures.of_nobody(failure) and self._moved(link))

    def pause(self, wait_s: float, woken: threading.Event) -> None:
        """Waits, until the event at the longest; `close` sets it. Raises ClientClosed."""
        with self._changing:
            if not self._closed:
                self._sleepers.add(woken)
        try:
            if wait_s > 0 and not self._closed:
                (self._sleep or woken.wait)(wait_s)
        finally:
            with self._changing:
                self._sleepers.discard(woken)
        if self._closed:
            raise closed()

    def _open_link(self) -> Link:
        self.require_own()
        if self._closed:
            raise closed()
        return self._link

    def _attempt(self, link: Link, call: Call[Value], left_s: float | None) -> bytes | VramdError:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = link.channel.unary_unary(call.path)
        try:
            # Not called at once: that would go on for as long as the traceback of a Ctrl-C is kept.
            under_way = method.future(call.request, timeout=left_s, metadata=link.metadata)
        except ValueError:  # what gRPC says of a channel that another thread has closed meanwhile
            return self._ended_channel(link)
        try:
            return under_way.result()
        except grpc.RpcError as error:
            return self.failure(error, link)
        except BaseException:
            under_way.cancel()
            raise

    def _ended_channel(self, link: Link) -> VramdError:
        """Why a channel was closed under a call."""
        return closed() if self._closed or link is self._link else replaced()

    def _moved(self, link: Link) -> bool:
        """Whether another supervisor than that of this link is there now; calls go to it from then on."""
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
            self._link = _opened(place)
        link.channel.close()
        return True


def _opened(place: Place) -> Link:
    return Link(place, grpc.insecure_channel(place.address, OPTIONS), metadata(place))
