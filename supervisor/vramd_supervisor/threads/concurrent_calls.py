"""Makes many blocking calls at once, such as reading files, and waits a while for each."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Generic, TypeVar

from .serial_calls import NoAnswerError

T = TypeVar("T")


class ConcurrentCalls(Generic[T]):
    """Calls by key, on daemon threads. A slow one goes on by itself, and is never made twice at once.

    Its answer serves the next run. For one thread at a time, and not for an event loop's.
    """

    def __init__(self, patience_s: float, at_once: int, on_late: Callable[[], None] = lambda: None) -> None:
        """`on_late` is called when the answer of one is there that was given up; from any thread."""
        self._patience_s = patience_s
        self._at_once = at_once
        self._on_late = on_late
        self._late: dict[str, Future[T]] = {}
        """Given up, and not asked for since they came, if they did."""

    def run(self, calls: Mapping[str, Callable[[], T]]) -> dict[str, T | NoAnswerError]:
        """Returns the answer of each call, or that there is none yet. Raises what a call raises: the others go on."""
        answers: dict[str, T | NoAnswerError] = {}
        waiting, running = deque(calls.items()), dict[Future[T], tuple[str, float]]()
        try:
            while waiting or running:
                while waiting and len(running) < self._at_once:
                    name, call = waiting.popleft()
                    if late := self._late.get(name):
                        answers[name] = self._late.pop(name).result() if late.done() else _unanswered(name)
                    elif begun := _begin(name, call):
                        running[begun] = name, time.monotonic() + self._patience_s
                    else:
                        answers[name] = NoAnswerError(f"{name} cannot be asked: there are no more threads")
                if running:
                    wait(running, min(end_s for _, end_s in running.values()) - time.monotonic(), FIRST_COMPLETED)
                for future, (name, end_s) in list(running.items()):
                    if future.done():
                        del running[future]
                        answers[name] = future.result()
                    elif time.monotonic() >= end_s:
                        del running[future]
                        answers[name] = self._give_up(name, future)
        finally:
            for future, (name, _) in running.items():  # one of the others has raised
                self._give_up(name, future)
        return answers

    def _give_up(self, name: str, future: Future[T]) -> NoAnswerError:
        self._late[name] = future
        future.add_done_callback(lambda _: self._on_late())
        return _unanswered(name)


def _unanswered(name: str) -> NoAnswerError:
    return NoAnswerError(f"{name} gives no answer")


def _begin(name: str, call: Callable[[], T]) -> "Future[T] | None":
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        return None
    return future
