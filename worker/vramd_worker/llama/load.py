"""Loads a model: from a file to a context that can compute, or to an error that says what is wrong."""

import ctypes
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from vramd_common.reasons import Reason

from vramd_worker.engine import DeviceMemory, EngineError
from vramd_worker.llama.breakdown import memory_of
from vramd_worker.llama.context import Chunk, NativeContext
from vramd_worker.llama.ggml import ggml_of, load_backends
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.native import bind, native_log
from vramd_worker.llama.parameters import (
    ContextParameters,
    LlamaSpec,
    check,
    context_parameters,
    model_parameters,
)
from vramd_worker.llama.vocabulary import Around, Vocabulary, around, vocabulary_of

_UNSUPPORTED = re.compile(
    r"unknown (model architecture|pre-tokenizer type)|unsupported|not supported|unknown tokenizer"
)
_OUT_OF_MEMORY = re.compile(r"failed to (allocate|reserve)|unable to allocate|out of memory|bad_alloc")


_VARIABLES = {
    "CUDA_VISIBLE_DEVICES": ("CUDA", ""),
    # HIP takes an empty list for none at all, and falls back on CUDA's.
    "HIP_VISIBLE_DEVICES": ("ROCm", "-1"),
    "ROCR_VISIBLE_DEVICES": ("ROCm", "-1"),
    "GGML_VK_VISIBLE_DEVICES": ("Vulkan", ""),
}
"""Variables that hide a backend's devices: the prefix of their names, and the value that hides all."""


class Opened(NamedTuple):
    """A loaded model that is ready to compute."""

    model: NativeModel
    context: NativeContext
    context_tokens: int
    """Most tokens of one sequence."""
    embeds: bool
    """Whether it gives embeddings, and no text."""
    vocabulary: Vocabulary
    around: Around
    """Tokens around a text that is embedded."""
    memory: tuple[DeviceMemory, ...]
    """As llama.cpp counts it after a first batch; empty where this build cannot tell."""


def check_file(path: str) -> None:
    """Raises EngineError unless the path is a regular file that begins as a GGUF. Never blocks on a FIFO."""
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


def show_devices(spec: LlamaSpec) -> None:
    """Shows this process the devices that it is to use, and as few others as possible. Before the first backend.

    A backend may take memory on each device that it sees. Devices other than NVIDIA's are numbered over all devices of
    their backend, so all of these stay visible.
    """
    hide_devices(besides=spec.device_names)
    os.environ.update(spec.environment)


def hide_devices(besides: Sequence[str] = ()) -> None:
    """Hides the devices of each backend that has none of these names. Before the first backend."""
    for variable, (beginning, nothing) in _VARIABLES.items():
        if not any(name.startswith(beginning) for name in besides):
            os.environ[variable] = nothing


def start_engine(untested: bool) -> ModuleType:
    """Binds llama.cpp, takes over its log and loads its backends. Raises EngineError.

    A backend looks at its devices as it is loaded: those that it must not see are hidden before.
    """
    library = bind(untested)
    native_log(library)
    load_backends(library)
    library.llama_backend_init()
    return library


def open_model(library: ModuleType, spec: LlamaSpec, threads: int, progress: Callable[[float], None]) -> Opened:
    """Reads the weights, makes a context and computes a first batch; blocks. Raises EngineError."""
    check(spec)
    devices = [ggml_of(library).device(name) for name in spec.device_names]
    model = _read_weights(library, spec, devices, progress)
    try:
        if problem := model.unsupported_kind:
            raise EngineError(Reason.MODEL_UNSUPPORTED, problem)
        parameters = context_parameters(library, model, spec, threads, bool(devices))
        return _open_context(library, model, spec, parameters)
    except EngineError:
        model.close()
        raise


def _read_weights(
    library: ModuleType, spec: LlamaSpec, devices: Sequence[int], progress: Callable[[float], None]
) -> NativeModel:
    parameters = model_parameters(library, spec, devices)

    def report(share: float, _data: int | None) -> bool:
        progress(share)
        return True

    parameters.values.progress_callback = callback = library.llama_progress_callback(report)
    native_log(library).errors.clear()
    handle = library.llama_model_load_from_file(os.fsencode(spec.path), parameters.values)
    del callback
    if handle is None:
        raise load_error(library, spec, Reason.MODEL_FILE_INVALID, "llama.cpp cannot load the file")
    return NativeModel(library, int(handle))


def _open_context(library: ModuleType, model: NativeModel, spec: LlamaSpec, parameters: ContextParameters) -> Opened:
    surroundings = reads_by(library, model, parameters.embeds)
    with ThreadPoolExecutor(1) as beside:
        # The largest vocabularies take as long as the context and its first batch do.
        reading = beside.submit(vocabulary_of, library, model)
        context = _warm_context(library, model, spec, parameters)
        vocabulary = reading.result()
    memory = memory_of(library, context.handle, model, parameters.embeds) or ()
    context_tokens = min(parameters.limit_tokens, context.sequence_cells)
    return Opened(model, context, context_tokens, parameters.embeds, vocabulary, surroundings, memory)


def _warm_context(
    library: ModuleType, model: NativeModel, spec: LlamaSpec, parameters: ContextParameters
) -> NativeContext:
    native_log(library).errors.clear()
    handle = library.llama_init_from_model(model.handle, parameters.values)
    if handle is None:
        raise load_error(library, spec, Reason.MODEL_UNSUPPORTED, "llama.cpp cannot make a context")
    swa_full = bool(parameters.values.swa_full)
    context = NativeContext(library, model, int(handle), parameters.embeds, swa_full=swa_full)
    library.llama_set_abort_callback(handle, library.ggml_abort_callback(_strlen_address()), context.abort_address)
    whole = spec.warm_up_batch and parameters.values.op_offload
    _warm_up(context, model, int(parameters.values.n_ubatch) if whole else 1, generates=not parameters.embeds)
    return context


def reads_by(library: ModuleType, model: NativeModel, embeds: bool) -> Around:
    """Returns the tokens around a text. Raises EngineError(MODEL_UNSUPPORTED) if the model can read none."""
    if not model.has_tokenizer:
        raise EngineError(Reason.MODEL_UNSUPPORTED, "the file has no tokenizer, so the model can read no text")
    surroundings = around(library, model)
    if embeds and surroundings.missing:
        problem = f"the vocabulary has no {surroundings.missing}, which belongs beside each text that is embedded"
        raise EngineError(Reason.MODEL_UNSUPPORTED, problem)
    return surroundings


def _warm_up(context: NativeContext, model: NativeModel, tokens: int, *, generates: bool) -> None:
    """Computes a batch, so that a backend takes its working memory now and not with the first request."""
    token = model.bos if model.bos is not None else 0
    tokens = min(max(tokens, 2) if generates else tokens, context.batch_tokens, context.cells)
    lengths = [min(context.sequence_cells, tokens - at) for at in range(0, tokens, context.sequence_cells)]
    chunks = [Chunk(slot, [token] * length, position=0, output=True) for slot, length in enumerate(lengths)]
    _, ends = context.compute(chunks)
    if generates:
        context.logits.learn(ends[0])
        context.learn_memory(lengths[0])
    context.forget_all(wipe=generates and not context.logits.are_numbers(ends[0]))


def _strlen_address() -> int:
    """Returns the address of the C library's `strlen`.

    It serves as llama.cpp's abort callback: of a C string it is true unless the string is empty. llama.cpp calls it
    after each operation of a graph; a callback in Python would take the GIL thousands of times per token.
    """
    libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    address = ctypes.cast(libc.strlen, ctypes.c_void_p).value
    assert address is not None
    return address


def load_error(library: ModuleType, spec: LlamaSpec, otherwise: Reason, summary: str) -> EngineError:
    """Makes an error of what llama.cpp printed; its last lines are the most general ones."""
    text = "; ".join(native_log(library).errors)
    message = f"{summary}: {text[:600]}" if text else summary
    if _OUT_OF_MEMORY.search(text):
        size = re.search(r"buffer of size (\d+)", text)
        return EngineError(
            Reason.MEMORY_EXHAUSTED,
            message,
            device=", ".join(spec.devices),
            neededBytes=size[1] if size else 0,
            freeBytes=0,
            heldBy="",
        )
    return EngineError(Reason.MODEL_UNSUPPORTED if _UNSUPPORTED.search(text) else otherwise, message)
