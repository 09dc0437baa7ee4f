"""From a file to a model and a context that can compute, or to an error that says what is wrong with it."""

import ctypes
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from vramd_proto.v1.reasons import Reason

from vramd_worker.engine import EngineError
from vramd_worker.llama.context import Chunk, NativeContext
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.native import NativeLog

EMBEDDING_SLOTS = 64
"""Texts of an embedding model that one batch holds at most."""
_WARM_UP_CPU_TOKENS = 1
_MAX_THREADS = 512
"""As many as ggml has room for."""

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
"""Numbers of ggml.h, of the types that a KV cache may have."""

_UNSUPPORTED = re.compile(
    r"unknown (model architecture|pre-tokenizer type)|unsupported|not supported|unknown tokenizer"
)
_OUT_OF_MEMORY = re.compile(r"failed to (allocate|reserve)|unable to allocate|out of memory|bad_alloc")


@dataclass(frozen=True)
class LlamaSpec:
    """What a load is done with."""

    path: str
    context_tokens: int
    batch_tokens: int
    ubatch_tokens: int
    gpu_layers: int
    """-1: all."""
    kv_type: str
    gpu_uuid: str
    """Of the NVIDIA card to use; empty: this process sees none."""
    untested: bool = False
    """Take an untested build of llama-cpp-python too."""


class Opened(NamedTuple):
    """A model that is ready to compute."""

    model: NativeModel
    context: NativeContext
    context_tokens: int
    """Tokens that one sequence may have."""
    embeds: bool
    """It gives embeddings, and no text."""


def clamp_threads(threads: int) -> int:
    """A number of threads that ggml can run with."""
    return max(1, min(threads, _MAX_THREADS))


def check_file(path: str) -> None:
    """Raises EngineError unless there is a regular file that begins as a GGUF. Never blocks on a FIFO."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  the mode is what is asked for
    except OSError as error:
        raise EngineError(Reason.MODEL_FILE_MISSING, f"{path}: {error.strerror}", path=path) from error
    if not stat.S_ISREG(mode):
        raise EngineError(Reason.MODEL_PATH_INVALID, f"{path} is no regular file", path=path)
    try:
        with Path(path).open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise EngineError(Reason.MODEL_FILE_INVALID, f"{path} cannot be read: {error.strerror}") from error
    if magic != b"GGUF":
        raise EngineError(Reason.MODEL_FILE_INVALID, f"{path} is no GGUF file")


def show_device(gpu_uuid: str) -> None:
    """Lets this process see that one NVIDIA card, or none. Before the first call into a backend."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu_uuid


def open_model(
    library: ModuleType, log: NativeLog, spec: LlamaSpec, threads: int, parallel: int, progress: Callable[[float], None]
) -> Opened:
    """Reads the weights, makes a context and computes a first batch. Blocks. Raises EngineError."""
    if spec.kv_type not in _GGML_TYPES:
        raise EngineError(Reason.FIELD_INVALID, f"{spec.kv_type!r} is no type of a KV cache", field="kv_type")
    model = _read_weights(library, log, spec, progress)
    try:
        if problem := model.unsupported_kind:
            raise EngineError(Reason.MODEL_UNSUPPORTED, problem)
        return _open_context(library, log, model, spec, threads, parallel)
    except EngineError:
        model.close()
        raise


def _read_weights(
    library: ModuleType, log: NativeLog, spec: LlamaSpec, progress: Callable[[float], None]
) -> NativeModel:
    parameters = library.llama_model_default_params()
    # Anonymous memory: a mapped file would be kept twice where weights are repacked, and not given back for certain.
    parameters.load_mode = library.LLAMA_LOAD_MODE_NONE
    parameters.n_gpu_layers = spec.gpu_layers
    no_devices = (ctypes.c_void_p * 1)(None)
    if spec.gpu_layers == 0:
        parameters.devices = ctypes.cast(no_devices, ctypes.c_void_p)

    def report(share: float, _data: int | None) -> bool:
        progress(share)
        return True

    parameters.progress_callback = callback = library.llama_progress_callback(report)
    log.errors.clear()
    handle = library.llama_model_load_from_file(os.fsencode(spec.path), parameters)
    del callback
    if handle is None:
        raise _load_error(log.errors, spec, Reason.MODEL_FILE_INVALID, "llama.cpp cannot load the file")
    return NativeModel(library, int(handle))


def _open_context(
    library: ModuleType, log: NativeLog, model: NativeModel, spec: LlamaSpec, threads: int, parallel: int
) -> Opened:
    limit = spec.context_tokens
    if model.is_limited_to_training:
        limit = min(limit, model.trained_context_tokens)
    pooling = _pooling(library, model)
    embeds = pooling != library.LLAMA_POOLING_TYPE_NONE
    parameters = library.llama_context_default_params()
    parameters.n_ctx = limit
    parameters.n_seq_max = EMBEDDING_SLOTS if embeds else parallel
    parameters.kv_unified = True
    parameters.swa_full = False
    parameters.n_batch = max(spec.batch_tokens, parallel)
    parameters.n_ubatch = min(spec.ubatch_tokens, parameters.n_batch)
    parameters.embeddings = embeds
    if not embeds:
        # One row of logits for each sequence; flagging more than is reserved here would abort the process.
        parameters.n_outputs_max = parallel
    else:
        parameters.pooling_type = pooling
        parameters.n_outputs_max_per_seq = 0
        if pooling != library.LLAMA_POOLING_TYPE_LAST or not model.is_causal:
            # The pooling sees one computation only, so that one must take the longest input.
            parameters.n_batch = parameters.n_ubatch = limit
    parameters.n_threads = parameters.n_threads_batch = clamp_threads(threads)
    parameters.type_k = parameters.type_v = _GGML_TYPES[spec.kv_type]
    quantised = spec.kv_type not in {"f16", "f32", "bf16"}
    parameters.flash_attn_type = (
        library.LLAMA_FLASH_ATTN_TYPE_ENABLED if quantised else library.LLAMA_FLASH_ATTN_TYPE_AUTO
    )
    parameters.offload_kqv = parameters.op_offload = spec.gpu_layers != 0
    log.errors.clear()
    handle = library.llama_init_from_model(model.handle, parameters)
    if handle is None:
        raise _load_error(log.errors, spec, Reason.MODEL_UNSUPPORTED, "llama.cpp cannot make a context")
    context = NativeContext(library, model, int(handle), embeds)
    library.llama_set_abort_callback(handle, library.ggml_abort_callback(_strlen_address()), context.abort_address)
    _warm_up(context, model, int(parameters.n_ubatch) if spec.gpu_layers else _WARM_UP_CPU_TOKENS)
    return Opened(model, context, min(limit, context.cells), embeds)


def _pooling(library: ModuleType, model: NativeModel) -> int:
    """How the file wants embeddings to be pooled; encoders that do not say are pooled by the mean."""
    none, mean = int(library.LLAMA_POOLING_TYPE_NONE), int(library.LLAMA_POOLING_TYPE_MEAN)
    stated = model.architecture_metadata("pooling_type")
    pooling = int(stated) if stated is not None else none
    if pooling == library.LLAMA_POOLING_TYPE_RANK:
        raise EngineError(Reason.MODEL_UNSUPPORTED, "the model ranks texts, it gives neither text nor embeddings")
    if pooling not in {none, mean, library.LLAMA_POOLING_TYPE_CLS, library.LLAMA_POOLING_TYPE_LAST}:
        raise EngineError(Reason.MODEL_UNSUPPORTED, f"the file wants its embeddings pooled in an unknown way: {stated}")
    return mean if pooling == none and not model.is_causal else pooling


def _warm_up(context: NativeContext, model: NativeModel, tokens: int) -> None:
    """Computes once, so that a backend takes its working memory now and the first request finds it there."""
    token = model.bos if model.bos is not None else 0
    context.compute([Chunk(slot=0, tokens=[token] * min(tokens, context.cells), position=0, output=True)])
    context.forget_all()


def _strlen_address() -> int:
    """Address of the C library's `strlen`.

    It serves as llama.cpp's abort callback: given a C string it is true unless the string is empty. llama.cpp asks
    after each operation of a graph; a callback in Python would take the GIL thousands of times per token.
    """
    libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    address = ctypes.cast(libc.strlen, ctypes.c_void_p).value
    assert address is not None
    return address


def _load_error(lines: Iterable[str], spec: LlamaSpec, otherwise: Reason, summary: str) -> EngineError:
    """What llama.cpp printed, as an error; its last lines are the most general ones."""
    text = "; ".join(lines)
    message = f"{summary}: {text[:600]}" if text else summary
    if _OUT_OF_MEMORY.search(text):
        size = re.search(r"buffer of size (\d+)", text)
        return EngineError(
            Reason.MEMORY_EXHAUSTED,
            message,
            device=spec.gpu_uuid or "host",
            neededBytes=size[1] if size else 0,
            freeBytes=0,
            heldBy="",
        )
    return EngineError(Reason.MODEL_UNSUPPORTED if _UNSUPPORTED.search(text) else otherwise, message)
