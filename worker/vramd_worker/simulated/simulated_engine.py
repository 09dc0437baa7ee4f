"""The engine: generations that take turns in one thread, each at the declared pace."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vramd_common.reasons import Reason

from vramd_worker.engine import Activity, Emit, EngineError, Job, Loaded, Task, Vectors
from vramd_worker.simulated import faults, words
from vramd_worker.simulated.faults import Fault, Faults
from vramd_worker.simulated.memory import TakenMemory
from vramd_worker.simulated.paced_generation import SimulatedGeneration

LOAD_STEPS = 20


@dataclass(frozen=True)
class SimulatedSpec:
    allocate_bytes: int
    """Host memory that the process as a whole shall take; 0 takes none on purpose."""
    load_s: float
    tokens_per_s: float
    """Speed of each generation; 0 is as fast as it goes."""
    faults: Faults
    context_tokens: int
    parallel: int = 4

    @property
    def in_words(self) -> str:
        words = {
            f"context {self.context_tokens}": True,
            f"takes {self.allocate_bytes} bytes": self.allocate_bytes,
            f"loads for {self.load_s:g} s": self.load_s,
            f"{self.tokens_per_s:g} tokens per second": self.tokens_per_s,
            f"faults {', '.join(sorted(fault.value for fault in self.faults))}": self.faults,
        }
        return f"a simulated model: {', '.join(word for word, is_set in words.items() if is_set)}"


class _Embedding:
    """A `Task`: texts that wait for their vectors."""

    def __init__(self, texts: Sequence[str], done: Callable[[Vectors | EngineError], None]) -> None:
        self.texts = tuple(texts)
        self.done = done
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class _Answered:
    """A `Task` that was done at once."""

    def cancel(self) -> None:
        """Changes nothing."""


class SimulatedEngine:
    """An `Engine`. Built in the main thread, for the sake of its faults."""

    def __init__(self, spec: SimulatedSpec) -> None:
        self._spec = spec
        self._threads = 0
        self._in_step = False
        self._steps = 0
        self._memory = TakenMemory()
        self._changed = threading.Condition()
        self._waiting: deque[SimulatedGeneration] = deque()
        self._embeddings: deque[_Embedding] = deque()
        self._running: list[SimulatedGeneration] = []
        faults.before_load(spec.faults)

    def load(self, progress: Callable[[float], None]) -> Loaded:
        """Takes the declared seconds, and the declared memory bit by bit."""
        began_s = time.monotonic()
        for step in range(1, LOAD_STEPS + 1):
            self._memory.grow_to(self._spec.allocate_bytes * step // LOAD_STEPS)
            time.sleep(max(0.0, began_s + self._spec.load_s * step / LOAD_STEPS - time.monotonic()))
            progress(step / LOAD_STEPS)
            if step == LOAD_STEPS // 2:
                faults.in_load(self._spec.faults)
        threading.Thread(target=self._run, name="engine", daemon=True).start()
        return Loaded(self._spec.context_tokens)

    def generate(self, job: Job, emit: Emit) -> Task:
        if Fault.BUG in self._spec.faults:
            raise RuntimeError("a simulated model with the fault 'bug' was asked to generate")
        generation = SimulatedGeneration(job, emit, self._spec.context_tokens, self._wake)
        with self._changed:
            self._waiting.append(generation)
            self._changed.notify()
        return generation

    def embed(self, texts: Sequence[str], done: Callable[[Vectors | EngineError], None]) -> Task:
        embedding = _Embedding(texts, done)
        with self._changed:
            self._embeddings.append(embedding)
            self._changed.notify()
        return embedding

    def tokenize(
        self,
        text: str,
        add_special: bool,  # noqa: ARG002
        parse_special: bool,  # noqa: ARG002
        done: Callable[[Sequence[int] | EngineError], None],
    ) -> Task:
        """Answers at once. There are no special tokens."""
        done(words.tokenize(text))
        return _Answered()

    def detokenize(self, token_ids: Sequence[int], done: Callable[[bytes | EngineError], None]) -> Task:
        try:
            done(words.detokenize(token_ids))
        except EngineError as refused:
            done(refused)
        return _Answered()

    def set_threads(self, threads: int) -> None:
        """Writes each change to stderr, and nothing else, as nothing is computed here."""
        if threads != self._threads:
            self._threads = threads
            sys.stderr.write(f"simulated: {threads} threads\n")

    def activities(self) -> Sequence[Activity]:
        """Returns the work of its thread."""
        return (Activity("decode", self._in_step, self._steps),)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        """The engine's thread: embeddings at once, then the generation whose token is due first."""
        while True:
            with self._changed:
                due = self._next()
            self._in_step = True
            if isinstance(due, _Embedding):
                self._embed(due)
            else:
                self._step(due)
            self._steps += 1
            self._in_step = False

    def _next(self) -> _Embedding | SimulatedGeneration:
        """Waits, with the lock given up, until there is something to do."""
        while True:
            if self._embeddings:
                return self._embeddings.popleft()
            self._running = [generation for generation in self._running if not generation.is_cancelled]
            while self._waiting and len(self._running) < self._spec.parallel:
                self._admit(self._waiting.popleft())
            first = min(self._running, key=lambda generation: generation.due_s, default=None)
            wait_s = None if first is None else first.due_s - time.monotonic()
            if first is not None and wait_s is not None and wait_s <= 0:
                return first
            self._changed.wait(None if wait_s is None else min(wait_s, threading.TIMEOUT_MAX))

    def _admit(self, generation: SimulatedGeneration) -> None:
        try:
            generation.begin(time.monotonic(), generation.period_s(self._spec.tokens_per_s))
        except EngineError as refused:
            generation.emit(refused)
        else:
            self._running.append(generation)

    def _step(self, generation: SimulatedGeneration) -> None:
        faults.before_token(self._spec.faults, generation.given, generation.prompt)
        piece = generation.step(time.monotonic(), generation.period_s(self._spec.tokens_per_s))
        if piece.finish is not None:
            self._running.remove(generation)
        generation.emit(piece)

    def _embed(self, embedding: _Embedding) -> None:
        if embedding.is_cancelled:
            return
        counts = [words.count(text) for text in embedding.texts]
        if (longest := max(counts)) > self._spec.context_tokens:
            embedding.done(
                EngineError(
                    Reason.CONTEXT_OVERFLOW,
                    f"a text has {longest} tokens, the context {self._spec.context_tokens}",
                    promptTokens=longest,
                    contextTokens=self._spec.context_tokens,
                )
            )
            return
        embedding.done(Vectors(tuple(map(words.vector, embedding.texts)), sum(counts)))
