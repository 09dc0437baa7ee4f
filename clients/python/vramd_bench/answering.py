"""Times answers to prompts of a given length."""

import itertools
import time
from dataclasses import dataclass

from vramd import Client

from .figures import BenchError
from .streamed import TEXT

WISH = " Tell me a long story"


@dataclass(frozen=True)
class Timed:
    first_token_s: float
    """From the request until its first text had come."""
    all_s: float
    """From the request to the end."""
    tokens_per_s: float
    """From its first token to its last, as the worker counts."""

    def seconds_for(self, tokens: int) -> float:
        """Seconds from the request until this many tokens; extrapolated if the answer ended before."""
        return self.first_token_s + (tokens - 1) / self.tokens_per_s


class Asking:
    """Asks a loaded model. No two prompts share a beginning, so that no cache serves the next one.

    Uses the chat template if there is one: many such models do not continue a plain text.
    """

    def __init__(self, client: Client, model: str, prompt_tokens: int) -> None:
        """The prompt has about `prompt_tokens`. Raises VramdError."""
        self._model = model
        self._begin = client.chat if client.model(model).has_chat_template else client.generate
        text = f" {TEXT}"
        self._text = text * max(1, prompt_tokens // len(client.tokenize(model, text)))
        self._numbers = itertools.count(1)

    def answer(self, most_tokens: int) -> Timed:
        """Asks once. Raises VramdError, and BenchError for an answer of fewer than two tokens, which has no speed."""
        prompt = f"{next(self._numbers)}{self._text}{WISH}"
        began_s = time.perf_counter()
        with self._begin(self._model, prompt, temperature=0, max_tokens=most_tokens) as stream:
            next(stream, None)
            first_s = time.perf_counter()
            finish = stream.finish
            ended_s = time.perf_counter()
        usage = finish.usage
        if usage.completion_tokens < 2:
            raise BenchError(f"{self._model} says too little to be timed: {stream.text!r}")
        rate = (usage.completion_tokens - 1) / usage.generation_s
        return Timed(first_s - began_s, ended_s - began_s, rate)


def prompt_tokens(wanted: int, context_tokens: int, answer_tokens: int) -> int:
    """As many as wanted, or as fit into a small context beside the answer."""
    return max(1, min(wanted, (context_tokens - answer_tokens) * 3 // 4))
