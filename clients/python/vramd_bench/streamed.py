"""One generation as a client saw it, whatever generated it."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

TEXT = "One two three."
LIMIT_S = 300.0
"""A call that takes longer hangs."""

_numbers = itertools.count(100)


def fresh_prompt() -> str:
    """A short prompt that begins like none before, so that a cache of prompts serves none of it."""
    return f"{next(_numbers)} {TEXT}"


@dataclass(frozen=True)
class Streamed:
    """When the messages of a stream came."""

    began_s: float
    """When the request was sent; like all times here, of the clock of `time.perf_counter`."""
    times_s: tuple[float, ...]
    """When each message had come."""
    tokens: tuple[int, ...]
    """How many each message brought."""
    text: str = ""
    cached_tokens: int = 0
    """Tokens of the prompt that were not computed, because memory held them still."""
    prompt_tokens: int = 0

    @property
    def first_token_s(self) -> float:
        """Seconds from the request to the first message."""
        return self.times_s[0] - self.began_s

    @property
    def tokens_per_s(self) -> float:
        """From the request to the last message."""
        return sum(self.tokens) / (self.times_s[-1] - self.began_s)

    def tokens_between(self, from_s: float, to_s: float) -> int:
        """Tokens that came after one moment and until the other."""
        return sum(many for at_s, many in zip(self.times_s, self.tokens, strict=True) if from_s < at_s <= to_s)


class Live:
    """A generation while it runs: how many messages came, and how to break it off. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages = 0
        self._cancel: Callable[[], object] | None = None
        self._cut = False
        self._over = False

    @property
    def cut(self) -> bool:
        """Whether it was broken off, so that its end is no failure."""
        return self._cut

    @property
    def messages(self) -> int:
        """How many came so far."""
        return self._messages

    def begin(self, cancel: Callable[[], object]) -> None:
        """The call has begun; `cancel` ends it."""
        with self._changed:
            self._cancel = cancel
            if self._cut:
                cancel()

    def came(self) -> None:
        """A message came."""
        with self._changed:
            self._messages += 1
            self._changed.notify_all()

    def end(self) -> None:
        """No message will come."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait_for(self, messages: int) -> bool:
        """Waits until so many messages came, or none will come any more; returns which."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._messages >= messages, LIMIT_S)
            return self._messages >= messages

    def break_off(self) -> None:
        """Ends it early. Idempotent."""
        with self._changed:
            self._cut = True
            if self._cancel:
                self._cancel()


class Target(Protocol):
    """Continues a prompt. Any number of threads may use it."""

    def stream(self, tokens: int, prompt: str = "", live: Live | None = None) -> Streamed:
        """Generates at temperature 0, until `live` is broken off or all tokens have come.

        Without a prompt it is a fresh one.
        A stream that is broken off before its first message has none. Raises grpc.RpcError, BenchError.
        """
