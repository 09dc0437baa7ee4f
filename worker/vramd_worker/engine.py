"""What an engine is to a worker. gRPC and protobuf are unknown here and to every engine.

The worker's event loop calls an engine; the engine computes in a thread of its own and answers through the callbacks it
was handed, from that thread. Many sequences may run at once; how they share a step is the engine's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from vramd_common.reasons import Reason
from vramd_common.sampling import Sampling


class EngineError(Exception):
    """A request or load that this engine refuses, or could not do. The process stays up.

    `metadata` has the keys that the table of reasons names, less `model`, which the worker adds.
    """

    def __init__(self, reason: Reason, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = {key: str(value) for key, value in metadata.items()}


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    text: str


@dataclass(frozen=True)
class Job:
    """One text to generate: either a prompt as it stands or a conversation."""

    prompt: str | tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    """None: what is left of the context."""
    stop: tuple[str, ...] = ()
    max_tokens_per_s: float | None = None
    parse_special: bool | None = None
    """Names of control tokens are read as those tokens, else they are text. None: in a prompt, but not in messages."""
    show_special: bool = False
    """Control tokens that the model generates are written into the text by their names."""


class FinishReason(Enum):
    """Why a job ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Finish:
    """How a job ended, and what it took."""

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    prompt_s: float
    generation_s: float


@dataclass(frozen=True)
class Piece:
    """What a job gave since its last piece. The last piece carries `finish`."""

    text: str
    """Whole characters only; may lag behind the tokens."""
    token_ids: tuple[int, ...]
    finish: Finish | None = None


@dataclass(frozen=True)
class Vectors:
    """Embeddings of length 1, in the order of the texts, and the tokens they took."""

    values: tuple[tuple[float, ...], ...]
    prompt_tokens: int


@dataclass(frozen=True)
class DeviceMemory:
    """What a loaded model takes on one device."""

    device: str
    """Name of the device as its engine calls it; empty for the host."""
    weights_bytes: int
    context_bytes: int
    compute_bytes: int


@dataclass(frozen=True)
class Loaded:
    """What a load came to."""

    context_tokens: int
    trained_context_tokens: int
    embedding_dimensions: int
    """0: the model gives no embeddings."""
    has_chat_template: bool
    memory: tuple[DeviceMemory, ...] = ()
    """By the engine's own count; empty if it cannot tell."""


Emit = Callable[[Piece | EngineError], None]
"""Takes the pieces of a job, in order; after a piece with `finish`, or an error, nothing more comes. Never blocks."""


class Task(Protocol):
    """A job, or a question, that an engine works on."""

    def cancel(self) -> None:
        """Ends it before the next step; nothing is emitted afterwards that matters. Idempotent, from any thread."""


class Engine(Protocol):
    """One model in this process. All methods may be called from any thread."""

    def load(self, progress: Callable[[float], None]) -> Loaded:
        """Loads the model; called once, from a thread of its own, blocks. Raises EngineError."""

    def generate(self, job: Job, emit: Emit) -> Task:
        """Takes the job in and returns at once; what is wrong with the job comes through `emit`."""

    def embed(self, texts: Sequence[str], done: Callable[[Vectors | EngineError], None]) -> Task:
        """Takes the texts in and returns at once; `done` is called once, from the engine's thread."""

    def tokenize(
        self, text: str, add_special: bool, parse_special: bool, done: Callable[[Sequence[int] | EngineError], None]
    ) -> Task:
        """Takes the text in and returns at once; `done` is called once with the token ids, from any thread."""

    def detokenize(self, token_ids: Sequence[int], done: Callable[[bytes | EngineError], None]) -> Task:
        """Takes the tokens in and returns at once; `done` is called once with their bytes, which need not be UTF-8."""

    def set_threads(self, threads: int) -> None:
        """CPU threads to use from the next step on. Returns at once."""
