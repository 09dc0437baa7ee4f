"""The decode thread: the only one that computes. It works step by step and sleeps when nothing is due."""

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from vramd_worker.engine import Activity
from vramd_worker.llama.context import NativeContext
from vramd_worker.llama.native import NativeLog
from vramd_worker.llama.tasks import LlamaTask, run_or_abort

Item = TypeVar("Item", bound=LlamaTask)
Item_contra = TypeVar("Item_contra", bound=LlamaTask, contravariant=True)


class Work(Protocol[Item_contra]):
    """The work of the decode thread, step by step."""

    def add(self, item: Item_contra) -> None:
        """Takes a new item in."""

    def step(self) -> float:
        """Does one step; returns the monotonic time at which the next is due; infinity: only with new items."""

    def close(self) -> None:
        """Frees native memory after the last step."""


class Interrupt:
    """Aborts the running batch once all its tasks are cancelled."""

    def __init__(self, context: NativeContext, log: NativeLog) -> None:
        self._context = context
        self._log = log
        self._lock = threading.Lock()
        self._running: Sequence[LlamaTask] = ()

    def begin(self, running: Sequence[LlamaTask]) -> None:
        """Notes that a batch of these tasks is about to be computed."""
        with self._lock:
            self._running = running
            self._abort(all(item.cancelled for item in running))

    def end(self) -> None:
        with self._lock:
            self._running = ()
            self._abort(False)

    def look(self) -> None:
        """Aborts the batch if all of it is cancelled. Thread-safe."""
        with self._lock:
            if self._running and all(item.cancelled for item in self._running):
                self._abort(True)

    def _abort(self, wanted: bool) -> None:
        self._log.muted = wanted
        self._context.set_abort(wanted)


class DecodeLoop(Generic[Item]):
    """Runs one kind of work in a thread until `stop`."""

    def __init__(self, context: NativeContext, interrupt: Interrupt, work: Work[Item], threads: int) -> None:
        self._context = context
        self._interrupt = interrupt
        self._work = work
        self._changed = threading.Condition()
        self._news = False
        self._stopping = False
        self._inbox: deque[Item] = deque()
        self._threads = threads
        self._in_step = False
        self._steps = 0
        self._thread = threading.Thread(target=run_or_abort, args=(self._run,), name="decode", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after its step and waits for it. Tasks that run get no answer."""
        with self._changed:
            self._stopping = self._news = True
            self._changed.notify()
        self._thread.join()
        self._work.close()

    def add(self, item: Item) -> None:
        """Hands an item to the work. Thread-safe."""
        item.on_cancel = self._cancelled
        with self._changed:
            self._inbox.append(item)
            self._news = True
            self._changed.notify()

    def set_threads(self, threads: int) -> None:
        """Sets the CPU threads from the next step on. Thread-safe."""
        with self._changed:
            self._threads = threads

    def activity(self) -> Activity:
        """Returns what it does now. Thread-safe; never waits. A step may have many batches, each of which counts."""
        pace = self._context.pace
        return Activity("decode", self._in_step or self._news, self._steps + pace.batches, pace.batch_s)

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
                self._in_step, self._news = True, False
                fresh = list(self._inbox)
                self._inbox.clear()
                threads = self._threads
            if threads != applied_threads:
                self._context.set_threads(threads)
                applied_threads = threads
            for item in fresh:
                self._work.add(item)
            due_s = self._work.step()
            self._steps += 1
            self._in_step = False
