"""Virtual GPUs: devices of ggml that take no memory and compute nothing, for which llama.cpp can plan.

They answer as the CUDA backend does where memory is decided: sizes, alignment, supported operations. Layouts and rules
are those of ggml-backend-impl.h, ggml-cuda.cu and fattn.cu of the tested builds.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from vramd_worker.llama.ggml import GPU, Properties, ggml_of

MOST_GPUS = 8
API_VERSION = 2
"""GGML_BACKEND_API_VERSION."""
REGISTRY = "VRAMD"
"""Name of the backend that they are registered as."""

_TOTAL_BYTES = 1 << 40
"""Memory that each claims: none ever refuses a size, and without a split they share evenly."""
_ALIGNMENT_BYTES = 128
_ROW_PADDING = 512
"""Multiple of values to which a row of a quantised tensor is padded (MATRIX_ROW_PADDING)."""
_OFFLOAD_TOKENS = 32
"""Least batch for which operations on host weights run on the device (op_offload_min_batch_size)."""
_BASE_ADDRESS = 1 << 32
"""Pretended address of their buffers. Nothing is ever read or written there."""

_HOST_ALIGNMENT_BYTES = 32
_OPERATIONS = 90
"""Number of operations that are looked through: fewer than ggml has, with all that matter here."""

_F32, _F16 = 0, 1
_FLASH_ATTENTION_TYPES = frozenset({_F32, _F16, 2, 3, 6, 7, 8, 30})
"""Types of K and V for which CUDA has kernels: f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0, bf16."""
_SQUARE_HEADS = frozenset({40, 64, 72, 80, 96, 112, 128, 256})
_GROUPED_HEADS = {192: (128, 8), 320: (256, 32), 512: (512, 1), 576: (512, 1)}
"""Heads that several queries must share: K's size to V's size and the divisor of the number of queries."""

_Pointer = ctypes.c_void_p
_Size = ctypes.c_size_t


def _slots(*names: str) -> list[tuple[str, Any]]:
    return [(name, _Pointer) for name in names]


class _BufferType(ctypes.Structure):
    _fields_ = [
        *_slots("get_name", "alloc_buffer", "get_alignment", "get_max_size", "get_alloc_size", "is_host"),
        *_slots("device", "context"),
    ]


class _BufferCalls(ctypes.Structure):
    _fields_ = _slots(
        *("free_buffer", "get_base", "init_tensor", "memset_tensor", "set_tensor", "get_tensor"),
        *("set_tensor_2d", "get_tensor_2d", "cpy_tensor", "clear", "reset"),
    )


class _Backend(ctypes.Structure):
    _fields_ = _slots(
        "guid",
        *("get_name", "free", "set_tensor_async", "get_tensor_async", "set_tensor_2d_async", "get_tensor_2d_async"),
        *("cpy_tensor_async", "synchronize", "graph_plan_create", "graph_plan_free", "graph_plan_update"),
        *("graph_plan_compute", "graph_compute", "event_record", "event_wait", "graph_optimize"),
        *("device", "context"),
    )


class _Device(ctypes.Structure):
    _fields_ = _slots(
        *("get_name", "get_description", "get_memory", "get_type", "get_props", "init_backend", "get_buffer_type"),
        *("get_host_buffer_type", "buffer_from_host_ptr", "supports_op", "supports_buft", "offload_op"),
        *("event_new", "event_free", "event_synchronize", "registry", "context"),
    )


class _Registry(ctypes.Structure):
    _fields_ = [
        ("api_version", ctypes.c_int),
        *_slots("get_name", "get_device_count", "get_device", "get_proc_address", "context"),
    ]


class _Tensor(ctypes.Structure):
    """ggml_tensor."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("buffer", _Pointer),
        ("ne", ctypes.c_int64 * 4),
        ("nb", _Size * 4),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * 16),
        ("flags", ctypes.c_int32),
        ("src", _Pointer * 10),
        ("view_src", _Pointer),
        ("view_offs", _Size),
        ("data", _Pointer),
        ("name", ctypes.c_char * 64),
        ("extra", _Pointer),
        ("padding", ctypes.c_char * 8),
    ]


_TENSOR_BYTES = ctypes.sizeof(_Tensor)
_OBJECT_BYTES = 32
"""Header of each tensor in ggml's memory."""


class VirtualGpus:
    """All virtual GPUs, registered with ggml while the process lives. Made by `virtual_gpus`."""

    def __init__(self, library: ModuleType) -> None:
        ggml = ggml_of(library)
        self._kept: list[object] = []
        self._nbytes = ggml.function("ggml_nbytes", _Size, [_Pointer])
        self._row_size = ggml.function("ggml_row_size", _Size, [ctypes.c_int, ctypes.c_int64])
        self._nrows = ggml.function("ggml_nrows", ctypes.c_int64, [_Pointer])
        self._is_quantised = cache(ggml.function("ggml_is_quantized", ctypes.c_bool, [ctypes.c_int]))
        self._init_buffer = ggml.function(
            "ggml_backend_buffer_init", _Pointer, [_Pointer, _BufferCalls, _Pointer, _Size]
        )
        operation = ggml.function("ggml_op_name", ctypes.c_char_p, [ctypes.c_int])
        numbers = {operation(number).decode(): number for number in range(_OPERATIONS)}
        self._flash_attention = numbers["FLASH_ATTN_EXT"]
        self._one_row = numbers["GET_ROWS"]
        self._rows_in = {numbers["MUL_MAT"]: 1, numbers["MUL_MAT_ID"]: 2, numbers["ROPE"]: 2}
        self._buffer_calls = _BufferCalls(
            free_buffer=self._callback(None, [_Pointer], lambda _: None),
            get_base=self._callback(_Pointer, [_Pointer], lambda _: _BASE_ADDRESS),
            clear=self._callback(None, [_Pointer, ctypes.c_uint8], lambda *_: None),
            set_tensor=self._callback(None, [_Pointer] * 3 + [_Size] * 2, lambda *_: None),
        )
        self._registry = _Registry(API_VERSION)
        self.handles = [self._device(number) for number in range(MOST_GPUS)]
        self._registry.get_name = self._text_callback(REGISTRY)
        self._registry.get_device_count = self._callback(_Size, [_Pointer], lambda _: MOST_GPUS)
        self._registry.get_device = self._callback(_Pointer, [_Pointer, _Size], lambda _, at: self.handles[at])
        self._registry.get_proc_address = self._callback(_Pointer, [_Pointer, ctypes.c_char_p], lambda *_: None)
        ggml.function("ggml_backend_register", None, [_Pointer])(ctypes.addressof(self._registry))

    def _device(self, number: int) -> int:
        device, backend, own, pinned = _Device(), _Backend(), _BufferType(), _BufferType()
        address = ctypes.addressof(device)
        name = self._text(f"{REGISTRY}{number}")
        guid = (ctypes.c_uint8 * 16)(*f"vramd virtual {number:02}".encode())
        self._kept += [device, backend, own, pinned, guid]

        own.get_name = self._text_callback(f"{REGISTRY}{number}")
        own.alloc_buffer = pinned.alloc_buffer = self._callback(_Pointer, [_Pointer, _Size], self._allocate)
        own.get_alignment = self._callback(_Size, [_Pointer], lambda _: _ALIGNMENT_BYTES)
        own.get_alloc_size = self._callback(_Size, [_Pointer, _Pointer], self._alloc_size)
        pinned.get_name = self._text_callback(f"{REGISTRY}{number}_Host")
        # The same as the CPU's: pinned memory is laid out for it.
        pinned.get_alignment = self._callback(_Size, [_Pointer], lambda _: _HOST_ALIGNMENT_BYTES)
        pinned.is_host = self._callback(ctypes.c_bool, [_Pointer], lambda _: True)
        own.device = pinned.device = backend.device = address

        backend.guid = ctypes.addressof(guid)
        backend.get_name = self._text_callback(f"{REGISTRY}{number}")
        backend.free = self._callback(None, [_Pointer], lambda _: None)

        def memory(_device: int, free: Any, total: Any) -> None:
            free[0] = total[0] = _TOTAL_BYTES

        def properties(_device: int, found: Any) -> None:
            found = found[0]
            found.name = found.description = ctypes.c_char_p(name).value
            found.memory_free = found.memory_total = _TOTAL_BYTES
            found.type = GPU
            can = found.capabilities
            can.asynchronous = can.host_buffer = can.events = can.mmap_support = True

        sizes = ctypes.POINTER(_Size)
        device.get_name = device.get_description = backend.get_name
        device.get_memory = self._callback(None, [_Pointer, sizes, sizes], memory)
        device.get_type = self._callback(ctypes.c_int, [_Pointer], lambda _: GPU)
        device.get_props = self._callback(None, [_Pointer, ctypes.POINTER(Properties)], properties)
        device.init_backend = self._address_callback([_Pointer, ctypes.c_char_p], backend)
        device.get_buffer_type = self._address_callback([_Pointer], own)
        device.get_host_buffer_type = self._address_callback([_Pointer], pinned)
        device.supports_op = self._callback(ctypes.c_bool, [_Pointer, _Pointer], self._supports)
        own_address = ctypes.addressof(own)
        device.supports_buft = self._callback(ctypes.c_bool, [_Pointer, _Pointer], lambda _, one: one == own_address)
        device.offload_op = self._callback(ctypes.c_bool, [_Pointer, _Pointer], self._offloads)
        device.registry = ctypes.addressof(self._registry)
        return address

    def _allocate(self, buffer_type: int, size: int) -> int:
        return int(self._init_buffer(buffer_type, self._buffer_calls, None, size))

    def _alloc_size(self, _type: int, address: int) -> int:
        """ggml_backend_cuda_buffer_type_get_alloc_size."""
        size = int(self._nbytes(address))
        tensor = _Tensor.from_address(address)
        if tensor.op == self._flash_attention:
            size = _with_f16_copies(tensor, size)
        if self._is_quantised(tensor.type) and (over := tensor.ne[0] % _ROW_PADDING):
            size += int(self._row_size(tensor.type, _ROW_PADDING - over))
        return size

    def _supports(self, _device: int, address: int) -> bool:
        """Says that CUDA computes all that llama.cpp asks for, except some shapes of flash attention."""
        tensor = _Tensor.from_address(address)
        return tensor.op != self._flash_attention or self._attends(tensor)

    def _attends(self, tensor: _Tensor) -> bool:
        """Whether there is a kernel (ggml_cuda_get_best_fattn_kernel)."""
        query, key, value = (_Tensor.from_address(tensor.src[at]) for at in range(3))
        mask = None if tensor.src[3] is None else _Tensor.from_address(tensor.src[3])
        if not {key.type, value.type} <= _FLASH_ATTENTION_TYPES or (mask is not None and mask.ne[2] != 1):
            return False
        if key.ne[0] in _SQUARE_HEADS:
            return bool(value.ne[0] == key.ne[0])
        if key.ne[0] not in _GROUPED_HEADS or mask is None:
            return False
        value_size, multiple = _GROUPED_HEADS[key.ne[0]]
        queries = query.ne[2] // key.ne[2]
        slope = ctypes.c_float.from_buffer(tensor.op_params, 4).value
        aligned = all(
            self._is_quantised(one.type) or all(one.nb[at] % 16 == 0 for at in (1, 2, 3))
            for one in (query, key, value, mask)
        )
        grouped = queries >= 2 and slope == 0 and key.ne[1] % 256 == 0 and aligned
        return bool(grouped and value.ne[0] == value_size and queries % multiple == 0)

    def _offloads(self, _device: int, address: int) -> bool:
        """ggml_backend_cuda_device_offload_op."""
        tensor = _Tensor.from_address(address)
        if tensor.op == self._one_row:
            return False
        at = self._rows_in.get(tensor.op)
        return int(self._nrows(address) if at is None else tensor.ne[at]) >= _OFFLOAD_TOKENS

    def _callback(self, result: Any, arguments: list[Any], function: Callable[..., Any]) -> int | None:
        made = ctypes.CFUNCTYPE(result, *arguments)(function)
        self._kept.append(made)
        return ctypes.cast(made, _Pointer).value

    def _address_callback(self, arguments: list[Any], structure: ctypes.Structure) -> int | None:
        address = ctypes.addressof(structure)
        return self._callback(_Pointer, arguments, lambda *_: address)

    def _text_callback(self, text: str) -> int | None:
        address = self._text(text)
        return self._callback(_Pointer, [_Pointer], lambda _: address)

    def _text(self, text: str) -> int:
        buffer = ctypes.create_string_buffer(text.encode())
        self._kept.append(buffer)
        return ctypes.addressof(buffer)


def _with_f16_copies(tensor: _Tensor, size: int) -> int:
    """Adds f16 copies of K and V, if they are of another type (ggml_cuda_flash_attn_ext_get_alloc_size).

    Kernels for one or two tokens need none, but they are never the largest computation.
    """
    key, value = (_Tensor.from_address(tensor.src[at]) for at in (1, 2))
    if key.type != _F16:
        size = _padded(size) + 2 * key.ne[0] * key.ne[1] * key.ne[2] * key.ne[3]
    same = value.view_src is not None and (
        value.view_src == tensor.src[1] or (value.view_src == key.view_src and value.view_offs == key.view_offs)
    )
    if value.type != _F16 and not same:
        size = _padded(size) + 2 * value.ne[0] * value.ne[1] * value.ne[2] * value.ne[3]
    return int(size)


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


@cache
def virtual_gpus(library: ModuleType) -> VirtualGpus:
    """Returns those of this process; the first call registers them. Raises RuntimeError for an unknown ggml."""
    ggml = ggml_of(library)
    first = ggml.function("ggml_backend_reg_get", _Pointer, [_Size])(0)
    if (version := _Registry.from_address(first).api_version) != API_VERSION:
        raise RuntimeError(f"the backends of this ggml are of version {version}, not {API_VERSION}")
    overhead = int(ggml.function("ggml_tensor_overhead", _Size, [])())
    if overhead != _TENSOR_BYTES + _OBJECT_BYTES:
        raise RuntimeError(f"a tensor of this ggml has {overhead - _OBJECT_BYTES} bytes, not {_TENSOR_BYTES}")
    return VirtualGpus(library)
