"""What a job asks for, as the tokens that the model reads."""

from collections.abc import Callable, Sequence

from vramd_proto.v1.reasons import Reason

from vramd_worker.engine import EngineError, Job, Message
from vramd_worker.llama.model import NativeModel

RENDER_LIMIT_S = 2.0
"""A template comes with the model's file and may be hostile; it gets no more time than this."""


class Prompts:
    """Turns prompts and conversations into tokens of one model. Used by one thread at a time.

    A prompt as it stands may name control tokens, and they are read as such: this is how a caller fills in the middle
    of a text or brings a template of their own. The begin-of-sequence token is put in front where the model wants one
    and the text does not begin with it; nothing is put behind.
    """

    def __init__(self, model: NativeModel, context_tokens: int) -> None:
        self._model = model
        self._context_tokens = context_tokens
        self._render: Callable[[Sequence[Message]], str] | None = None

    def of_job(self, job: Job) -> list[int]:
        """Tokens of a job. Raises EngineError, also if they leave no room for an answer."""
        text = job.prompt if isinstance(job.prompt, str) else self._conversation(job.prompt)
        tokens = self._model.tokenize(text, add_special=False, parse_special=True)
        model = self._model
        if model.bos is not None and model.adds_bos and tokens[:1] != [model.bos]:
            tokens.insert(0, model.bos)
        if not tokens:
            first = model.eos if model.bos is None else model.bos
            if first is None:
                raise EngineError(Reason.FIELD_INVALID, "the prompt is empty", field="prompt")
            tokens.append(first)
        if len(tokens) >= self._context_tokens:
            raise self._overflow(len(tokens))
        return tokens

    def of_text(self, text: str) -> list[int]:
        """Tokens of a text to be embedded, with what the model puts around it. Raises EngineError."""
        tokens = self._model.tokenize(text, add_special=True, parse_special=False)
        if not tokens:
            raise EngineError(Reason.FIELD_INVALID, "a text to be embedded is empty", field="inputs")
        if len(tokens) > self._context_tokens:
            raise self._overflow(len(tokens))
        return tokens

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

    def _overflow(self, prompt_tokens: int) -> EngineError:
        return EngineError(
            Reason.CONTEXT_OVERFLOW,
            f"the input has {prompt_tokens} tokens, and the context {self._context_tokens}, answer included",
            promptTokens=prompt_tokens,
            contextTokens=self._context_tokens,
        )
