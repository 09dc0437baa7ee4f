"""Embeddings: computes as many texts as fit in one batch, of one call or several."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError, Vectors
from vramd_worker.llama.context import Chunk, NativeContext, Outcome
from vramd_worker.llama.decode_loop import Interrupt
from vramd_worker.llama.parameters import EMBEDDING_SLOTS
from vramd_worker.llama.tasks import Question

Vector = tuple[float, ...]


class EmbeddingTask(Question[Vectors]):
    """The texts of one call. Only the decode thread may use it once it is `ready`, except for `cancel`."""

    def __init__(self, done: Callable[[Vectors | EngineError], None]) -> None:
        super().__init__(done)
        self.inputs: Sequence[Sequence[int]] = ()
        self.begun = 0
        """Number of texts that have been put into a batch."""
        self.vectors: dict[int, Vector] = {}
        """By the index of their texts."""

    def ready(self, inputs: Sequence[Sequence[int]]) -> None:
        self.inputs = inputs

    def take(self, place: int, vector: Vector | None) -> None:
        """Takes the vector of a text, None if it has none; the last one brings the answer."""
        if vector is None:
            text = f"what the model computed for inputs[{place}] is no vector: no numbers, or nothing but zeros"
            self.fail(EngineError(Reason.OUTPUT_NOT_FINITE, text))
            return
        self.vectors[place] = vector
        if len(self.vectors) == len(self.inputs):
            self.finish()

    def finish(self) -> None:
        vectors = tuple(self.vectors[place] for place in range(len(self.inputs)))
        self.answer(Vectors(vectors, sum(map(len, self.inputs))))


class _Input(NamedTuple):
    task: EmbeddingTask
    at: int
    tokens: Sequence[int]


class EmbeddingBatcher:
    """Batches the texts that wait for their vectors. Used by the decode thread only.

    NaN in the results of one text may come from another text of its batch. After such a batch each of its texts is
    computed alone, with the memory wiped, and fails if it has no vector then.
    """

    def __init__(self, context: NativeContext, interrupt: Interrupt) -> None:
        self._context = context
        self._interrupt = interrupt
        self._waiting: deque[EmbeddingTask] = deque()
        self._doubted: deque[_Input] = deque()

    def add(self, item: EmbeddingTask) -> None:
        """Puts a ready task at the end of the queue."""
        self._waiting.append(item)

    def step(self) -> float:
        """Computes the texts of one batch; returns when the next is due."""
        self._waiting = deque(task for task in self._waiting if not task.is_over)
        self._doubted = deque(one for one in self._doubted if not one.task.is_over)
        alone = bool(self._doubted)
        batch = [self._doubted.popleft()] if alone else self._compose()
        if not batch:
            return math.inf
        self._interrupt.begin([one.task for one in batch])
        finished = self._compute([one.tokens for one in batch])
        self._interrupt.end()
        vectors = [normalised(self._context.vector(slot)) for slot in range(len(batch))] if finished else []
        lost = None in vectors
        if lost and not alone:
            self._doubted.extend(batch)
        else:
            for one, vector in zip(batch, vectors, strict=False):
                one.task.take(one.at, vector)
        self._context.forget_all(wipe=lost)
        return 0.0

    def close(self) -> None:
        """Does nothing: no native memory is held between steps."""

    def _compose(self) -> list[_Input]:
        """Takes the next texts in order. One that is longer than a batch comes alone."""
        batch: list[_Input] = []
        room = self._context.batch_tokens
        while self._waiting and len(batch) < EMBEDDING_SLOTS:
            task = self._waiting[0]
            tokens = task.inputs[task.begun]
            if batch and len(tokens) > room:
                break
            batch.append(_Input(task, task.begun, tokens))
            room -= len(tokens)
            task.begun += 1
            if task.begun == len(task.inputs):
                self._waiting.popleft()
        return batch

    def _compute(self, inputs: Sequence[Sequence[int]]) -> bool:
        """Computes these texts, each in its own slot; false if it was aborted."""
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


def normalised(vector: list[float]) -> Vector | None:
    """Scales a vector to length 1; None if it has NaN or infinity in it, or only zeros."""
    length = math.sqrt(math.fsum(value * value for value in vector)) if all(map(math.isfinite, vector)) else 0.0
    return tuple(value / length for value in vector) if length else None
