"""What a model answers, and what a request waits for until then."""

from collections.abc import Iterator
from dataclasses import dataclass

from vramd.values.words import Awaited, FinishReason, ModelState


@dataclass(frozen=True)
class Waiting:
    """What a request waits for.

    >>> client.generate("talker", "Once upon a", on_waiting=lambda step: print(step.ahead, step.message)).text
    3 reader is DRAINING
    ' time.'
    """

    ahead: int
    """Requests that the same model serves before it."""
    message: str
    """What the model is doing, and why, in words."""
    progress: float | None
    """Share of the weights that is read, 0 to 1; None while there is none."""
    state: ModelState | str = "UNSPECIFIED"
    """What the model is doing."""
    awaited: Awaited | str = "unspecified"
    """What is waited for."""


@dataclass(frozen=True)
class Usage:
    """What an answer took.

    >>> client.chat("talker", "Hi").finish.usage
    Usage(prompt_tokens=5, completion_tokens=2, prompt_s=0.5, generation_s=1.5)
    """

    prompt_tokens: int
    completion_tokens: int
    prompt_s: float
    """From the worker's first step for this request to its first token."""
    generation_s: float
    """From the first token to the last."""


@dataclass(frozen=True)
class Timeline:
    """Where the time of a call went, in seconds; None for what did not happen.

    >>> timeline = client.chat("talker", "Hi").timeline
    >>> timeline and (timeline.drained_s, timeline.loaded_s, timeline.decode_s)
    (None, 2.5, 1.5)
    """

    queued_s: float | None
    """It waited for its turn."""
    drained_s: float | None
    """It waited for memory, while busy models drained."""
    spawned_s: float | None
    """The process started."""
    loaded_s: float | None
    """The model was read."""
    prompt_s: float | None
    decode_s: float | None
    """From the first token to the last."""
    model: str
    """The model that answered."""
    incarnation: int


@dataclass(frozen=True)
class Finish:
    """How an answer ended.

    >>> client.chat("talker", "Hi", max_tokens=2).finish.reason
    'STOP'
    """

    reason: FinishReason | str
    usage: Usage


@dataclass(frozen=True)
class Embeddings:
    """One vector of length 1 per text, in the order given. Iterating gives the vectors.

    >>> [vector for vector in client.embed("reader", ["a cat", "a dog"])]
    [(1.0, 0.0), (0.0, 1.0)]
    """

    model: str
    dimensions: int
    vectors: tuple[tuple[float, ...], ...]
    usage: Usage

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        return iter(self.vectors)

    def __getitem__(self, index: int) -> tuple[float, ...]:
        return self.vectors[index]


@dataclass(frozen=True)
class Piece:
    """What one message of an answer brings."""

    text: str
    token_ids: tuple[int, ...]
    finish: Finish | None
    waiting: Waiting | None
    """Comes before the answer, and alone."""
