"""The quote helper: says what loads would take and performs none. One JSON value per line, in both directions.

Its first line says whether it can be relied on; then each request gets one answer, in order. It imports neither gRPC
nor Jinja, so that it starts within half a second. A file that crashes llama.cpp ends this process and no other.
"""

import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from types import ModuleType
from typing import Any

from vramd_common.reasons import Reason

from vramd_worker.engine import DeviceMemory, EngineError
from vramd_worker.llama.dry_run import plan
from vramd_worker.llama.ggml import INTEGRATED_GPU, Device, ggml_of
from vramd_worker.llama.load import hide_devices, start_engine
from vramd_worker.llama.native import probe
from vramd_worker.llama.parameters import LlamaSpec
from vramd_worker.llama.self_check import problem_of
from vramd_worker.llama.virtual_gpu import virtual_gpus

UNRELIABLE = 69
"""Exit code when dry runs cannot be relied on here; the first line says why."""

_REFUSED = frozenset({Reason.MODEL_FILE_INVALID, Reason.MODEL_UNSUPPORTED, Reason.FIELD_INVALID})
"""Reasons for which a load would fail as the dry run does; after any other it is unknown how a load would end."""

_READ_BYTES = 64 * 1024
_MOST_LINE_BYTES = 1024 * 1024

Answer = dict[str, Any]


def run(requests_fd: int, more: bytes, answers_fd: int) -> None:
    """Answers until the requests end. Called once, by `boot`; `more` are bytes of requests already read."""
    faulthandler.enable()
    # Ctrl-C in the supervisor's terminal is the supervisor's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # CUDA and HIP take memory of a card when asked about it; their cards are known and planned for without asking.
    hide_devices(besides=("Vulkan",))
    version = probe().version
    try:
        library = start_engine(untested=False)
        problem = problem_of(library)
    except EngineError as error:
        problem = str(error)
    _write(answers_fd, {"ready": not problem, "version": version, "problem": problem})
    if problem:
        sys.exit(UNRELIABLE)
    for line in _lines(requests_fd, more):
        _write(answers_fd, _answer(library, line))


def _answer(library: ModuleType, line: bytes) -> Answer:
    began_s = time.monotonic()
    try:
        request = json.loads(line)
        answer = {"devices": _devices(library)} if request.get("devices") is True else _plan(library, request)
    except EngineError as error:
        if error.reason in _REFUSED:
            return {"refused": error.reason.name, "message": str(error)}
        return {"problem": str(error)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"problem": f"no request that can be answered: {type(error).__name__}: {error}"}
    return answer | {"seconds": time.monotonic() - began_s}


def _plan(library: ModuleType, request: dict[str, Any]) -> Answer:
    settings = dict(request["settings"])
    shares = tuple((str(device), float(share)) for device, share in settings.pop("shares", ()))
    spec = LlamaSpec(path=str(request["path"]), shares=shares, **settings)
    devices = [ggml_of(library).device(name) for name in request["devices"]]
    found = plan(library, spec, devices, whole=request.get("whole") is True)
    return {
        "host": _sizes(found.host),
        "gpus": [_sizes(one) for one in found.devices],
        "context_tokens": found.context_tokens,
    }


def _devices(library: ModuleType) -> list[Answer]:
    virtual = set(virtual_gpus(library).handles)
    return [_described(one) for one in ggml_of(library).devices() if one.handle not in virtual]


def _described(device: Device) -> Answer:
    kind = "igpu" if device.type == INTEGRATED_GPU else "gpu"
    return {key: value for key, value in device._asdict().items() if key != "handle"} | {"type": kind}


def _sizes(memory: DeviceMemory) -> Answer:
    return {key: value for key, value in asdict(memory).items() if key != "device"}


def _lines(source: int, more: bytes) -> Iterator[bytes]:
    """Yields whole lines until the source ends. Raises ValueError for one that is too long."""
    pending = more
    while True:
        *lines, pending = pending.split(b"\n")
        yield from lines
        if len(pending) > _MOST_LINE_BYTES:
            raise ValueError(f"a request of more than {_MOST_LINE_BYTES} bytes")
        read = os.read(source, _READ_BYTES)
        if not read:
            return
        pending += read


def _write(target: int, value: Answer) -> None:
    left = json.dumps(value).encode() + b"\n"
    while left:
        left = left[os.write(target, left) :]
