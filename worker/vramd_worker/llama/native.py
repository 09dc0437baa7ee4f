"""Finds, checks and binds llama-cpp-python, and takes over its log.

The binding is passed on as a plain module; each module that calls it converts the results to its own types.
"""

import ctypes
import importlib
import importlib.util
import os
import re
import sys
from collections import deque
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError

TESTED_VERSIONS = frozenset({"0.3.36"})

_STRUCT_BYTES = {"llama_model_params": 80, "llama_context_params": 160, "llama_batch": 56, "llama_token_data": 12}
"""Sizes on every 64-bit system."""

_MODEL_DEFAULTS = {"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "use_extra_bufts": True, "no_alloc": False}
_CONTEXT_DEFAULTS = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_outputs_max": 0,
    "n_outputs_max_per_seq": 1,
    "flash_attn_type": -1,
    "yarn_ext_factor": -1.0,
    "type_v": 1,
    "offload_kqv": True,
    "swa_full": True,
    "kv_unified": False,
}
"""Defaults that the library fills in, from the first field to the last: they differ if the layout has shifted."""

_ARGUMENTS = {
    "llama_backend_init": 0,
    "llama_decode": 2,
    "llama_detokenize": 7,
    "llama_encode": 2,
    "llama_free": 1,
    "llama_get_causal_attn": 1,
    "llama_get_embeddings_seq": 2,
    "llama_get_logits_ith": 2,
    "llama_get_memory": 1,
    "llama_init_from_model": 2,
    "llama_log_set": 2,
    "llama_max_devices": 0,
    "llama_memory_clear": 2,
    "llama_memory_seq_cp": 5,
    "llama_memory_seq_pos_min": 2,
    "llama_memory_seq_rm": 4,
    "llama_model_chat_template": 2,
    "llama_model_free": 1,
    "llama_model_get_vocab": 1,
    "llama_model_has_decoder": 1,
    "llama_model_has_encoder": 1,
    "llama_model_is_diffusion": 1,
    "llama_model_is_recurrent": 1,
    "llama_model_load_from_file": 2,
    "llama_model_meta_val_str": 4,
    "llama_model_n_ctx_train": 1,
    "llama_model_n_embd_out": 1,
    "llama_model_n_swa": 1,
    "llama_model_rope_type": 1,
    "llama_n_batch": 1,
    "llama_n_ctx": 1,
    "llama_n_ctx_seq": 1,
    "llama_n_seq_max": 1,
    "llama_pooling_type": 1,
    "llama_sampler_accept": 2,
    "llama_sampler_apply": 2,
    "llama_sampler_chain_add": 2,
    "llama_sampler_chain_init": 1,
    "llama_sampler_free": 1,
    "llama_sampler_init_dist": 1,
    "llama_sampler_init_greedy": 0,
    "llama_sampler_init_min_p": 2,
    "llama_sampler_init_penalties": 5,
    "llama_sampler_init_temp": 1,
    "llama_sampler_init_top_k": 1,
    "llama_sampler_init_top_p": 2,
    "llama_sampler_sample": 3,
    "llama_set_n_threads": 3,
    "llama_token_to_piece": 6,
    "llama_tokenize": 7,
    "llama_vocab_bos": 1,
    "llama_vocab_eos": 1,
    "llama_vocab_get_add_bos": 1,
    "llama_vocab_get_add_eos": 1,
    "llama_vocab_get_attr": 2,
    "llama_vocab_get_text": 2,
    "llama_vocab_is_eog": 2,
    "llama_vocab_n_tokens": 1,
    "llama_vocab_sep": 1,
    "llama_vocab_type": 1,
}
"""Every function that we call, with the number of its arguments."""

_LOG_WARN, _LOG_ERROR, _LOG_CONTINUED = 3, 4, 5
"""Levels of ggml.h (the binding names others); the last continues the line before."""


class Build(NamedTuple):
    """The llama-cpp-python of this installation."""

    version: str
    """Empty if there is none."""
    problem: str
    """Why it cannot be used, and what to do about it; empty if it can."""
    backends: tuple[str, ...]
    """Backends that it was built with: "cpu" always, "cuda", "vulkan", "metal", …; empty without a build."""


def probe() -> Build:
    """Finds the installed build. Imports the binding, which takes a moment; touches no backend and no device."""
    try:
        library = _import_binding()
    except (ImportError, OSError, RuntimeError) as error:
        return Build("", f"llama-cpp-python cannot be used: {error}; `pip install 'vramd[llama]'` installs it", ())
    version = _version()
    return Build(version, difference(library, version), _backends())


def difference(library: ModuleType, version: str) -> str:
    """Returns how a build differs from the tested ones, and what to do about it; empty if it does not."""
    if wrong := _wrong_functions(library):
        return f"llama-cpp-python {version} cannot be used: {wrong}"
    if version not in TESTED_VERSIONS:
        wrong = f"tested with this vramd: {', '.join(sorted(TESTED_VERSIONS))}"
    else:
        wrong = _wrong_structs(library)
    return (
        f"llama-cpp-python {version} is an untested build ({wrong}); --untested-engine uses it anyway" if wrong else ""
    )


def bind(untested: bool) -> ModuleType:
    """Returns the binding's module of native calls. Raises EngineError(ENGINE_MISSING) unless it is a tested build.

    `untested` takes any version; a build in which a function is missing or has other arguments is refused even then.
    """
    found = probe()
    if not found.version:
        raise EngineError(Reason.ENGINE_MISSING, found.problem, engine="llama")
    library = _import_binding()
    problem = _wrong_functions(library) if untested else found.problem
    if problem:
        raise EngineError(Reason.ENGINE_MISSING, problem, engine="llama")
    return library


@cache
def is_tested(library: ModuleType) -> bool:
    """Whether this build is a tested one, so that its internal structures are known."""
    return not difference(library, _version())


def library_folder() -> Path:
    """Returns the folder of the binding's shared libraries."""
    return Path(os.environ.get("LLAMA_CPP_LIB_PATH") or _package_folder() / "lib")


class NativeLog:
    """Passes llama.cpp's warnings and errors to stderr; keeps the last errors to explain a failed load."""

    def __init__(self, library: ModuleType) -> None:
        """Called by `native_log` only: the library keeps calling this object."""
        self.errors: deque[str] = deque(maxlen=20)
        self.muted = False
        """Whether to print nothing: a batch is being aborted, which llama.cpp reports as a failure."""
        self._level = 0
        self._callback = library.llama_log_callback(self._take)
        library.llama_log_set(self._callback, None)

    def _take(self, level: int, text: bytes, _data: int | None) -> None:
        self._level = self._level if level == _LOG_CONTINUED else level
        if self.muted:
            return
        line = text.decode("utf-8", "replace")
        if self._level == _LOG_ERROR and line.strip():
            self.errors.append(line.strip())
        if self._level in {_LOG_WARN, _LOG_ERROR}:
            sys.stderr.write(line)


@cache
def native_log(library: ModuleType) -> NativeLog:
    """Returns the log of this process, which lives as long as the library."""
    return NativeLog(library)


@cache
def _import_binding() -> ModuleType:
    # Without this, a failed assertion of ggml starts a debugger from PATH before it lets the process die.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    package = _package()
    if "llama_cpp" in sys.modules or package.submodule_search_locations is None:
        # It is already imported as a whole, or is no package, and the import says so.
        return importlib.import_module("llama_cpp.llama_cpp")
    # The package's first lines import numpy and Jinja for its other interface: four fifths of the time. So its calls
    # are imported below a package whose code did not run, and a later import of the package still gets all of it.
    sys.modules["llama_cpp"] = importlib.util.module_from_spec(package)
    try:
        return importlib.import_module("llama_cpp.llama_cpp")
    finally:
        del sys.modules["llama_cpp"]


def _package() -> ModuleSpec:
    found = importlib.util.find_spec("llama_cpp")
    if found is None:
        raise ImportError("it is not installed")
    return found


def _package_folder() -> Path:
    return Path(str(_package().origin)).parent


@cache
def _version() -> str:
    line = re.search(r'^__version__ = "(.+)"', (_package_folder() / "__init__.py").read_text("utf-8"), re.MULTILINE)
    return line[1] if line else "of unknown version"


def _wrong_functions(library: ModuleType) -> str:
    for name, count in _ARGUMENTS.items():
        function = getattr(library, name, None)
        if function is None:
            return f"{name} is missing"
        if len(function.argtypes or ()) != count:
            return f"{name} takes {len(function.argtypes or ())} arguments, not {count}"
    return ""


def _wrong_structs(library: ModuleType) -> str:
    for name, size in _STRUCT_BYTES.items():
        if (found := ctypes.sizeof(getattr(library, name))) != size:
            return f"{name} has {found} bytes, not {size}"
    for values, defaults in (
        (library.llama_model_default_params(), _MODEL_DEFAULTS),
        (library.llama_context_default_params(), _CONTEXT_DEFAULTS),
    ):
        for field, expected in defaults.items():
            if (value := getattr(values, field, None)) != expected:
                return f"{field} is {value}, not {expected}"
    return ""


def _backends() -> tuple[str, ...]:
    """Reads the names of the shared libraries: asking the library would start its backends."""
    plug_in = os.environ.get("GGML_BACKEND_PATH")
    names = {
        match[1]
        for file in (*library_folder().glob("*ggml-*"), *([Path(plug_in)] if plug_in else ()))
        if (match := re.match(r"(?:lib)?ggml-([a-z]+)[.-]", file.name))
    }
    return ("cpu", *sorted(names - {"base", "cpu"}))
