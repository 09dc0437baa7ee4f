"""One running job. Only the engine's thread uses it, except for `cancel`."""

from collections.abc import Callable

from vramd_common.reasons import Reason

from vramd_worker.engine import Emit, EngineError, Finish, FinishReason, Job, Piece
from vramd_worker.simulated import words
from vramd_worker.text import TextAssembler

ANSWER_TOKENS = 64
"""Length of an answer without max_tokens."""


class SimulatedGeneration:
    """A `Task`: the tokens of a job so far, and when the next is due."""

    def __init__(self, job: Job, emit: Emit, context_tokens: int, cancelled: Callable[[], None]) -> None:
        texts = [job.prompt] if isinstance(job.prompt, str) else [message.text for message in job.prompt]
        self.emit = emit
        self.is_cancelled = False
        self.given = 0
        self.due_s = 0.0
        self._job = job
        self._cancelled = cancelled
        self._context_tokens = context_tokens
        self.prompt = "\n".join(texts)
        self._prompt_tokens = sum(map(words.count, texts))
        self._seed = words.seed_of(self.prompt) if job.sampling.seed is None else job.sampling.seed
        self._text = TextAssembler(job.stop)
        self._began_s = self._first_s = 0.0

    def cancel(self) -> None:
        self.is_cancelled = True
        self._cancelled()

    def period_s(self, tokens_per_s: float) -> float:
        """Returns the seconds per token: the slower of the model's pace and the job's."""
        paces = [pace for pace in (tokens_per_s, self._job.max_tokens_per_s) if pace]
        return 1 / min(paces) if paces else 0.0

    def begin(self, now_s: float, period_s: float) -> None:
        """Starts the job. Raises EngineError for a prompt that leaves no room for an answer."""
        if self._prompt_tokens >= self._context_tokens:
            raise EngineError(
                Reason.CONTEXT_OVERFLOW,
                f"the prompt has {self._prompt_tokens} tokens, the context {self._context_tokens}",
                promptTokens=self._prompt_tokens,
                contextTokens=self._context_tokens,
            )
        for token in self._job.resume:
            self._text.feed(words.detokenize([token]))
        self.given = len(self._job.resume)
        self._began_s = now_s
        self.due_s = now_s + period_s

    def step(self, now_s: float, period_s: float) -> Piece:
        token = words.word_token(self._seed, self.given)
        self.given += 1
        # It has no sums to be rounded: any process goes on from it exactly.
        cuts = None if self._first_s else ()
        if not self._first_s:
            self._first_s = now_s
        self.due_s = max(self.due_s + period_s, now_s)
        text = self._text.feed(words.detokenize([token]))
        if (reason := self._reason_to_end()) is None:
            return Piece(text, (token,), cuts=cuts)
        return Piece(text + self._text.finish(), (token,), self._finish(reason, now_s), cuts)

    def _reason_to_end(self) -> FinishReason | None:
        if self._text.stopped:
            return FinishReason.STOP
        if self._job.max_tokens is None and self.given == ANSWER_TOKENS:
            return FinishReason.STOP
        if self.given == self._job.max_tokens or self._prompt_tokens + self.given == self._context_tokens:
            return FinishReason.LENGTH
        return None

    def _finish(self, reason: FinishReason, now_s: float) -> Finish:
        return Finish(reason, self._prompt_tokens, self.given, self._first_s - self._began_s, now_s - self._first_s)
