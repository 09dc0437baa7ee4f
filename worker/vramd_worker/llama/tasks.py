"""Tasks for the engine's threads, and how such a thread ends."""

import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from vramd_worker.engine import EngineError
from vramd_worker.llama.tokenizing import Steps

Answer = TypeVar("Answer")


class LlamaTask(ABC):
    """Implements `vramd_worker.engine.Task`: can be cancelled from any thread."""

    def __init__(self) -> None:
        self.cancelled = False
        self.on_cancel: Callable[[], None] | None = None
        """Set by the loop that takes the task in."""

    def cancel(self) -> None:
        """Ends the task before the next step. Idempotent."""
        self.cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()

    @abstractmethod
    def fail(self, error: EngineError) -> None:
        """Answers with the error, in place of a result."""

    def _tell(self, callback: Callable[[Answer], None], answer: Answer) -> None:
        """Calls back unless the task is cancelled; an exception of the callback cancels it and harms no other."""
        if self.cancelled:
            return
        try:
            callback(answer)
        except Exception:
            traceback.print_exc()
            self.cancelled = True


class Question(LlamaTask, Generic[Answer]):
    """A task with a single answer."""

    def __init__(self, done: Callable[[Answer | EngineError], None]) -> None:
        super().__init__()
        self._done = done
        self._answered = False

    @property
    def is_over(self) -> bool:
        return self.cancelled or self._answered

    def answer(self, answer: Answer | EngineError) -> None:
        """Gives the answer; a second one is dropped."""
        if not self._answered:
            self._answered = True
            self._tell(self._done, answer)

    def fail(self, error: EngineError) -> None:
        self.answer(error)

    def answer_by(self, steps: Steps[Answer]) -> Iterator[None]:
        """Does the steps and answers with their result."""
        self.answer((yield from steps))


def run_or_abort(run: Callable[[], None]) -> None:
    """Runs the work of a thread; an exception ends the process.

    Requests would hang behind a dead thread; behind a dead process they fail at once.
    """
    try:
        run()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os.abort()
