"""Short questions to a model, which need neither a place in it nor its context."""

import traceback
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from vramd_worker.engine import EngineError
from vramd_worker.llama.decode_loop import Cancellable
from vramd_worker.llama.tokenizing import Steps

Answer = TypeVar("Answer")


class Question(Cancellable, Generic[Answer]):
    """One question, which is answered once, unless it is cancelled before."""

    def __init__(self, done: Callable[[Answer | EngineError], None]) -> None:
        super().__init__()
        self._done = done

    def answered(self, steps: Steps[Answer]) -> Iterator[None]:
        """Does the steps and tells what they came to."""
        answer: Answer | EngineError
        try:
            answer = yield from steps
        except EngineError as error:
            answer = error
        if self.cancelled:
            return
        try:
            self._done(answer)
        except Exception:
            # Whoever asked is gone; the others are not to suffer for it.
            traceback.print_exc()
