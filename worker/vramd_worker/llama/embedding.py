"""Embeddings: as many texts as fit are computed in one batch, whoever sent them."""

import math
import traceback
from collections import deque
from collections.abc import Callable, Sequence

from vramd_worker.engine import EngineError, Vectors
from vramd_worker.llama.context import Chunk, NativeContext, Outcome
from vramd_worker.llama.loop import Cancellable, Interrupt
from vramd_worker.llama.parameters import EMBEDDING_SLOTS

Vector = tuple[float, ...]


class EmbeddingTask(Cancellable):
    """Texts of one call. Everything but `cancel` belongs to the decode thread once it is `ready`."""

    def __init__(self, done: Callable[[Vectors | EngineError], None]) -> None:
        super().__init__()
        self._done = done
        self.inputs: Sequence[Sequence[int]] = ()
        """Tokens of each text."""
        self.begun = 0
        """Texts that have been put into a batch."""
        self.vectors: list[Vector] = []

    def ready(self, inputs: Sequence[Sequence[int]]) -> None:
        """The tokens are known."""
        self.inputs = inputs

    def take(self, vector: Vector) -> None:
        """Takes the vector of the next text; answers with the last."""
        self.vectors.append(vector)
        if len(self.vectors) == len(self.inputs):
            self.finish()

    def finish(self) -> None:
        """Answers with the vectors it has."""
        self._answer(Vectors(tuple(self.vectors), sum(map(len, self.inputs))))

    def fail(self, error: EngineError) -> None:
        """It cannot be done."""
        self._answer(error)

    def _answer(self, answer: Vectors | EngineError) -> None:
        if self.cancelled:
            return
        try:
            self._done(answer)
        except Exception:
            # Whoever asked is gone; the others are not to suffer for it.
            traceback.print_exc()


class Embedding:
    """The texts that wait for their vectors. Used by the decode thread only."""

    def __init__(self, context: NativeContext, interrupt: Interrupt) -> None:
        self._context = context
        self._interrupt = interrupt
        self._waiting: deque[EmbeddingTask] = deque()

    def add(self, item: EmbeddingTask) -> None:
        """Puts a task, which is ready, at the end of the line."""
        self._waiting.append(item)

    def step(self) -> float:
        """Computes the texts of one batch; says when to come again."""
        self._waiting = deque(task for task in self._waiting if not task.cancelled)
        batch = self._compose()
        if not batch:
            return math.inf
        self._interrupt.begin([task for task, _ in batch])
        finished = self._compute([tokens for _, tokens in batch])
        self._interrupt.end()
        if finished:
            for slot, (task, _) in enumerate(batch):
                task.take(normalised(self._context.vector(slot)))
        self._context.forget_all()
        return 0.0

    def close(self) -> None:
        """Nothing native is held between two steps."""

    def _compose(self) -> list[tuple[EmbeddingTask, Sequence[int]]]:
        """The next texts in order. One that is longer than a batch comes alone."""
        batch: list[tuple[EmbeddingTask, Sequence[int]]] = []
        room = self._context.batch_tokens
        while self._waiting and len(batch) < EMBEDDING_SLOTS:
            task = self._waiting[0]
            tokens = task.inputs[task.begun]
            if batch and len(tokens) > room:
                break
            batch.append((task, tokens))
            room -= len(tokens)
            task.begun += 1
            if task.begun == len(task.inputs):
                self._waiting.popleft()
        return batch

    def _compute(self, inputs: Sequence[Sequence[int]]) -> bool:
        """Computes these texts, each in a slot of its own; false if it was aborted."""
        if len(inputs) > 1:
            return self._one([Chunk(slot, tokens, 0, True) for slot, tokens in enumerate(inputs)])
        size = self._context.batch_tokens
        tokens = inputs[0]
        return all(self._one([Chunk(0, tokens[at : at + size], at, True)]) for at in range(0, len(tokens), size))

    def _one(self, chunks: list[Chunk]) -> bool:
        outcome, _ = self._context.compute(chunks)
        # The memory is empty before each batch, and no batch is longer than it.
        assert outcome is not Outcome.NO_ROOM
        return outcome is Outcome.DONE


def normalised(vector: list[float]) -> Vector:
    """The vector at length 1; one of length 0 stays."""
    length = math.sqrt(math.fsum(value * value for value in vector))
    return tuple(value / length for value in vector) if length else tuple(vector)
