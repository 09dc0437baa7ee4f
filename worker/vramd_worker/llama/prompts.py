"""Turns jobs and texts into the tokens that the model reads."""

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError, Job, Message
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.prefixes import common
from vramd_worker.llama.tokenizing import Segment, Steps, Tokenizer, TooManyTokensError
from vramd_worker.llama.vocabulary import Around, Vocabulary

if TYPE_CHECKING:
    from vramd_worker.llama.templates import ChatTemplate

MOST_LEFT_OUT = 4
"""Longest conversation in multiples of the context: its template may leave most of it out."""


class Prompts:
    """Turns prompts and conversations into tokens of one model. Used by one thread at a time.

    A literal prompt may name control tokens: this is how callers fill in the middle of a text or bring their own
    template. Messages are plain text unless the caller wants otherwise. The begin-of-sequence token is added where the
    model wants one and the text does not begin with it; nothing is added at the end.
    """

    def __init__(
        self, model: NativeModel, tokenizer: Tokenizer, around: Around, vocabulary: Vocabulary, context_tokens: int
    ) -> None:
        """Compiles the chat template and finds out which messages it takes."""
        self._model = model
        self._tokenizer = tokenizer
        self._around = around
        self._context_tokens = context_tokens
        self._no_template = "the model has no chat template; send a plain prompt"
        self._template = self._compiled(vocabulary)
        if self._template is not None:
            tokenizer.set_apart(self._template.turn_marks)

    def of_job(self, job: Job, unwanted: Callable[[], bool] = lambda: False) -> Steps[list[int]]:
        """Returns the tokens of a job. Raises EngineError, also if they leave no room for an answer.

        Rendering is given up once the tokens are `unwanted`.
        """
        segments: Sequence[Segment]
        if isinstance(job.prompt, str):
            segments, field = [Segment(job.prompt, special=job.parse_special is not False)], "prompt"
        else:
            segments, field = self._conversation(job.prompt, bool(job.parse_special), unwanted), "messages"
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

    def of_warm(self, text: str) -> Steps[list[int]]:
        """Returns what all conversations with this system message begin with; of a model without a chat template, the
        tokens of the text. Raises EngineError, also if they leave no room for an answer.
        """
        if not self._model.chat_template:
            return (yield from self.of_job(Job(text)))
        # Where the user's text begins, two conversations differ.
        asks = [(Message("system", text), Message("user", question)) for question in ("a", "1")]
        one = yield from self.of_job(Job(asks[0]))
        other = yield from self.of_job(Job(asks[1]))
        same = common(array("i", one), array("i", other), len(one))
        return one[:same]

    def check_answer(self, prompt_tokens: int, answer: Sequence[int]) -> None:
        """Raises EngineError for an answer of another process that this one cannot go on from."""
        self._model.check_tokens(answer)
        if prompt_tokens + len(answer) >= self._context_tokens:
            raise self._overflow(TooManyTokensError(prompt_tokens + len(answer), counted=True), ", answer included")

    def of_text(self, text: str) -> "Steps[array[int]]":
        """Returns the tokens of a text to embed, with those around it. Raises EngineError."""
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
        """Returns the tokens of a text for a Tokenize call. Raises EngineError."""
        before, after, missing = self._around if add_special else Around((), (), "")
        if missing:
            raise EngineError(Reason.FIELD_INVALID, f"the model's vocabulary has no {missing}", field="add_special")
        tokens = yield from self._tokenizer.ids([Segment(text, special=parse_special)], "text")
        return array("i", (*before, *tokens, *after)) if add_special else tokens

    def of_tokens(self, token_ids: Sequence[int]) -> Steps[bytes]:
        """Returns the bytes of tokens, control tokens by name. Raises EngineError for an invalid id."""
        yield
        return self._model.detokenize(token_ids)

    def _conversation(
        self, messages: Sequence[Message], parse_special: bool, unwanted: Callable[[], bool]
    ) -> Sequence[Segment]:
        if self._template is None:
            raise EngineError(Reason.CHAT_TEMPLATE_UNUSABLE, self._no_template)
        self._check_size(messages)
        try:
            return self._template.render(messages, unwanted, parse_special=parse_special)
        except Exception as error:  # a template is a program: it may raise whatever Python can
            raise EngineError(Reason.CHAT_TEMPLATE_UNUSABLE, _in_words(error)) from error

    def _check_size(self, messages: Sequence[Message]) -> None:
        """Raises EngineError for a conversation that is too long to be worth rendering.

        A template may leave part of it out, and each message that it writes takes at least one token.
        """
        texts_bytes = sum(len(message.text.encode("utf-8", "replace")) for message in messages)
        least = max(len(messages), self._tokenizer.least_tokens(texts_bytes))
        if least > MOST_LEFT_OUT * self._context_tokens:
            raise self._overflow(TooManyTokensError(least, counted=False), ", answer included")

    def _compiled(self, vocabulary: Vocabulary) -> "ChatTemplate | None":
        model = self._model
        if not model.chat_template:
            return None
        from vramd_worker.llama.templates import ChatTemplate  # noqa: PLC0415  only chat models need Jinja

        try:
            bos, eos = model.name(model.bos), model.name(model.eos)
            return ChatTemplate(model.chat_template, vocabulary.controls, vocabulary.defined, bos, eos)
        except Exception as error:  # as above
            self._no_template = _in_words(error)
            return None

    def _overflow(self, found: TooManyTokensError, which: str = "") -> EngineError:
        tokens = found.tokens if found.counted else f"at least {found.tokens}"
        return EngineError(
            Reason.CONTEXT_OVERFLOW,
            f"the input has {tokens} tokens, and the context {self._context_tokens}{which}",
            promptTokens=found.tokens,
            contextTokens=self._context_tokens,
        )


def _in_words(error: Exception) -> str:
    return f"the model's chat template cannot be used: {str(error)[:300] or type(error).__name__}"
