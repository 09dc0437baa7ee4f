"""Blocking calls on daemon threads, waited for within a bound: files on drives that are gone, drivers that hang."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class NoAnswerError(Exception):
    """A call has not come back in time, or could not be made; its text says of whom."""


class NoThreadError(NoAnswerError):
    """There are no more threads to make a call on."""


def _forget(_: object) -> None:
    """An answer that comes too late is of no use."""


class _Job(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self.answer: Future[T] = Future()
        self._call = call

    def run(self) -> None:
        """Makes the call, unless it was cancelled."""
        if not self.answer.set_running_or_notify_cancel():
            return
        try:
            answer = self._call()
        except BaseException as error:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(answer)


class SerialCalls:
    """The calls about one thing, such as a driver or a file, one after another.

    One that hangs takes a thread with it, and only that one: until it comes back, every further call here fails at
    once, so that no more than one thread is ever lost. There is no thread while there is nothing to do.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        """`name` is for messages. A call that takes longer than `limit_s` is one that hangs."""
        self.name = name
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._waiting: deque[_Job[Any]] = deque()
        self._running: _Job[Any] | None = None
        self._late_s = 0.0
        """When the running call is one that hangs, by the monotonic clock."""

    @property
    def busy(self) -> bool:
        return self._running is not None

    def ask(self, call: Callable[[], T]) -> T:
        """Waits for the answer. Raises NoAnswerError, or what the call raises. Not for an event loop's thread."""
        job = self._submit(call)
        wait([job.answer], self._limit_s)
        if not job.answer.done():
            raise self._gave_up(job)
        return job.answer.result()

    async def run(self, call: Callable[[], T], late: Callable[[T], None] = _forget) -> T:
        """As `ask`, for an event loop. `late` gets an answer that came too late, in any thread."""
        job = self._submit(call)
        answer = asyncio.wrap_future(job.answer)
        taken = False
        try:
            await asyncio.wait([answer], timeout=self._limit_s)
            if not answer.done():
                raise self._gave_up(job)
            taken = True
            return answer.result()
        finally:
            answer.cancel()
            if not (taken or job.answer.cancel()):
                job.answer.add_done_callback(lambda done: None if done.exception() else late(done.result()))

    def submit(self, call: Callable[[], T]) -> "Future[T]":
        """Queues a call and does not wait. Raises NoAnswerError if it cannot be made."""
        return self._submit(call).answer

    def _submit(self, call: Callable[[], T]) -> _Job[T]:
        job = _Job(call)
        with self._lock:
            if self._running is None:
                self._begin(job)
            elif time.monotonic() > self._late_s:
                raise NoAnswerError(f"{self.name} has not answered an earlier question yet")
            else:
                self._waiting.append(job)
        return job

    def _begin(self, job: _Job[Any]) -> None:
        try:
            self._take_thread()
        except RuntimeError as error:
            raise NoThreadError(f"{self.name} cannot be asked: {error}") from error
        self._running, self._late_s = job, time.monotonic() + self._limit_s

    def _take_thread(self) -> None:
        """Starts a thread for the queue. Raises RuntimeError if there are no more threads."""
        threading.Thread(target=self._work, name=self.name, daemon=True).start()

    def _work(self) -> None:
        with self._lock:
            job = self._running
        while job:
            job.run()
            with self._lock:
                job = self._running = self._waiting.popleft() if self._waiting else None
                self._late_s = time.monotonic() + self._limit_s

    def _gave_up(self, job: _Job[Any]) -> NoAnswerError:
        job.answer.cancel()
        with self._lock:
            if self._running is job:
                self._late_s = 0.0
        return NoAnswerError(f"{self.name} gives no answer within {self._limit_s:g} s")


class SerialCallsByName:
    """Serial calls for each name, for as long as there are any; few run at once, those that hang not counted."""

    def __init__(self, limit_s: float, at_once: int, most: int) -> None:
        """`most` is how many there may be, with those that hang."""
        self._limit_s = limit_s
        self._at_once = asyncio.Semaphore(at_once)
        self._most = most
        self._calls: dict[str, SerialCalls] = {}

    async def run(self, name: str, call: Callable[[], T]) -> T:
        """As `SerialCalls.run`, after the others of this name."""
        async with self._at_once:
            calls = self._calls.get(name)
            if calls is None:
                self._calls = {name: calls for name, calls in self._calls.items() if calls.busy}
                if len(self._calls) >= self._most:
                    raise NoAnswerError(f"{name} is not asked: {len(self._calls)} others give no answer")
                calls = self._calls[name] = SerialCalls(name, self._limit_s)
            return await calls.run(call)
