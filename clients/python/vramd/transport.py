"""The channel for programs with threads, and how they wait: `vramd.async_transport` is the same for event loops."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import grpc

from vramd import failures
from vramd.channel import OPTIONS, metadata, require_own, secured
from vramd.errors import Cancelled, VramdError
from vramd.finding import Place

Value = TypeVar("Value")
Detail = TypeVar("Detail")

Sleep = Callable[[float], None]
Callback = Callable[[Detail], None]

END_LIMIT_S = 5.0
"""A callback that takes longer than this at the client's end is left behind."""


class Link:
    """A channel, and the supervisor that it leads to. Any thread may use it."""

    is_stale = False
    """No loop is needed that could end."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.pid = os.getpid()
        if place.tls is None:
            self._channel = grpc.insecure_channel(place.address, OPTIONS)
        else:
            self._channel = grpc.secure_channel(place.address, *secured(place.tls))
        self._metadata = metadata(place)

    def require_here(self) -> None:
        """Raises WrongContext in a forked child."""
        require_own(self.pid)

    def ask(self, path: str, request: bytes, left_s: float | None) -> bytes | VramdError:
        """Makes a call that has one answer; gives why it failed."""
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
        try:
            # Not called at once: that would go on for as long as the traceback of a Ctrl-C is kept.
            under_way = method.future(request, timeout=left_s, metadata=self._metadata)
        except ValueError:  # what gRPC says of a channel that another thread has closed meanwhile
            return Cancelled("CANCELLED", "the channel is closed", code="CANCELLED")
        try:
            return under_way.result()
        except grpc.RpcError as error:
            return failures.from_rpc(error)
        except BaseException:
            under_way.cancel()
            raise

    def begin(self, path: str, request: bytes, left_s: float | None) -> StreamCall:
        method: grpc.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(path)
        return StreamCall(self, method(request, timeout=left_s, metadata=self._metadata))

    def close(self) -> None:
        self._channel.close()


class _GrpcCall(Protocol):
    """The part of gRPC's call that is used here."""

    def __next__(self) -> bytes: ...
    def cancel(self) -> bool:
        """Ends the call."""

    def is_active(self) -> bool:
        """Whether it has not ended."""

    def initial_metadata(self) -> object:
        """Waits for the header, or the end."""

    def trailing_metadata(self) -> Any:
        """Pairs, or None; waits for the end. Untyped: gRPC's calls and its errors, which are one, differ in it."""


class StreamCall:
    """The messages of one streaming call, as bytes."""

    def __init__(self, link: Link, call: _GrpcCall) -> None:
        self.link = link
        self._call = call

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, though perhaps not everything is read."""
        return not self._call.is_active()

    def read(self) -> bytes | VramdError | None:
        """Waits for the next message; gives None at the end, and why the call failed."""
        try:
            return next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            return failures.from_rpc(error)

    def header(self) -> VramdError | None:
        """Waits until the supervisor has taken the call up; gives why it has not."""
        self._call.initial_metadata()
        if not isinstance(self._call, grpc.RpcError) or self._call.is_active():
            return None
        failure = failures.from_rpc(self._call)
        return None if failure.code == "OK" else failure

    def trailer(self) -> dict[str, str | bytes]:
        """Waits for the end, and gives what the supervisor said with it."""
        return dict(self._call.trailing_metadata() or ())

    def cancel(self) -> None:
        """Ends the call, from any thread, unless it is that of the parent."""
        if os.getpid() == self.link.pid:
            self._call.cancel()


class Delay(threading.Event):
    """A wait that `set` ends."""

    def sleep(self, wait_s: float, sleep: Sleep | None) -> None:
        """Waits; `sleep` is the program's own, which nothing can end."""
        (sleep or self.wait)(wait_s)


class Background:
    """Runs one piece of work beside the program, in a thread, and again when that has ended."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self, prepare: Callable[[], Value], work: Callable[[Value], None]) -> None:
        """Begins the work, with what `prepare` gives, unless it is under way. Raises what `prepare` does."""
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=work, args=(prepare(),), name="vramd", daemon=True)
                self._thread.start()

    def pause(self, wait_s: float) -> bool:
        """Waits, for the work; says whether to go on: not after `stop`."""
        return not self._stopping.wait(wait_s)

    def stop(self) -> None:
        """Waits for the end of the work, but not for long, and not if it is the work that calls."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(END_LIMIT_S)


def call_back(callback: Callback[Any], detail: object) -> None:
    """Calls."""
    callback(detail)
