"""Answers of models, and the state of requests that still wait."""

from collections.abc import Iterator
from dataclasses import dataclass

from vramd.values.former_names import FormerNames
from vramd.values.words import Awaited, FinishReason, ModelState


@dataclass(frozen=True)
class Waiting:
    """A request that waits: for what, and how far that is.

    >>> client.generate("talker", "Once upon a", on_waiting=lambda step: print(step.ahead, step.message)).text
    3 reader is DRAINING
    ' time.'
    """

    ahead: int
    """Requests that the same model serves before it."""
    message: str
    """The state of the model and its cause, in words."""
    progress: float | None
    """Share of the weights that is read, 0 to 1; None while there is none."""
    state: ModelState | str = "UNSPECIFIED"
    """The state of the model."""
    awaited: Awaited | str = "unspecified"
    """The thing that it waits for."""


@dataclass(frozen=True)
class Usage:
    """The tokens and the time of an answer.

    >>> client.chat("talker", "Hi").finish.usage
    Usage(prompt_tokens=5, completion_tokens=2, prompt_s=0.5, generation_s=1.5, cached_prompt_tokens=0)
    """

    prompt_tokens: int
    completion_tokens: int
    prompt_s: float
    """Seconds from the worker's first step for this request to its first token."""
    generation_s: float
    """Seconds from the first token to the last."""
    cached_prompt_tokens: int = 0
    """Tokens of the prompt that were in the model's cache, and so not computed."""


@dataclass(frozen=True)
class Timeline(FormerNames):
    """The phases of a call, in seconds; None for one that did not happen.

    >>> timeline = client.chat("talker", "Hi").timeline
    >>> timeline and (timeline.drained_s, timeline.loaded_s, timeline.decode_s)
    (None, 2.5, 1.5)
    """

    queued_s: float | None
    """Waiting for its turn."""
    drained_s: float | None
    """Waiting for memory, while busy models drained."""
    spawned_s: float | None
    """Starting the process."""
    loaded_s: float | None
    """Reading the model."""
    prompt_s: float | None
    decode_s: float | None
    """Seconds from the first token to the last."""
    model: str
    """The model that answered."""
    worker_id: int
    resumes: int = 0
    """Processes that the call lost, and went on in another."""
    resume: str = ""
    """"exact" if what had come was computed again as it was, "approximate" if rounded otherwise; "" without resumes."""
    cached_prompt_tokens: int = 0
    """Tokens of the prompt that were in the model's cache: `prompt_s` is the time of the others."""


@dataclass(frozen=True)
class Finish:
    """The end of an answer.

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
    """One message of an answer."""

    text: str
    token_ids: tuple[int, ...]
    finish: Finish | None
    waiting: Waiting | None
    """Comes before the answer, and alone."""
