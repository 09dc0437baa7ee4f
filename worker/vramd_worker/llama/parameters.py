"""Makes llama.cpp's parameters of a load's settings; nothing else does.

A real load and a dry run both take them from here, so that what was quoted is what is then loaded.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

from vramd_common.load_settings import Settings
from vramd_common.printable import printable
from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.tiles import TILE_TOKENS

EMBEDDING_SLOTS = 64
"""Most texts in one batch of an embedding model."""
_MAX_THREADS = 512
"""The limit of ggml."""

_GGML_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""Types that a KV cache may have, by their numbers in ggml.h."""

_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
"""Numbers of llama.h."""


@dataclass(frozen=True, kw_only=True)
class LlamaSpec(Settings):
    """The settings of a load, with its file and its devices in this process."""

    path: str
    device_names: tuple[str, ...] = ()
    """Devices to use, by llama.cpp's names in this process; none: the host."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that show this process its devices."""
    warm_up_batch: bool = False
    """Whether a load on a device computes a whole batch before it is ready."""
    warm_prompt: str = ""
    """Computed before the load ends, and kept for all callers: the system message of conversations, or, of a model
    without a chat template, the beginning of prompts. Empty: none."""
    mapped: bool = False
    """Whether the weights are mapped from the file instead of read from it."""
    stream_gap_s: float = 0.0
    """Longest time between two tokens of a text while prompts are computed beside it; 0: as short as it can be."""
    untested: bool = False
    """Whether an untested build of llama-cpp-python is taken too."""

    @property
    def in_words(self) -> str:
        """Describes the load as `vramd plan` does: the file, and the settings that are not left to llama.cpp."""
        layers = "all" if self.gpu_layers < 0 else self.gpu_layers
        words = {
            f"context {self.context_tokens}": True,
            f"batch {self.batch_tokens}": True,
            f"ubatch {self.ubatch_tokens}": True,
            f"KV cache {self.kv_type}": True,
            f"{layers} layers on {' and '.join(self.device_names)}": self.device_names,
            f"split {' : '.join(f'{share:g}' for _, share in self.shares)}": self.shares,
            f"outputs {self.outputs}": self.outputs,
            f"flash attention {self.flash_attention}": self.flash_attention != "auto",
            "swa_full": self.swa_full,
            "kv_split": self.kv_split,
        }
        return f"{printable(self.path)}: {', '.join(word for word, is_set in words.items() if is_set)}"


class ModelParameters(NamedTuple):
    """`llama_model_params` and the memory they point to, kept until the model is read."""

    values: Any
    pointed_to: tuple[object, ...]


class ContextParameters(NamedTuple):
    """`llama_context_params`, and the decisions behind them."""

    values: Any
    limit_tokens: int
    """Most tokens of one sequence, unless its cache has fewer cells."""
    embeds: bool
    """Whether the model gives embeddings, and no text."""


def clamp_threads(threads: int) -> int:
    """Returns the nearest number of threads that ggml can run with."""
    return max(1, min(threads, _MAX_THREADS))


def check(spec: LlamaSpec) -> None:
    """Raises EngineError(FIELD_INVALID) for settings that no model can be loaded with."""
    if spec.kv_type not in _GGML_TYPES:
        raise EngineError(Reason.FIELD_INVALID, f"{spec.kv_type!r} is no type of a KV cache", field="kv_type")
    if spec.flash_attention not in _FLASH_ATTENTION:
        message = f"flash attention is one of {', '.join(_FLASH_ATTENTION)}, not {spec.flash_attention!r}"
        raise EngineError(Reason.FIELD_INVALID, message, field="flash_attention")
    if spec.flash_attention == "off" and _is_quantised(spec.kv_type):
        message = f"a KV cache of type {spec.kv_type} needs flash attention, which is off"
        raise EngineError(Reason.FIELD_INVALID, message, field="flash_attention")


def model_parameters(library: ModuleType, spec: LlamaSpec, devices: Sequence[int]) -> ModelParameters:
    """Makes the parameters of a model on the devices of these handles; none: all of it stays on the host."""
    values = library.llama_model_default_params()
    # Left to llama.cpp they would be mapped: pages of 4 KiB, kept twice where weights are repacked.
    values.load_mode = library.LLAMA_LOAD_MODE_MMAP if spec.mapped else library.LLAMA_LOAD_MODE_NONE
    values.n_gpu_layers = spec.gpu_layers if devices else 0
    # Ended by NULL. No list at all would mean every device there is.
    handles = (ctypes.c_void_p * (len(devices) + 1))(*devices, None)
    values.devices = ctypes.cast(handles, ctypes.c_void_p)
    # llama.cpp reads this many; if all are zero it splits by free memory.
    most = int(library.llama_max_devices())
    shares = (ctypes.c_float * most)(*(share for _, share in spec.shares[: min(most, len(devices))]))
    values.tensor_split = ctypes.cast(shares, ctypes.POINTER(ctypes.c_float))
    return ModelParameters(values, (handles, shares))


def context_parameters(
    library: ModuleType, model: NativeModel, spec: LlamaSpec, threads: int, on_device: bool
) -> ContextParameters:
    """Makes the parameters of a model's context; `on_device`: part of it is on a device. Raises EngineError.

    They differ from the settings: a model with learned positions has no more context than it was trained for; a batch
    has room for a token of every sequence; an encoder computes its longest input at once; `outputs` is at least the
    number of sequences, as llama.cpp asserts (llama-context.cpp, output_reserve), and a step asks for no more than one
    result of each.
    """
    limit = spec.context_tokens
    if model.is_limited_to_training:
        limit = min(limit, model.trained_context_tokens)
    pooling = _pooling(library, model)
    embeds = pooling != library.LLAMA_POOLING_TYPE_NONE
    values = library.llama_context_default_params()
    values.n_ctx = limit
    values.n_seq_max = EMBEDDING_SLOTS if embeds else spec.parallel
    # An embedding model has many slots, and one text may need the whole context.
    values.kv_unified = embeds or not spec.kv_split
    values.swa_full = spec.swa_full
    values.n_batch = max(spec.batch_tokens, spec.parallel)
    values.n_ubatch = min(spec.ubatch_tokens, values.n_batch)
    values.embeddings = embeds
    if not embeds:
        values.n_outputs_max = max(spec.outputs, spec.parallel)
    else:
        values.pooling_type = pooling
        values.n_outputs_max_per_seq = 0
        if pooling != library.LLAMA_POOLING_TYPE_LAST or not model.is_causal:
            # Pooling sees one computation only, so that one must take the longest input.
            values.n_batch = values.n_ubatch = limit
    values.n_threads = values.n_threads_batch = clamp_threads(threads)
    values.type_k = values.type_v = _GGML_TYPES[spec.kv_type]
    values.flash_attn_type = _FLASH_ATTENTION["on" if _is_quantised(spec.kv_type) else spec.flash_attention]
    values.offload_kqv = values.op_offload = on_device
    return ContextParameters(values, limit, embeds)


def attends_in_tiles(spec: LlamaSpec) -> bool:
    """Whether attention is computed in tiles: on the host, by flash attention, of a cache as it is computed with."""
    fits = min(spec.batch_tokens, spec.ubatch_tokens) >= TILE_TOKENS
    return fits and not spec.device_names and spec.flash_attention != "off" and spec.kv_type in {"f16", "f32"}


def _is_quantised(kv_type: str) -> bool:
    return kv_type not in {"f16", "f32", "bf16"}


def _pooling(library: ModuleType, model: NativeModel) -> int:
    """Returns the pooling that the file asks for; an encoder without one is pooled by the mean."""
    none, mean = int(library.LLAMA_POOLING_TYPE_NONE), int(library.LLAMA_POOLING_TYPE_MEAN)
    stated = model.architecture_metadata("pooling_type")
    pooling = int(stated) if stated is not None else none
    if pooling == library.LLAMA_POOLING_TYPE_RANK:
        raise EngineError(Reason.MODEL_UNSUPPORTED, "the model ranks texts, it gives neither text nor embeddings")
    if pooling not in {none, mean, library.LLAMA_POOLING_TYPE_CLS, library.LLAMA_POOLING_TYPE_LAST}:
        raise EngineError(Reason.MODEL_UNSUPPORTED, f"the file wants its embeddings pooled in an unknown way: {stated}")
    return mean if pooling == none and not model.is_causal else pooling
