"""The decode thread: it alone computes. It works step by step, and waits without spinning when nothing is due."""

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from vramd_worker.llama.context import NativeContext
from vramd_worker.llama.native import NativeLog
from vramd_worker.llama.tasks import LlamaTask, run_or_abort

Item = TypeVar("Item", bound=LlamaTask)
Item_contra = TypeVar("Item_contra", bound=LlamaTask, contravariant=True)


class Work(Protocol[Item_contra]):
    """What is done in the decode thread."""

    def add(self, item: Item_contra) -> None:
        """Takes something new in."""

    def step(self) -> float:
        """Does one step. Returns when the next is due in monotonic seconds; infinity: when something new comes."""

    def close(self) -> None:
        """Frees what is native in it; behind the last step."""


class Interrupt:
    """Stops a batch early when all it is computed for has been cancelled."""

    def __init__(self, context: NativeContext, log: NativeLog) -> None:
        self._context = context
        self._log = log
        self._lock = threading.Lock()
        self._running: Sequence[LlamaTask] = ()

    def begin(self, running: Sequence[LlamaTask]) -> None:
        """A batch for these is about to be computed."""
        with self._lock:
            self._running = running
            self._abort(all(item.cancelled for item in running))

    def end(self) -> None:
        """It was computed."""
        with self._lock:
            self._running = ()
            self._abort(False)

    def look(self) -> None:
        """Something was cancelled. From any thread."""
        with self._lock:
            if self._running and all(item.cancelled for item in self._running):
                self._abort(True)

    def _abort(self, wanted: bool) -> None:
        self._log.muted = wanted
        self._context.set_abort(wanted)


class DecodeLoop(Generic[Item]):
    """Runs one kind of work in a thread, until `stop`."""

    def __init__(self, context: NativeContext, interrupt: Interrupt, work: Work[Item], threads: int) -> None:
        self._context = context
        self._interrupt = interrupt
        self._work = work
        self._changed = threading.Condition()
        self._news = False
        self._stopping = False
        self._inbox: deque[Item] = deque()
        self._threads = threads
        self._thread = threading.Thread(target=run_or_abort, args=(self._run,), name="decode", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread behind its step and waits for it. What it worked on gets no answer."""
        with self._changed:
            self._stopping = self._news = True
            self._changed.notify()
        self._thread.join()
        self._work.close()

    def add(self, item: Item) -> None:
        """Hands something to the work. From any thread."""
        item.on_cancel = self._cancelled
        with self._changed:
            self._inbox.append(item)
            self._news = True
            self._changed.notify()

    def set_threads(self, threads: int) -> None:
        """CPU threads from the next step on. From any thread."""
        with self._changed:
            self._threads = threads

    def _cancelled(self) -> None:
        self._interrupt.look()
        with self._changed:
            self._news = True
            self._changed.notify()

    def _run(self) -> None:
        due_s = math.inf
        applied_threads = self._threads
        while True:
            with self._changed:
                left_s = None if due_s == math.inf else min(due_s - time.monotonic(), threading.TIMEOUT_MAX)
                self._changed.wait_for(lambda: self._news, left_s)
                if self._stopping:
                    return
                self._news = False
                fresh = list(self._inbox)
                self._inbox.clear()
                threads = self._threads
            if threads != applied_threads:
                self._context.set_threads(threads)
                applied_threads = threads
            for item in fresh:
                self._work.add(item)
            due_s = self._work.step()
