"""One text that is being generated: its tokens so far, its limits and its pace."""

import time

from vramd_common.replay import MOST_REPLAYED_CHUNKS, MOST_REPLAYED_TOKENS

from vramd_worker.engine import Cut, Emit, EngineError, Finish, FinishReason, Job, Piece
from vramd_worker.llama.context import Chunk
from vramd_worker.llama.cuts import Cuts
from vramd_worker.llama.prefixes import Held, Owner, Twin
from vramd_worker.llama.sampling import SamplerChain
from vramd_worker.llama.step_plan import Kind, Want
from vramd_worker.llama.tasks import LlamaTask
from vramd_worker.text import TextAssembler, is_part_of_answer


class Generation(LlamaTask):
    """A job in the engine. Only the decode thread may use it once it is `ready`, except for `cancel`."""

    def __init__(self, job: Job, emit: Emit) -> None:
        super().__init__()
        self.job = job
        self._emit_piece = emit
        self._untold: list[Piece] = []
        """Taken, and not yet emitted."""
        self._text = TextAssembler(job.stop)
        self._period_s = 1 / job.max_tokens_per_s if job.max_tokens_per_s else 0.0
        self._began_s = 0.0
        self._first_token_s = 0.0
        self._has_emitted = False
        self.tokens: list[int] = []
        """Prompt and answer."""
        self.prompt_tokens = 0
        self.evaluated = 0
        """Number of tokens that the memory holds."""
        self.held: Held | None = None
        """Its sequence in the context while it runs."""
        self.awaited: Twin | None = None
        """While it runs without a sequence: the text that is computing what it begins with."""
        self.cached_prompt_tokens = 0
        self.again = Cuts(job.resume_cuts)
        """The chunks in which its first tokens are computed, as they were before."""
        self.passed_over = 0
        """Steps in a row in which it was due and computed nothing."""
        self.doubted = False
        """Whether one of its batches gave NaN: it is then computed alone, to see whether it is the cause."""
        self.due_s = 0.0
        """Monotonic time before which it takes no step."""
        self.sampler: SamplerChain | None = None

    def ready(self, prompt: list[int], sampler: SamplerChain) -> None:
        """Sets the prompt and the sampler."""
        self.tokens = prompt
        self.prompt_tokens = len(prompt)
        self.sampler = sampler

    def resume(self, token: int, said: bytes | str) -> None:
        """Takes a token that was given before, by another process; it is computed, but not emitted again.

        `said` is as in `take`.
        """
        assert self.sampler is not None
        self.sampler.replay(token)
        self.tokens.append(token)
        self._text_of(said)

    @property
    def owner(self) -> Owner:
        """For whom it is computed."""
        return Owner(self.job.scope, self.job.session, self.job.shared)

    @property
    def slot(self) -> int | None:
        """Its sequence id in the context, once it has one."""
        return None if self.held is None else self.held.place

    @property
    def pending(self) -> int:
        """Tokens to compute before the next can be sampled."""
        return len(self.tokens) - self.evaluated

    @property
    def steps_from(self) -> int:
        """Index of the first token that is computed in a step of its own; those before it are in pieces."""
        return max(self.prompt_tokens, len(self.tokens) - MOST_REPLAYED_TOKENS)

    @property
    def flows(self) -> bool:
        """Whether it computes token after token, as its caller reads them."""
        return self.evaluated >= self.steps_from

    def want(self) -> Want:
        """What it needs of the next step."""
        start, prompt = self.evaluated, self.prompt_tokens
        if start < self.again.tokens:
            return Want(Kind.AGAIN, self.again.at(start).computed, self.passed_over)
        if self.flows:
            return Want(Kind.TOKEN, 1, self.passed_over)
        return Want(Kind.PROMPT, (prompt if start < prompt else self.steps_from) - start, self.passed_over)

    def next_chunk(self, computed: int, spare: int = 0) -> Chunk:
        """The chunk of this size that it computes next, with so many tokens that are forgotten.

        One that is computed again has those that it had.
        """
        assert self.slot is not None
        start = self.evaluated
        kept = self.again.at(start).tokens if start < self.again.tokens else computed - spare
        tokens = self.tokens[start : start + kept]
        # The same results are wanted when it is computed again, so that the same is computed.
        output = start + kept >= self.prompt_tokens
        spare = computed - kept
        return Chunk(self.slot, tokens + tokens[-1:] * spare, start, output, spare)

    @property
    def alike(self) -> Cuts | None:
        """The chunks in which it has to be computed for what its caller has had; None: in any."""
        if not self.completion_tokens:
            return None
        cuts = Cuts(self.again)
        if cuts.tokens == self.prompt_tokens == self.steps_from:
            cuts.add(Cut(1, 1, self.completion_tokens))
        return cuts

    def start_over(self, computed: Cuts) -> None:
        """The memory holds nothing of it any more; it held these chunks. What its caller has had comes again as it was.

        Before its first token nothing depends on them.
        """
        self.evaluated = 0
        if self.again.tokens <= computed.tokens:
            prompt = computed.first(self.prompt_tokens)
            self.again = prompt if self.completion_tokens and prompt.chunks <= MOST_REPLAYED_CHUNKS else Cuts()

    @property
    def completion_tokens(self) -> int:
        """Tokens generated so far."""
        return len(self.tokens) - self.prompt_tokens

    def begin_step(self, now_s: float) -> None:
        """Notes that it takes part in a step that begins now."""
        if not self._began_s:
            self._began_s = now_s
        if self.job.resume and self.evaluated >= self.prompt_tokens and not self._first_token_s:
            self._first_token_s = now_s
        if self._period_s and self.completion_tokens:
            self.due_s = max(self.due_s, now_s)

    def take(self, token: int, said: bytes | str, ends_answer: bool, context_tokens: int) -> bool:
        """Takes a sampled token, whose text `tell` will emit; true if it was the last.

        `said` is its bytes, or the name of a control token.
        """
        now_s = time.monotonic()
        if not self._first_token_s:
            self._first_token_s = self.due_s = now_s
        self.due_s += self._period_s
        self.tokens.append(token)
        text = "" if ends_answer else self._text_of(said)
        reason: FinishReason | None = None
        if ends_answer or self._text.stopped:
            reason = FinishReason.STOP
        elif self.completion_tokens == self.job.max_tokens or len(self.tokens) >= context_tokens:
            reason = FinishReason.LENGTH
        if reason is None:
            self._untold.append(Piece(text, (token,), cuts=self._cuts_to_tell()))
            return False
        self._untold.append(Piece(text + self._text.finish(), (token,), self._finish(reason), self._cuts_to_tell()))
        return True

    def tell(self) -> None:
        """Emits what was taken."""
        for piece in self._untold:
            self._emit(piece)
        self._untold.clear()

    def _cuts_to_tell(self) -> tuple[Cut, ...] | None:
        if self._has_emitted or self.held is None:
            return None
        self._has_emitted = True
        prompt = self.held.cuts.first(self.prompt_tokens)
        return tuple(prompt) if prompt.chunks <= MOST_REPLAYED_CHUNKS else None

    def end_at_length(self) -> None:
        """Ends the text because the memory is full."""
        self._emit(Piece(self._text.finish(), (), self._finish(FinishReason.LENGTH)))

    def fail(self, error: EngineError) -> None:
        """Emits the error as the end."""
        self._emit(error)

    def close(self) -> None:
        """Frees the sampler."""
        if self.sampler is not None:
            self.sampler.close()
            self.sampler = None

    def _text_of(self, said: bytes | str) -> str:
        if isinstance(said, bytes):
            return self._text.feed(said)
        return self._text.name(said, shown=self.job.show_special or is_part_of_answer(said))

    def _finish(self, reason: FinishReason) -> Finish:
        now_s = time.monotonic()
        first_s = self._first_token_s or now_s
        return Finish(
            reason,
            self.prompt_tokens,
            self.completion_tokens,
            first_s - self._began_s,
            now_s - first_s,
            self.cached_prompt_tokens,
        )

    def _emit(self, piece: Piece | EngineError) -> None:
        self._tell(self._emit_piece, piece)
