"""Models and their settings, as values. Pure: `discovery` reads the files, `settings_file` the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vramd_common.load_settings import LoadOptions
from vramd_common.printable import MOST_NAME_CHARACTERS, printable
from vramd_common.reasons import Reason

from .config import ModelRules, Priority


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters of a model, as its GGUF header tells them; 0 where it does not."""

    layers: int = 0
    embedding: int = 0
    feed_forward: int = 0
    heads: int = 0
    kv_heads: tuple[int, ...] = ()
    """Per layer; 0 for a layer without attention."""
    key_length: int = 0
    value_length: int = 0
    vocabulary: int = 0
    sliding_window: int = 0
    """Tokens that sliding-window layers look back; 0: no such layers."""
    sliding_layers: tuple[bool, ...] = ()
    """Per layer, whether it slides; empty: none."""
    causal: bool = True
    """False for encoders (BERT and its kin), which keep no KV cache."""
    pooling: int = 0
    """How a model made for embeddings sums up its tokens, by llama.cpp's numbers: 1 mean, 2 first, 3 last, 4 rank."""
    tied_bytes: int = 0
    """Bytes of the input embedding where it serves as the output too, which copies it to the output's device."""
    state_bytes: tuple[int, ...] = ()
    """Recurrent state of each block, for one sequence; empty: none."""
    input_bytes: int = 0
    """Tensors of the input layer, which stay on the CPU."""
    output_bytes: int = 0
    """Tensors of the output layer."""
    layer_bytes: tuple[int, ...] = ()
    """Tensors of each block."""


@dataclass(frozen=True)
class Problem:
    """Why a file cannot be loaded, or not with certain settings."""

    reason: Reason
    text: str


@dataclass(frozen=True)
class ModelFile:
    """What discovery knows of a GGUF model without loading it."""

    path: str
    """Absolute; the first shard of several."""
    size_bytes: int
    """Of all shards."""
    architecture: str = ""
    parameters: int = 0
    quantization: str = ""
    trained_context_tokens: int = 0
    has_chat_template: bool = False
    projector_path: str = ""
    shape: Shape = field(default_factory=Shape)
    problem: Problem | None = None
    titles: tuple[str, ...] = ()
    """What its header calls it: name, family, kind of training."""
    modified_ns: int = 0
    """When its file was written last, in Unix time."""


@dataclass(frozen=True)
class Simulation:
    """A model without weights."""

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
    """From the configuration."""
    priority: Priority = Priority.INTERACTIVE
    """Of requests that do not say."""
    group: str = ""
    """Of the models of one group at most one is there at a time; empty: it is in none."""


def outputs(asked: str | None, parallel: int, ubatch_tokens: int) -> int:
    """Results that one computation may give: "auto" is one for each sequence, "all" one for each token.

    Less than one for each sequence llama.cpp does not take (llama-context.cpp `output_reserve`).
    """
    if asked == "all":
        return ubatch_tokens
    return min(ubatch_tokens, max(parallel, 0 if asked in (None, "auto") else int(asked)))


def why_no_task(name: str) -> str:
    """Why a text cannot name a task; empty if it can."""
    if not any(character.isalnum() for character in name):
        return "names no task, such as code_generation, dialogue or math"
    if len(name) > MOST_NAME_CHARACTERS or printable(name) != name:
        return f"is not at most {MOST_NAME_CHARACTERS} printable characters"
    return ""
