"""Reads llama.cpp's own count of the memory that a context and its model take on each device.

A C++ function returns it as a map, whose layout is known for libstdc++: it is read on Linux only, and only of tested
builds; elsewhere there is no count.
"""

import ctypes
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

from vramd_worker.engine import DeviceMemory
from vramd_worker.llama.ggml import ggml_of
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.native import is_tested

_SYMBOL = "_Z26llama_get_memory_breakdownPK13llama_context"
_DELETE = "_ZdlPv"
_MOST_TYPES = 256
"""Types of buffers; if there are more, the map was misread."""

_Pointer = ctypes.c_void_p


class _Map(ctypes.Structure):
    """std::map of libstdc++: the comparison, the head of the tree, the number of nodes."""

    _fields_ = [
        ("comparison", ctypes.c_size_t),
        ("colour", ctypes.c_size_t),
        ("root", _Pointer),
        ("leftmost", _Pointer),
        ("rightmost", _Pointer),
        ("count", ctypes.c_size_t),
    ]


class _Node(ctypes.Structure):
    """A node of its tree, with the key and the value of this map (llama-ext.h: llama_memory_breakdown_data)."""

    _fields_ = [
        ("colour", ctypes.c_size_t),
        ("parent", _Pointer),
        ("left", _Pointer),
        ("right", _Pointer),
        ("buffer_type", _Pointer),
        ("model", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    ]


class _Row(NamedTuple):
    buffer_type: int
    weights_bytes: int
    context_bytes: int
    compute_bytes: int


def memory_of(library: ModuleType, context: int, model: NativeModel, embeds: bool) -> tuple[DeviceMemory, ...] | None:
    """Returns what a context takes together with its model, the host first; None where this build cannot tell.

    The host's copy of the results is added to its computing memory: llama.cpp's own count leaves it out
    (llama-context.cpp: memory_breakdown adds up the weights, the memory module and the scheduler; buf_output is none of
    them).
    """
    rows = _rows(library, context)
    if rows is None:
        return None
    ggml = ggml_of(library)
    sums = {"": [0, 0, output_bytes(library, context, model, embeds)]}
    for row in rows:
        held = sums.setdefault(ggml.device_of(row.buffer_type), [0, 0, 0])
        for kind, size in enumerate(row[1:]):
            held[kind] += size
    return tuple(DeviceMemory(device, *sizes) for device, sizes in sums.items())


def output_bytes(library: ModuleType, context: int, model: NativeModel, embeds: bool) -> int:
    """Returns the bytes that the host's copy of the results can grow to (llama-context.cpp, output_reserve).

    A row has a 32-bit float for each token of the vocabulary, whatever is asked for, and for each dimension of an
    embedding. There is a row for each sequence from the start; with embeddings each token of a batch takes one, because
    pooling needs it.
    """
    sequences, batch = int(library.llama_n_seq_max(context)), int(library.llama_n_batch(context))
    if embeds:
        return 4 * max(sequences, batch) * (model.vocabulary_tokens + model.embedding_dimensions)
    return 4 * sequences * model.vocabulary_tokens


def is_readable(library: ModuleType) -> bool:
    """Whether this build's count can be read."""
    return sys.platform == "linux" and is_tested(library) and all(hasattr(library._lib, n) for n in (_SYMBOL, _DELETE))


def _rows(library: ModuleType, context: int) -> list[_Row] | None:
    if not is_readable(library):
        return None
    ggml = ggml_of(library)
    # The map is returned in memory that the caller provides, as C returns a structure of this size.
    found = ggml.function(_SYMBOL, _Map, [_Pointer])(context)
    delete = ggml.function(_DELETE, None, [_Pointer])
    if found.count > _MOST_TYPES:
        return None
    rows = []
    for address in list(_nodes(found.root)):
        node = _Node.from_address(address)
        rows.append(_Row(node.buffer_type, node.model, node.context, node.compute))
        # We own the map, so we free its nodes.
        delete(address)
    return rows if len(rows) == found.count else None


def _nodes(address: int | None) -> Iterator[int]:
    if address is not None:
        node = _Node.from_address(address)
        yield from _nodes(node.left)
        yield address
        yield from _nodes(node.right)
