"""Devices and buffer types of ggml, by the calls of ggml-backend.h that the binding lacks."""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError
from vramd_worker.llama.native import library_folder

CPU, GPU, INTEGRATED_GPU, ACCELERATOR = 0, 1, 2, 3
"""Types of devices, by their numbers in ggml-backend.h."""

_Handle = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_backend_buft_get_device": (_Handle, [_Handle]),
    "ggml_backend_buft_is_host": (ctypes.c_bool, [_Handle]),
    "ggml_backend_buft_name": (ctypes.c_char_p, [_Handle]),
    "ggml_backend_dev_buffer_type": (_Handle, [_Handle]),
    "ggml_backend_dev_by_name": (_Handle, [ctypes.c_char_p]),
    "ggml_backend_dev_by_type": (_Handle, [ctypes.c_int]),
    "ggml_backend_dev_count": (ctypes.c_size_t, []),
    "ggml_backend_dev_get": (_Handle, [ctypes.c_size_t]),
    "ggml_backend_dev_get_props": (None, [_Handle, _Handle]),
    "ggml_backend_dev_name": (ctypes.c_char_p, [_Handle]),
    "ggml_backend_dev_type": (ctypes.c_int, [_Handle]),
    "ggml_backend_load": (_Handle, [ctypes.c_char_p]),
    "ggml_backend_load_all_from_path": (None, [ctypes.c_char_p]),
}


class Capabilities(ctypes.Structure):
    """ggml_backend_dev_caps."""

    _fields_ = [
        ("asynchronous", ctypes.c_bool),
        ("host_buffer", ctypes.c_bool),
        ("buffer_from_host_ptr", ctypes.c_bool),
        ("events", ctypes.c_bool),
        ("mmap_support", ctypes.c_bool),
    ]


class Properties(ctypes.Structure):
    """ggml_backend_dev_props."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities", Capabilities),
    ]


class Device(NamedTuple):
    """A device as its backend describes it."""

    handle: int
    name: str
    description: str
    type: int
    total_bytes: int
    free_bytes: int
    id: str
    """PCI address in lower case; empty if the backend gives none."""


class Ggml:
    """Calls the ggml that llama.cpp itself uses. Made by `ggml_of`."""

    def __init__(self, library: ModuleType) -> None:
        self._libraries = [library._lib]
        if sys.platform == "win32":
            # Only on Windows a library does not export what its dependencies do; these are already loaded.
            folder = library_folder()
            self._libraries += [ctypes.CDLL(str(folder / name)) for name in ("ggml.dll", "ggml-base.dll")]

    def function(self, name: str, result: Any, arguments: list[Any]) -> Callable[..., Any]:
        """Returns a C function. Raises AttributeError if no library has it.

        It is looked up through libllama: other copies of the same libraries may lie beside it, and opening one by its
        file name would bring a second set of devices and buffer types into the process.
        """
        found = next((getattr(one, name) for one in self._libraries if hasattr(one, name)), None)
        if found is None:
            raise AttributeError(name)
        # A new prototype: the library's function object is shared with the binding.
        address = ctypes.cast(found, ctypes.c_void_p).value
        assert address is not None
        return ctypes.CFUNCTYPE(result, *arguments)(address)

    def call(self, name: str, *arguments: object) -> Any:
        """Calls one of the functions of `_SIGNATURES`."""
        return _bound(self, name)(*arguments)

    def text(self, name: str, handle: int) -> str:
        return bytes(self.call(name, handle) or b"").decode("utf-8", "replace")

    def device(self, name: str) -> int:
        """Returns the handle of the device of this name. Raises EngineError(DEVICE_UNUSABLE)."""
        handle = self.call("ggml_backend_dev_by_name", name.encode())
        if handle is None:
            there = ", ".join(one.name for one in self.devices()) or "none"
            message = f"llama.cpp has no device {name} in this process; it has {there}"
            raise EngineError(Reason.DEVICE_UNUSABLE, message, device=name)
        return int(handle)

    def devices(self) -> list[Device]:
        """Returns all devices except the CPU and its accelerators. Asking may start their drivers."""
        count = int(self.call("ggml_backend_dev_count"))
        handles = [int(self.call("ggml_backend_dev_get", number)) for number in range(count)]
        host = {CPU, ACCELERATOR}
        return [
            self.describe(handle) for handle in handles if int(self.call("ggml_backend_dev_type", handle)) not in host
        ]

    def describe(self, handle: int) -> Device:
        found = Properties()
        self.call("ggml_backend_dev_get_props", handle, ctypes.addressof(found))
        return Device(
            handle,
            _decoded(found.name),
            _decoded(found.description),
            found.type,
            found.memory_total,
            found.memory_free,
            _decoded(found.device_id),
        )

    def device_of(self, buffer_type: int) -> str:
        """Returns the name of the device in whose memory buffers of this type lie; empty for the host.

        Host memory pinned for a device names that device, but is not the device's own type of buffer.
        """
        device = self.call("ggml_backend_buft_get_device", buffer_type)
        if device is None or int(self.call("ggml_backend_dev_type", device)) in {CPU, ACCELERATOR}:
            return ""
        own = self.call("ggml_backend_dev_buffer_type", device) == buffer_type
        if not own and self.call("ggml_backend_buft_is_host", buffer_type):
            return ""
        return self.text("ggml_backend_dev_name", device)


@cache
def ggml_of(library: ModuleType) -> Ggml:
    """Returns the one of this process."""
    return Ggml(library)


@cache
def load_backends(library: ModuleType) -> None:
    """Loads the backends that are separate libraries, once: starting llama.cpp does not. Raises EngineError.

    Those are all backends of a dynamic build, which has not even a CPU before, and the one of GGML_BACKEND_PATH.
    """
    ggml = ggml_of(library)
    if ggml.call("ggml_backend_dev_by_type", CPU) is None:
        ggml.call("ggml_backend_load_all_from_path", os.fsencode(library_folder()))
        return
    path = os.environ.get("GGML_BACKEND_PATH")
    if path and ggml.call("ggml_backend_load", os.fsencode(path)) is None:
        missing = "" if Path(path).exists() else ": there is no such file"
        message = f"the backend of GGML_BACKEND_PATH, {path}, cannot be loaded{missing}"
        raise EngineError(Reason.ENGINE_MISSING, message, engine="llama")


@cache
def _bound(ggml: Ggml, name: str) -> Callable[..., Any]:
    return ggml.function(name, *_SIGNATURES[name])


def _decoded(text: bytes | None) -> str:
    return (text or b"").decode("utf-8", "replace")
