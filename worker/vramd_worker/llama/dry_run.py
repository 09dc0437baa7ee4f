"""Dry runs: llama.cpp reads the header and plans a load, and allocates nothing.

The figures come from the engine's own arithmetic with the parameters of a real load; the file may lack its data.
"""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

from vramd_common.reasons import Reason

from vramd_worker.engine import DeviceMemory, EngineError
from vramd_worker.llama.breakdown import memory_of
from vramd_worker.llama.ggml import ggml_of
from vramd_worker.llama.load import check_file, load_error, reads_by
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.native import native_log
from vramd_worker.llama.parameters import LlamaSpec, check, context_parameters, model_parameters

_THREADS = 1
"""Nothing is computed, and no size depends on the number."""


class Plan(NamedTuple):
    host: DeviceMemory
    devices: tuple[DeviceMemory, ...]
    """In the order in which they were given."""
    context_tokens: int
    """Tokens that one sequence may have."""


def plan(library: ModuleType, spec: LlamaSpec, devices: Sequence[int], *, whole: bool = False) -> Plan:
    """Plans a load on the devices of these handles; none: on the host. Raises EngineError.

    `whole` says that the file is the model and not its skeleton, so that it must be able to read texts. llama.cpp does
    allocate the memory of recurrent layers, on the host and while it plans.
    """
    check(spec)
    check_file(spec.path)
    on_device = bool(devices) and spec.gpu_layers != 0
    chosen = devices if on_device else ()
    parameters = model_parameters(library, spec, chosen)
    parameters.values.no_alloc = True
    native_log(library).errors.clear()
    handle = library.llama_model_load_from_file(os.fsencode(spec.path), parameters.values)
    if handle is None:
        raise load_error(library, spec, Reason.MODEL_FILE_INVALID, "llama.cpp cannot load the file")
    model = NativeModel(library, int(handle))
    try:
        if problem := model.unsupported_kind:
            raise EngineError(Reason.MODEL_UNSUPPORTED, problem)
        return _plan_context(library, model, spec, on_device, devices, whole=whole)
    finally:
        model.close()


def _plan_context(
    library: ModuleType,
    model: NativeModel,
    spec: LlamaSpec,
    on_device: bool,
    devices: Sequence[int],
    *,
    whole: bool,
) -> Plan:
    parameters = context_parameters(library, model, spec, _THREADS, on_device)
    if whole:
        reads_by(library, model, parameters.embeds)
    native_log(library).errors.clear()
    context = library.llama_init_from_model(model.handle, parameters.values)
    if context is None:
        raise load_error(library, spec, Reason.MODEL_UNSUPPORTED, "llama.cpp cannot make a context")
    try:
        counted = memory_of(library, int(context), model, parameters.embeds)
        if counted is None:
            raise EngineError(Reason.ENGINE_MISSING, "this build does not tell what it takes", engine="llama")
        by_name = {one.device: one for one in counted}
        names = [ggml_of(library).describe(handle).name for handle in devices]
        return Plan(
            host=by_name[""],
            devices=tuple(by_name.get(name, DeviceMemory(name, 0, 0, 0)) for name in names),
            context_tokens=min(parameters.limit_tokens, int(library.llama_n_ctx_seq(context))),
        )
    finally:
        library.llama_free(context)
