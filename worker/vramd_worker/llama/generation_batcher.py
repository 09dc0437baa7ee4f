"""Continuous batching: a step computes one token of every generation that generates, and parts of new prompts."""

import math
import time
from collections import deque

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError
from vramd_worker.llama.context import Chunk, NativeContext, Outcome
from vramd_worker.llama.decode_loop import Interrupt
from vramd_worker.llama.generation import Generation
from vramd_worker.llama.model import NativeModel


class GenerationBatcher:
    """The generations of one context, waiting and running. Used by the decode thread only.

    All generations share the cells of the memory. One is let in when its prompt fits beside what the others have; when
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
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        """In the order in which they were let in."""
        self._full = False
        """One gave way; nobody is let in before another has ended, or the two would push each other out for ever."""

    def add(self, item: Generation) -> None:
        """Puts a generation, which is ready, at the end of the line."""
        self._waiting.append(item)

    def step(self) -> float:
        """Computes one batch, if anything is due; says when to come again."""
        self._drop_cancelled()
        self._admit()
        now_s = time.monotonic()
        batch = self._compose(now_s)
        if not batch:
            return min((generation.due_s for generation in self._running), default=math.inf)
        if not self._fits(batch):
            self._make_room()
            return 0.0
        generations = [generation for generation, _ in batch]
        for generation in generations:
            generation.begin_step(now_s)
        self._interrupt.begin(generations)
        outcome, ends = self._context.compute(chunk for _, chunk in batch)
        self._interrupt.end()
        if outcome is Outcome.NO_ROOM:
            self._make_room()
        elif outcome is Outcome.DONE:
            self._take_results(batch, ends)
        # What was aborted has been cancelled, every generation of it, and is dropped with the next step.
        return 0.0

    def _take_results(self, batch: list[tuple[Generation, Chunk]], ends: list[int]) -> None:
        lost = []
        for (generation, chunk), end in zip(batch, ends, strict=True):
            generation.evaluated += len(chunk.tokens)
            if not chunk.output or generation.cancelled:
                continue
            if self._context.logits.are_numbers(end):
                generation.doubted = False
                self._sample(generation, end)
            else:
                lost.append(generation)
        if lost and lost[0].doubted:
            # It was computed alone, and nothing that is no number was in the memory before.
            self._fail(lost[0])
        elif lost:
            for generation in self._running:
                generation.doubted = True
            self._begin_anew()

    def _fail(self, generation: Generation) -> None:
        text = "what the model computed for it is no number: its weights are damaged there, or overflow"
        generation.fail(EngineError(Reason.OUTPUT_NOT_FINITE, text))
        self._release(generation)
        generation.close()

    def _begin_anew(self) -> None:
        """Nothing that is no number may stay in the memory: masked it would still spoil the others."""
        self._context.forget_all(wipe=True)
        for generation in self._running:
            generation.evaluated = 0

    def close(self) -> None:
        """Frees what is native in the generations; behind the last step."""
        for generation in (*self._running, *self._waiting):
            generation.close()

    def _drop_cancelled(self) -> None:
        for generation in [generation for generation in self._running if generation.cancelled]:
            self._release(generation)
            generation.close()
        for generation in [generation for generation in self._waiting if generation.cancelled]:
            self._waiting.remove(generation)
            generation.close()

    def _admit(self) -> None:
        """Lets in who waits, in order: a long prompt is not overtaken by short ones, so that its turn comes."""
        if self._full and self._running:
            return
        taken = sum(len(generation.tokens) for generation in self._running)
        while self._waiting and self._free_slots:
            needed = len(self._waiting[0].tokens) + 1
            if self._running and taken + needed > self._context.cells:
                return
            generation = self._waiting.popleft()
            generation.slot = self._free_slots.pop()
            # While one is looked into, nobody may spoil its results, nor what is in the memory already.
            generation.doubted |= any(other.doubted for other in (*self._running, *self._waiting))
            self._running.append(generation)
            taken += needed

    def _compose(self, now_s: float) -> list[tuple[Generation, Chunk]]:
        """Who takes part in the next batch, and with what: those that generate first, then prompts as they fit."""
        due = [generation for generation in self._running if generation.due_s <= now_s]
        doubted = [generation for generation in due if generation.doubted]
        if doubted:
            due = doubted[:1]
        room = self._context.batch_tokens
        batch = []
        for generation in sorted(due, key=lambda generation: generation.pending > 1):
            if not room:
                break
            assert generation.slot is not None
            start = generation.evaluated
            tokens = generation.tokens[start : start + room]
            room -= len(tokens)
            batch.append((generation, Chunk(generation.slot, tokens, start, len(tokens) == generation.pending)))
        return batch

    def _fits(self, batch: list[tuple[Generation, Chunk]]) -> bool:
        """By our own count; llama.cpp may need more cells than there are tokens, and says so itself."""
        held = sum(generation.evaluated for generation in self._running)
        return held + sum(len(chunk.tokens) for _, chunk in batch) <= self._context.cells

    def _sample(self, generation: Generation, index: int) -> None:
        assert generation.sampler is not None
        token = generation.sampler.sample(self._context, index)
        if not self._context.logits.is_number(index, token):
            self._fail(generation)
        elif generation.take(token, self._model.said(token), self._model.ends_answer(token), self._context_tokens):
            self._release(generation)
            generation.close()

    def _make_room(self) -> None:
        """The memory is full: the last that came goes back to the head of the line; alone, it is at its end."""
        generation = self._running[-1]
        self._release(generation)
        if self._running:
            generation.evaluated = 0
            self._waiting.appendleft(generation)
            self._full = True
        else:
            generation.end_at_length()
            generation.close()

    def _release(self, generation: Generation) -> None:
        assert generation.slot is not None
        self._context.forget(generation.slot)
        self._free_slots.append(generation.slot)
        self._running.remove(generation)
        self._full = False
        generation.slot = None
        if generation.doubted and generation.evaluated:
            self._begin_anew()
