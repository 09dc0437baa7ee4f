"""The thread that prepares prompts, so that neither the event loop nor the decode thread waits for a tokenizer."""

import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from vramd_worker.engine import Activity, EngineError
from vramd_worker.llama.tasks import LlamaTask, run_or_abort

STACK_BYTES = 64 * 1024 * 1024
"""Size of the thread's stack: enough to recurse once per character of a piece, several times over.

The system takes the memory only as it is used.
"""

_starting = threading.Lock()


class _Work(NamedTuple):
    task: LlamaTask
    steps: Iterator[None]


class PromptThread:
    """Works on all tasks at once, one step of each in turn, so that a short one never waits for a long one."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._begun: deque[_Work] = deque()
        self._steps = 0
        with _starting:
            before = threading.stack_size(STACK_BYTES)
            try:
                self._thread = threading.Thread(target=run_or_abort, args=(self._run,), name="prompts", daemon=True)
                self._thread.start()
            finally:
                threading.stack_size(before)

    def add(self, task: LlamaTask, steps: Iterator[None]) -> None:
        """Takes steps in and returns at once. They end early if the task is cancelled. Thread-safe.

        An EngineError of a step fails the task; any other exception ends the process.
        """
        self._inbox.put(_Work(task, steps))

    def goes_on(self) -> None:
        """Notes that a step which takes long goes on. Called by the step."""
        self._steps += 1

    def activity(self) -> Activity:
        """Returns what it does now. Thread-safe; never waits."""
        return Activity("prompts", bool(self._begun) or not self._inbox.empty(), self._steps)

    def close(self) -> None:
        """Ends the thread once it has done what it was given, and waits for that."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        begun = self._begun
        closing = False
        while begun or not closing:
            while not closing and (not begun or not self._inbox.empty()):
                work = self._inbox.get()
                if work is None:
                    closing = True
                else:
                    begun.append(work)
            if begun:
                if _has_more(begun[0]):
                    begun.rotate(-1)
                else:
                    begun.popleft()
                self._steps += 1


def _has_more(work: _Work) -> bool:
    """Does a step; false if it was the last."""
    if work.task.cancelled:
        return False
    try:
        next(work.steps)
    except StopIteration:
        return False
    except EngineError as error:
        work.task.fail(error)
        return False
    return True
