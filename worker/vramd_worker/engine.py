"""The interface of an engine, and its values. Engines know nothing of gRPC and protobuf.

The worker's event loop calls the engine; the engine computes in its own thread and answers from there, through the
callbacks that it was given. Many jobs may run at once; how they share a step is up to the engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, Protocol

from vramd_common.reasons import Reason
from vramd_common.sampling import Sampling


class EngineError(Exception):
    """Raised for a request or load that the engine refuses or cannot do; the process stays up.

    `metadata` has the keys that the table of reasons names, except `model`, which the worker adds.
    """

    def __init__(self, reason: Reason, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = {key: str(value) for key, value in metadata.items()}


@dataclass(frozen=True)
class Message:
    role: str
    text: str


class Cut(NamedTuple):
    """Chunks of one size that follow each other, in which a part of a text was computed."""

    tokens: int
    """Tokens of each that the text has."""
    computed: int
    """Tokens of each that were computed: more than `tokens` where a text took over a part of another's chunk."""
    times: int = 1


@dataclass(frozen=True)
class Job:
    """One text to generate, from a literal prompt or a conversation. The edge has checked all values."""

    prompt: str | tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    """None: as many as the context still holds."""
    stop: tuple[str, ...] = ()
    max_tokens_per_s: float | None = None
    parse_special: bool | None = None
    """Whether names of control tokens are read as those tokens. None: in a prompt, but not in messages."""
    show_special: bool = False
    """Whether control tokens that the model generates appear in the text, by name."""
    drawn_seed: int | None = None
    """Seed for a job whose sampling names none. None: the engine draws one."""
    resume: tuple[int, ...] = ()
    """Tokens of the answer that were given before, by another process: they are not given again."""
    resume_cuts: tuple[Cut, ...] = ()
    """How that process computed the whole prompt; empty: it has not said."""
    session: str = ""
    """Name of the conversation that it continues, within its scope; empty: it says none."""
    scope: str = ""
    """Stands for the caller: what its prompts leave in the cache is for jobs of the same scope only."""
    shared: bool = False
    """Whether what it leaves in the cache is for jobs of all scopes."""


class FinishReason(Enum):
    """Why a job ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class Finish:
    """How a job ended, and what it cost."""

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    prompt_s: float
    generation_s: float
    cached_prompt_tokens: int = 0
    """Tokens of the prompt that were in the cache."""


@dataclass(frozen=True)
class Piece:
    """The output of a job since its last piece. The last piece carries `finish`."""

    text: str
    """Whole characters only; it may lag behind the tokens."""
    token_ids: tuple[int, ...]
    finish: Finish | None = None
    cuts: tuple[Cut, ...] | None = None
    """In the first piece of an answer: how its prompt was computed, if it can be computed again like that."""


@dataclass(frozen=True)
class Vectors:
    """Embeddings of length 1 in the order of the texts, and the number of tokens read."""

    values: tuple[tuple[float, ...], ...]
    prompt_tokens: int


@dataclass(frozen=True)
class DeviceMemory:
    """The memory of a loaded model on one device."""

    device: str
    """The engine's name of the device; empty for the host."""
    weights_bytes: int
    context_bytes: int
    compute_bytes: int


@dataclass(frozen=True)
class Loaded:
    context_tokens: int
    memory: tuple[DeviceMemory, ...] = ()
    """As the engine counts it; empty if it cannot."""


Emit = Callable[[Piece | EngineError], None]
"""Takes the pieces of a job in order; a piece with `finish`, or an error, is the last. Never blocks."""


class Task(Protocol):
    """A job or question that an engine works on."""

    def cancel(self) -> None:
        """Ends the task before the next step; anything emitted later is to be ignored. Idempotent; thread-safe."""


@dataclass(frozen=True)
class Activity:
    """The work of one thread of this process, to tell whether it goes on."""

    name: str
    at_work: bool
    """Whether it has work that is due. One that waits for its pace has none."""
    steps: int
    """Grows with all that it does."""
    step_s: float = 0.0
    """Seconds that its present step may take, judging by its last ones; 0: its steps are short."""


class Engine(Protocol):
    """Runs one model in this process. All methods are thread-safe."""

    def load(self, progress: Callable[[float], None]) -> Loaded:
        """Loads the model. Called once, in its own thread; blocks. Raises EngineError."""

    def generate(self, job: Job, emit: Emit) -> Task:
        """Takes the job in and returns at once; errors come through `emit`."""

    def embed(self, texts: Sequence[str], done: Callable[[Vectors | EngineError], None]) -> Task:
        """Takes the texts in and returns at once; `done` is called once, from the engine's thread."""

    def tokenize(
        self, text: str, add_special: bool, parse_special: bool, done: Callable[[Sequence[int] | EngineError], None]
    ) -> Task:
        """Takes the text in and returns at once; `done` is called once with the token ids, from any thread."""

    def detokenize(self, token_ids: Sequence[int], done: Callable[[bytes | EngineError], None]) -> Task:
        """Takes the tokens in and returns at once; `done` is called once with their bytes, which need not be UTF-8."""

    def set_threads(self, threads: int) -> None:
        """Sets the number of CPU threads from the next step on. Returns at once."""

    def activities(self) -> Sequence[Activity]:
        """Returns the work of each of its threads. Never waits, whatever they do."""
