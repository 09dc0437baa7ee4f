"""What a job asks for, as the tokens that the model reads."""

from array import array
from collections.abc import Callable, Sequence

from vramd_proto.v1.reasons import Reason

from vramd_worker.engine import EngineError, Job, Message
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.tokenizing import Segment, Steps, Tokenizer, TooManyTokensError
from vramd_worker.llama.vocabulary import Around

RENDER_LIMIT_S = 2.0
"""A template comes with the model's file and may be hostile; it gets no more time than this."""


class Prompts:
    """Turns prompts and conversations into tokens of one model. Used by one thread at a time.

    A prompt as it stands may name control tokens, and they are read as such: this is how a caller fills in the middle
    of a text or brings a template of their own. The begin-of-sequence token is put in front where the model wants one
    and the text does not begin with it; nothing is put behind.
    """

    def __init__(self, model: NativeModel, tokenizer: Tokenizer, around: Around, context_tokens: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._around = around
        self._context_tokens = context_tokens
        self._render: Callable[[Sequence[Message]], str] | None = None

    def of_job(self, job: Job) -> Steps[list[int]]:
        """Tokens of a job. Raises EngineError, also if they leave no room for an answer."""
        if isinstance(job.prompt, str):
            segments, field = [Segment(job.prompt, special=True)], "prompt"
        else:
            segments, field = [Segment(self._conversation(job.prompt), special=True)], "messages"
        model, room = self._model, self._context_tokens - 1
        begin = model.bos if model.adds_bos else None
        try:
            tokens = (yield from self._tokenizer.ids(segments, field, room)).tolist()
        except TooManyTokensError as error:
            found = TooManyTokensError(error.tokens + (begin is not None), counted=error.counted)
            raise self._overflow(found, ", answer included") from error
        if begin is not None and tokens[:1] != [begin]:
            tokens.insert(0, begin)
        if not tokens:
            first = model.eos if model.bos is None else model.bos
            if first is None:
                raise EngineError(Reason.FIELD_INVALID, "the prompt is empty", field=field)
            tokens.append(first)
        if len(tokens) > room:
            raise self._overflow(TooManyTokensError(len(tokens), counted=True), ", answer included")
        return tokens

    def of_text(self, text: str) -> "Steps[array[int]]":
        """Tokens of a text to be embedded, with what the model puts around it. Raises EngineError."""
        before, after, _ = self._around
        beside = len(before) + len(after)
        try:
            tokens = yield from self._tokenizer.ids(
                [Segment(text, special=False)], "inputs", self._context_tokens - beside
            )
        except TooManyTokensError as error:
            raise self._overflow(TooManyTokensError(error.tokens + beside, counted=error.counted)) from error
        if not tokens and not beside:
            raise EngineError(Reason.FIELD_INVALID, "a text to be embedded is empty", field="inputs")
        return array("i", (*before, *tokens, *after))

    def of_question(self, text: str, add_special: bool, parse_special: bool) -> "Steps[array[int]]":
        """Tokens of a text as a caller wants to see them. Raises EngineError."""
        before, after, missing = self._around if add_special else Around((), (), "")
        if missing:
            raise EngineError(Reason.FIELD_INVALID, f"the model's vocabulary has no {missing}", field="add_special")
        tokens = yield from self._tokenizer.ids([Segment(text, special=parse_special)], "text")
        return array("i", (*before, *tokens, *after)) if add_special else tokens

    def of_tokens(self, token_ids: Sequence[int]) -> Steps[bytes]:
        """Bytes of tokens, control tokens by name. Raises EngineError for an id that is none."""
        yield
        return self._model.detokenize(token_ids)

    def _conversation(self, messages: Sequence[Message]) -> str:
        if not self._model.chat_template:
            raise EngineError(Reason.CHAT_TEMPLATE_UNUSABLE, "the model has no chat template; send a plain prompt")
        try:
            if self._render is None:
                self._render = self._compile()
            return self._render(messages)
        except Exception as error:  # a template is a program: it may raise whatever Python can
            why = str(error)[:300] or type(error).__name__
            raise EngineError(Reason.CHAT_TEMPLATE_UNUSABLE, f"the model's chat template failed: {why}") from error

    def _compile(self) -> Callable[[Sequence[Message]], str]:
        from vramd_worker.llama.templates import ChatTemplate  # noqa: PLC0415  Jinja comes with the binding only

        model = self._model
        return ChatTemplate(model.chat_template, model.name(model.bos), model.name(model.eos), RENDER_LIMIT_S).render

    def _overflow(self, found: TooManyTokensError, which: str = "") -> EngineError:
        tokens = found.tokens if found.counted else f"at least {found.tokens}"
        return EngineError(
            Reason.CONTEXT_OVERFLOW,
            f"the input has {tokens} tokens, and the context {self._context_tokens}{which}",
            promptTokens=found.tokens,
            contextTokens=self._context_tokens,
        )
