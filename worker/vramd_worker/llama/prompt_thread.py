"""The thread that prepares prompts, so that neither the event loop nor the decode thread waits for a tokenizer."""

import os
import queue
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from vramd_worker.llama.decode_loop import Cancellable

STACK_BYTES = 64 * 1024 * 1024
"""Of the thread: room for a recursion once for each character of a piece, several times over. Taken as it is used."""

_making = threading.Lock()


class _Work(NamedTuple):
    task: Cancellable
    steps: Iterator[None]


class PromptThread:
    """Works on all that it was handed at once, a step of each in turn, so that what is short never waits for long."""

    def __init__(self) -> None:
        self._pile: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        with _making:
            before = threading.stack_size(STACK_BYTES)
            try:
                self._thread = threading.Thread(target=self._run, name="prompts", daemon=True)
                self._thread.start()
            finally:
                threading.stack_size(before)

    def add(self, task: Cancellable, steps: Iterator[None]) -> None:
        """Returns at once. The steps must not raise; they end early with the task. From any thread."""
        self._pile.put(_Work(task, steps))

    def close(self) -> None:
        """Ends the thread behind what lies there already, and waits for it."""
        self._pile.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._run_until_closed()
        except BaseException:
            # Requests would hang behind a thread that is gone; behind a process that is gone they do not.
            traceback.print_exc()
            sys.stderr.flush()
            os.abort()

    def _run_until_closed(self) -> None:
        begun: deque[_Work] = deque()
        closing = False
        while begun or not closing:
            while not closing and (not begun or not self._pile.empty()):
                work = self._pile.get()
                if work is None:
                    closing = True
                else:
                    begun.append(work)
            if begun and _goes_on(turn := begun.popleft()):
                begun.append(turn)


def _goes_on(work: _Work) -> bool:
    """Does a step; false if it was the last."""
    if work.task.cancelled:
        return False
    try:
        next(work.steps)
    except StopIteration:
        return False
    return True
