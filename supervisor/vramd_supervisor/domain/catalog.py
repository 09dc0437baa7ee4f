"""Models and their settings, as values. Pure: `discovery` reads the files, `settings_file` the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vramd_common.load_settings import LoadOptions
from vramd_common.printable import MOST_NAME_CHARACTERS, printable
from vramd_common.reasons import Reason

from .config import ModelRules, Priority


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters of a model, from its GGUF header; 0 where the header lacks them."""

    layers: int = 0
    embedding: int = 0
    feed_forward: int = 0
    heads: int = 0
    kv_heads: tuple[int, ...] = ()
    """KV heads per layer; 0 for a layer without attention."""
    key_length: int = 0
    value_length: int = 0
    vocabulary: int = 0
    sliding_window: int = 0
    """Tokens that sliding-window layers look back; 0: there are no such layers."""
    sliding_layers: tuple[bool, ...] = ()
    """Whether each layer uses a sliding window; empty: none does."""
    causal: bool = True
    """False for encoders (the BERT family), which keep no KV cache."""
    pooling: int = 0
    """Pooling of an embedding model, in llama.cpp's numbers: 1 mean, 2 first, 3 last, 4 rank."""
    tied_bytes: int = 0
    """Bytes of the input embedding where it is also the output, and so is copied to the output's device."""
    state_bytes: tuple[int, ...] = ()
    """Bytes of each block's recurrent state, for one sequence; empty: none."""
    input_bytes: int = 0
    """Bytes of the input layer's tensors, which stay on the CPU."""
    output_bytes: int = 0
    """Bytes of the output layer's tensors."""
    layer_bytes: tuple[int, ...] = ()
    """Bytes of each block's tensors."""


@dataclass(frozen=True)
class Problem:
    """The reason why a file cannot be loaded, at all or with certain settings."""

    reason: Reason
    text: str


@dataclass(frozen=True)
class ModelFile:
    """A GGUF model as discovery knows it without loading it."""

    path: str
    """Absolute path; the first shard if there are several."""
    size_bytes: int
    """Bytes of all shards."""
    architecture: str = ""
    parameters: int = 0
    quantization: str = ""
    trained_context_tokens: int = 0
    has_chat_template: bool = False
    projector_path: str = ""
    shape: Shape = field(default_factory=Shape)
    problem: Problem | None = None
    titles: tuple[str, ...] = ()
    """Names from the header: name, family, kind of training."""
    modified_ns: int = 0
    """Last modification of the file, in nanoseconds of Unix time."""


@dataclass(frozen=True)
class Simulation:
    """A simulated model, without weights."""

    memory: Mapping[str, int]
    """Bytes per device."""
    load_s: float
    tokens_per_s: float
    manners: tuple[str, ...]
    allocate: bool


@dataclass(frozen=True)
class Model(ModelRules):
    """A model that vramd knows under an id."""

    id: str
    source: ModelFile | Simulation
    options: LoadOptions = field(default_factory=LoadOptions)
    priority: Priority = Priority.INTERACTIVE
    """Priority of requests that set none."""
    group: str = ""
    """Group of which at most one model is loaded at a time; empty: no group."""


def outputs(asked: str | None, parallel: int, ubatch_tokens: int) -> int:
    """Returns the most results of one computation: "auto" is one per sequence, "all" one per token.

    llama.cpp accepts no less than one per sequence (llama-context.cpp `output_reserve`).
    """
    if asked == "all":
        return ubatch_tokens
    return min(ubatch_tokens, max(parallel, 0 if asked in (None, "auto") else int(asked)))


def why_no_task(name: str) -> str:
    """Says why a text cannot name a task; empty if it can."""
    if not any(character.isalnum() for character in name):
        return "names no task, such as code_generation, dialogue or math"
    if len(name) > MOST_NAME_CHARACTERS or printable(name) != name:
        return f"is not at most {MOST_NAME_CHARACTERS} printable characters"
    return ""
