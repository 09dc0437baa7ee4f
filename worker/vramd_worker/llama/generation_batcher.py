"""Continuous batching: each step computes one token of every running text, and parts of new prompts."""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from vramd_common.reasons import Reason

from vramd_worker.engine import Cut, EngineError
from vramd_worker.llama.context import Chunk, NativeContext, Outcome
from vramd_worker.llama.cuts import Cuts
from vramd_worker.llama.decode_loop import Interrupt
from vramd_worker.llama.generation import Generation
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.prefixes import Owner, Prefixes
from vramd_worker.llama.step_costs import StepCosts
from vramd_worker.llama.step_plan import Kind, shares
from vramd_worker.llama.tiles import TILE_TOKENS, step

_WARM_BATCH_TOKENS = 64
"""Tokens of a warm prompt in one batch: a slow model, too, shows within seconds that it goes on."""


class GenerationBatcher:
    """Batches the generations of one context, waiting and running. Used by the decode thread only.

    All generations share the cells of the memory. One is admitted when its prompt fits beside the tokens of the others;
    if the memory fills up all the same, the newest gives its cells back and waits, to be computed again as it was.
    Texts that ended are kept in the cells that no running one needs, and those that begin alike go on from there.

    They share one attention too, and NaN passes through a mask. So when a batch gives NaN, the memory is wiped and all
    are computed again, each alone until it has given numbers behind all of its tokens; one that does not has failed.
    """

    def __init__(
        self,
        model: NativeModel,
        context: NativeContext,
        interrupt: Interrupt,
        context_tokens: int,
        parallel: int,
        stream_gap_s: float,
        *,
        tiles: bool = False,
    ) -> None:
        """`tiles`: attention of this context is computed in tiles."""
        self._model = model
        self._context = context
        self._interrupt = interrupt
        self._context_tokens = context_tokens
        self._parallel = parallel
        self._stream_gap_s = stream_gap_s
        self._tiles = tiles and context.drops_ends and not context.window_tokens
        self._prefixes = Prefixes(context)
        self._costs = StepCosts()
        self._told_refusal = False
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        """In the order of admission. One that waits for another to compute what it begins with has no slot yet."""
        self._full = False
        """Whether one had to give way: none is admitted until another ends, or two could evict each other for ever."""

    def warm(self, prompt: Sequence[int], goes_on: Callable[[], None]) -> bool:
        """Computes a prompt and keeps it for all; blocks. False if it could not. Called before the first step."""
        held = self._prefixes.begin(prompt, Owner("", shares=True), len(prompt))
        size = min(_WARM_BATCH_TOKENS, self._context.batch_tokens)
        ends: list[int] = []
        for start in range(0, len(prompt), size):
            tokens = prompt[start : start + size]
            outcome, ends = self._context.compute([Chunk(held.place, tokens, start, start + size >= len(prompt))])
            if outcome is not Outcome.DONE:
                break
            self._prefixes.extend(held, Cut(len(tokens), len(tokens)))
            goes_on()
        is_sound = self._prefixes.length(held) == len(prompt) and self._context.logits.are_numbers(ends[-1])
        self._prefixes.end(held, prompt if is_sound else None, pinned=True)
        if not is_sound:
            self._start_over()
        return is_sound

    def add(self, item: Generation) -> None:
        """Puts a ready generation at the end of the queue."""
        self._waiting.append(item)

    def step(self) -> float:
        """Computes one batch, if anything is due; returns when the next step is due."""
        self._drop_cancelled()
        self._admit()
        self._begin_after_others()
        now_s = time.monotonic()
        batch = self._compose(now_s)
        if not batch:
            return min((generation.due_s for generation in self._running), default=math.inf)
        if not self._prefixes.make_room(sum(len(chunk.tokens) for _, chunk in batch)):
            self._give_way()
            return 0.0
        generations = [generation for generation, _ in batch]
        for generation in generations:
            generation.begin_step(now_s)
        self._interrupt.begin(generations)
        outcome, ends = self._context.compute([chunk for _, chunk in batch])
        self._interrupt.end()
        if outcome is Outcome.DONE:
            self._learn(batch, now_s)
        if outcome is Outcome.NO_ROOM and not self._prefixes.drop_least_used():
            self._give_way()
        elif outcome is Outcome.DONE:
            self._take_results(batch, ends)
        # An aborted batch had only cancelled generations, which the next step drops.
        return 0.0

    def _take_results(self, batch: list[tuple[Generation, Chunk]], ends: list[int]) -> None:
        lost = []
        for (generation, chunk), end in zip(batch, ends, strict=True):
            assert generation.held is not None
            computed = Cut(len(chunk.tokens) - chunk.spare, len(chunk.tokens))
            generation.evaluated += computed.tokens
            self._prefixes.extend(generation.held, computed)
            if not chunk.output or generation.cancelled:
                continue
            if self._context.logits.are_numbers(end):
                # Of tokens that it has given before, a later one may be the cause.
                generation.doubted &= bool(generation.pending)
                if generation.evaluated == generation.prompt_tokens:
                    self._prefixes.mark(generation.held)
                if not generation.pending:
                    self._sample(generation, end)
            else:
                lost.append(generation)
        # Each wakes another thread, which wants the GIL: together, once this one is about to compute without it.
        for generation, _ in batch:
            generation.tell()
        if lost and lost[0].doubted:
            # It was computed alone, and there was no NaN in the memory before.
            self._fail(lost[0])
        elif lost:
            for generation in self._running:
                generation.doubted = True
            self._start_over()

    def _fail(self, generation: Generation) -> None:
        text = "what the model computed for it is no number: its weights are damaged there, or overflow"
        generation.fail(EngineError(Reason.OUTPUT_NOT_FINITE, text))
        self._release(generation, keep=False)
        generation.close()

    def _start_over(self) -> None:
        """Wipes the memory and has all computed again: NaN that stayed would spoil others through the mask."""
        self._context.forget_all(wipe=True)
        for generation in self._running:
            generation.start_over(_cuts(generation))
        self._prefixes.lose_all()

    def close(self) -> None:
        """Frees the samplers after the last step."""
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
        """Admits waiting generations in order: short prompts do not overtake a long one, so that its turn comes."""
        if self._full and self._running:
            return
        while self._waiting and len(self._running) < self._parallel:
            to_compute = sum(generation.pending for generation in self._running)
            needed = len(self._waiting[0].tokens) + 1
            if self._running and self._prefixes.running_cells + to_compute + needed > self._context.cells:
                return
            generation = self._waiting.popleft()
            # While one is being checked, no other may spoil its results, nor what the memory already holds.
            generation.doubted |= any(other.doubted for other in (*self._running, *self._waiting))
            self._running.append(generation)
            self._begin(generation)

    def _begin(self, generation: Generation) -> None:
        """Gives a generation its place in the memory, unless another computes what it begins with."""
        tokens, owner = generation.tokens, generation.owner
        # A memory in which there was NaN has nothing that one which is checked could go on from.
        alike = Cuts() if generation.doubted else generation.alike
        generation.awaited = None if alike is not None else self._prefixes.twin(tokens, owner)
        if generation.awaited is not None:
            # The time that another takes for it is its prompt's time too.
            generation.begin_step(time.monotonic())
        else:
            generation.held = self._prefixes.begin(tokens, owner, generation.prompt_tokens, alike)
            generation.evaluated = generation.held.reused
            if not generation.completion_tokens:
                generation.cached_prompt_tokens = generation.evaluated
            self._tell_refusal()

    def _tell_refusal(self) -> None:
        if self._prefixes.refused and not self._told_refusal:
            self._told_refusal = True
            sys.stderr.write(
                "this model's memory cannot go back within a text, as sliding windows and recurrent layers forget: "
                "a prompt that leaves the one before it is computed from its beginning\n"
            )

    def _begin_after_others(self) -> None:
        for generation in self._running:
            twin = generation.awaited
            if twin is not None and (generation.doubted or not self._prefixes.is_awaited(twin)):
                self._begin(generation)

    def _compose(self, now_s: float) -> list[tuple[Generation, Chunk]]:
        """Chooses the next batch: a token of each text that is generated, and parts of prompts."""
        running = [generation for generation in self._running if generation.held]
        due = [generation for generation in running if generation.due_s <= now_s]
        doubted = [generation for generation in due if generation.doubted]
        if doubted:
            running = due = doubted[:1]
        wants, batch_tokens = [generation.want() for generation in due], self._context.batch_tokens
        texts = sum(want.kind is Kind.TOKEN for want in wants)
        beside = batch_tokens
        flows = any(generation.flows for generation in running)
        if flows:
            beside = self._costs.step_tokens(texts, self._stream_gap_s, batch_tokens, now_s) - texts
        given = shares(wants, batch_tokens, max(1, beside), self._costs.at_once(texts, now_s))
        lone = self._tiles and not flows and [want.kind for want in wants] == [Kind.PROMPT]
        batch = []
        for generation, tokens in zip(due, given, strict=True):
            generation.passed_over = 0 if tokens else generation.passed_over + 1
            if lone:
                batch.append((generation, self._tiled(generation)))
            elif tokens:
                batch.append((generation, generation.next_chunk(tokens)))
        # The order of a batch has its part in how sums are rounded: it is always texts, then prompts.
        return sorted(batch, key=lambda part: not part[0].flows)

    def _tiled(self, generation: Generation) -> Chunk:
        """The next chunk of a prompt that nothing else is computed with."""
        position, left = generation.evaluated, generation.want().tokens
        free = min(self._context_tokens - position, self._context.cells - self._prefixes.running_cells)
        dimensions = self._model.embedding_dimensions
        tokens, spare = step(left, position, self._context.batch_tokens, dimensions, spares=free >= TILE_TOKENS)
        return generation.next_chunk(tokens + spare, spare)

    def _learn(self, batch: list[tuple[Generation, Chunk]], began_s: float) -> None:
        ended_s = time.monotonic()
        tokens = sum(len(chunk.tokens) for _, chunk in batch)
        prompts = any(not generation.flows for generation, _ in batch)
        self._costs.learn(tokens, ended_s - began_s, ended_s, prompts=prompts)

    def _sample(self, generation: Generation, index: int) -> None:
        assert generation.sampler is not None
        token = generation.sampler.sample(self._context, index)
        if not self._context.logits.is_number(index, token):
            self._fail(generation)
        elif generation.take(token, self._model.said(token), self._model.ends_answer(token), self._context_tokens):
            self._release(generation)
            generation.close()

    def _give_way(self) -> None:
        """Frees cells: the newest goes back to the head of the queue; if it is alone, it ends."""
        generation = self._running[-1]
        computed = _cuts(generation)
        self._release(generation)
        if self._running:
            generation.start_over(computed)
            self._waiting.appendleft(generation)
            self._full = True
        else:
            generation.end_at_length()
            generation.close()

    def _release(self, generation: Generation, *, keep: bool = True) -> None:
        """Ends the part of a generation in the memory; what is computed of it is kept for others."""
        is_wiped = generation.doubted and generation.evaluated
        if generation.held is not None:
            kept = generation.tokens[: generation.evaluated] if keep and not is_wiped else None
            self._prefixes.end(generation.held, kept)
        self._running.remove(generation)
        self._full = False
        generation.held = generation.awaited = None
        if is_wiped:
            self._start_over()


def _cuts(generation: Generation) -> Cuts:
    """The chunks of it that the memory holds."""
    return generation.held.cuts if generation.held else Cuts()
