"""Continuous batching: a step computes one token of every sequence that generates, and parts of new prompts."""

import math
import time
from collections import deque

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError
from vramd_worker.llama.context import Chunk, NativeContext, Outcome
from vramd_worker.llama.loop import Interrupt
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.sequence import Sequence


class Generation:
    """The sequences of one context, waiting and running. Used by the decode thread only.

    All sequences share the cells of the memory. One is let in when its prompt fits beside what the others have; when
    the memory is full all the same, the one that came last gives its cells back and waits, to be computed again.

    They share one attention too, and what is no number passes through a mask. So when a batch gives such results, the
    memory is wiped and everybody is computed again, each alone until it has given numbers; who does not has failed.
    """

    def __init__(
        self, model: NativeModel, context: NativeContext, interrupt: Interrupt, context_tokens: int, parallel: int
    ) -> None:
        self._model = model
        self._context = context
        self._interrupt = interrupt
        self._context_tokens = context_tokens
        self._free_slots = list(range(parallel))
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        """In the order in which they were let in."""
        self._full = False
        """One gave way; nobody is let in before another has ended, or the two would push each other out for ever."""

    def add(self, item: Sequence) -> None:
        """Puts a sequence, which is ready, at the end of the line."""
        self._waiting.append(item)

    def step(self) -> float:
        """Computes one batch, if anything is due; says when to come again."""
        self._drop_cancelled()
        self._admit()
        now_s = time.monotonic()
        batch = self._compose(now_s)
        if not batch:
            return min((sequence.due_s for sequence in self._running), default=math.inf)
        if not self._fits(batch):
            self._make_room()
            return 0.0
        sequences = [sequence for sequence, _ in batch]
        for sequence in sequences:
            sequence.begin_step(now_s)
        self._interrupt.begin(sequences)
        outcome, ends = self._context.compute(chunk for _, chunk in batch)
        self._interrupt.end()
        if outcome is Outcome.NO_ROOM:
            self._make_room()
        elif outcome is Outcome.DONE:
            self._take_results(batch, ends)
        # What was aborted has been cancelled, every sequence of it, and is dropped with the next step.
        return 0.0

    def _take_results(self, batch: list[tuple[Sequence, Chunk]], ends: list[int]) -> None:
        lost = []
        for (sequence, chunk), end in zip(batch, ends, strict=True):
            sequence.evaluated += len(chunk.tokens)
            if not chunk.output or sequence.cancelled:
                continue
            if self._context.logits.are_numbers(end):
                sequence.doubted = False
                self._sample(sequence, end)
            else:
                lost.append(sequence)
        if lost and lost[0].doubted:
            # It was computed alone, and nothing that is no number was in the memory before.
            self._fail(lost[0])
        elif lost:
            for sequence in self._running:
                sequence.doubted = True
            self._begin_anew()

    def _fail(self, sequence: Sequence) -> None:
        text = "what the model computed for it is no number: its weights are damaged there, or overflow"
        sequence.fail(EngineError(Reason.OUTPUT_NOT_FINITE, text))
        self._release(sequence)
        sequence.close()

    def _begin_anew(self) -> None:
        """Nothing that is no number may stay in the memory: masked it would still spoil the others."""
        self._context.forget_all(wipe=True)
        for sequence in self._running:
            sequence.evaluated = 0

    def close(self) -> None:
        """Frees what is native in the sequences; behind the last step."""
        for sequence in (*self._running, *self._waiting):
            sequence.close()

    def _drop_cancelled(self) -> None:
        for sequence in [sequence for sequence in self._running if sequence.cancelled]:
            self._release(sequence)
            sequence.close()
        for sequence in [sequence for sequence in self._waiting if sequence.cancelled]:
            self._waiting.remove(sequence)
            sequence.close()

    def _admit(self) -> None:
        """Lets in who waits, in order: a long prompt is not overtaken by short ones, so that its turn comes."""
        if self._full and self._running:
            return
        taken = sum(len(sequence.tokens) for sequence in self._running)
        while self._waiting and self._free_slots:
            needed = len(self._waiting[0].tokens) + 1
            if self._running and taken + needed > self._context.cells:
                return
            sequence = self._waiting.popleft()
            sequence.slot = self._free_slots.pop()
            # While one is looked into, nobody may spoil its results, nor what is in the memory already.
            sequence.doubted |= any(other.doubted for other in (*self._running, *self._waiting))
            self._running.append(sequence)
            taken += needed

    def _compose(self, now_s: float) -> list[tuple[Sequence, Chunk]]:
        """Who takes part in the next batch, and with what: those that generate first, then prompts as they fit."""
        due = [sequence for sequence in self._running if sequence.due_s <= now_s]
        doubted = [sequence for sequence in due if sequence.doubted]
        if doubted:
            due = doubted[:1]
        room = self._context.batch_tokens
        batch = []
        for sequence in sorted(due, key=lambda sequence: sequence.pending > 1):
            if not room:
                break
            assert sequence.slot is not None
            start = sequence.evaluated
            tokens = sequence.tokens[start : start + room]
            room -= len(tokens)
            batch.append((sequence, Chunk(sequence.slot, tokens, start, len(tokens) == sequence.pending)))
        return batch

    def _fits(self, batch: list[tuple[Sequence, Chunk]]) -> bool:
        """By our own count; llama.cpp may need more cells than there are tokens, and says so itself."""
        held = sum(sequence.evaluated for sequence in self._running)
        return held + sum(len(chunk.tokens) for _, chunk in batch) <= self._context.cells

    def _sample(self, sequence: Sequence, index: int) -> None:
        assert sequence.sampler is not None
        token = sequence.sampler.sample(self._context, index)
        if not self._context.logits.is_number(index, token):
            self._fail(sequence)
        elif sequence.take(token, self._model.said(token), self._model.ends_answer(token), self._context_tokens):
            self._release(sequence)
            sequence.close()

    def _make_room(self) -> None:
        """The memory is full: the last that came goes back to the head of the line; alone, it is at its end."""
        sequence = self._running[-1]
        self._release(sequence)
        if self._running:
            sequence.evaluated = 0
            self._waiting.appendleft(sequence)
            self._full = True
        else:
            sequence.end_at_length()
            sequence.close()

    def _release(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self._context.forget(sequence.slot)
        self._free_slots.append(sequence.slot)
        self._running.remove(sequence)
        self._full = False
        sequence.slot = None
        if sequence.doubted and sequence.evaluated:
            self._begin_anew()
