"""Writes the skeleton of a model: a GGUF file with its hyper-parameters and table of tensors, no tokenizer, no weights.

From it llama.cpp tells in milliseconds what a load will need (`no_alloc`), and what it parses for that was made here:
of the model's own bytes nothing gets in that the bounded reader has not read and these checks have not passed.
Keys and limits are llama.cpp's (src/llama-arch.cpp, src/llama-vocab.cpp, ggml/src/gguf.cpp).
"""

import hashlib
import os
import re
import struct
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from vramd_common.reasons import Reason

from .gguf_tables import ARRAY, SCALARS, STRING, TENSOR_TYPES
from .gguf_values import Elements, Header, Tensor, UnreadableModelError, Value

_U32 = 4
_VERSION = 3
_LARGEST_BYTES = 1 << 42
_LARGEST_HEAD_BYTES = 1 << 22
_LARGEST_VOCABULARY = 1 << 22
_LONGEST_TENSOR_NAME = 63
"""GGML_MAX_NAME, less the zero behind it."""
_LONGEST_TEXT = 255
_MOST_TEXTS = 1024

_ARCHITECTURE = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NAMESPACES = frozenset({"general", "tokenizer", "split", "adapter"})
"""Prefixes of keys that are no architecture."""
_FURTHER_KEYS = frozenset(
    (
        *("general.architecture", "general.alignment"),
        *("xielu.alpha_n", "xielu.alpha_p", "xielu.beta", "xielu.eps"),  # of apertus
        "tokenizer.ggml.token_type_count",  # a length of the tensor `token_types`
    )
)
"""Hyper-parameters that are not in the architecture's own namespace."""


@dataclass(frozen=True)
class _Skeleton:
    head: bytes
    """All but the weights."""
    size_bytes: int


def skeleton_key(headers: Sequence[Header]) -> str:
    """A digest (64 hexadecimal digits) of the whole skeleton: equal ones need equally much of every device.

    `headers` are those of the model's files, the first shard first. Raises UnreadableModelError as `write_skeleton`.
    """
    return hashlib.sha256(_skeleton(headers).head).hexdigest()


def write_skeleton(headers: Sequence[Header], path: Path) -> None:
    """Writes one file (0600, a few KiB on disk, as large as the model to look at), replacing what is there, at once.

    `headers` are those of the model's files, the first shard first. Raises UnreadableModelError for a model that has
    no skeleton, and OSError where the folder takes no such file; then nothing stays behind.
    """
    skeleton = _skeleton(headers)
    descriptor, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(skeleton.head)
            extend(file, skeleton.size_bytes)
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink()
        raise


def _skeleton(headers: Sequence[Header]) -> _Skeleton:
    tensors = [tensor for header in headers for tensor in header.tensors]
    _check_shards(headers, tensors)
    alignment = headers[0].alignment
    entries = _entries(headers[0], tensors)
    table, data_bytes = _table(tensors, alignment)
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(entries))
    head += b"".join(_text(key) + entries[key] for key in sorted(entries)) + table
    head += b"\0" * (-len(head) % alignment)
    if len(head) > _LARGEST_HEAD_BYTES:
        _refuse(f"its hyper-parameters and its table of tensors have {len(head)} bytes")
    return _Skeleton(head, len(head) + data_bytes)


def _check_shards(headers: Sequence[Header], tensors: Sequence[Tensor]) -> None:
    claimed = headers[0].metadata.get("split.count", 1)
    if isinstance(claimed, int) and claimed > 1 and claimed != len(headers):
        _refuse(f"it is one of {claimed} shards, and {len(headers)} were read", Reason.MODEL_FILE_INVALID)
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            _refuse(f"the tensor {tensor.name[:99]} is in two shards", Reason.MODEL_FILE_INVALID)
        names.add(tensor.name)


def _entries(header: Header, tensors: Iterable[Tensor]) -> dict[str, bytes]:
    """The metadata of the skeleton: type and value of each key."""
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not _ARCHITECTURE.fullmatch(architecture) or architecture in _NAMESPACES:
        _refuse("its header names no architecture", Reason.MODEL_FILE_INVALID)
    entries = {
        key: _entry(key, header.kinds[key], value)
        for key, value in header.metadata.items()
        if key in _FURTHER_KEYS or key.startswith(f"{architecture}.")
    }
    vocabulary = _vocabulary(header.metadata, architecture, tensors)
    entries["tokenizer.ggml.model"] = struct.pack("<I", STRING) + _text("none")
    entries[f"{architecture}.vocab_size"] = struct.pack("<II", _U32, vocabulary)
    return entries


def _vocabulary(metadata: Mapping[str, Value], architecture: str, tensors: Iterable[Tensor]) -> int:
    """As llama.cpp counts it: the tokens, whatever `vocab_size` says; without a tokenizer, what that says."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    said = metadata.get(f"{architecture}.vocab_size")
    if isinstance(tokens, Elements):
        count = tokens.count
    elif isinstance(said, int):
        count = said
    else:
        lengths = next((tensor.lengths for tensor in tensors if tensor.name == "token_embd.weight"), ())
        count = lengths[1] if len(lengths) > 1 else 0
    if not 0 < count <= _LARGEST_VOCABULARY:
        _refuse(f"its vocabulary has {count} tokens")
    return count


def _entry(key: str, kind: int, value: Value) -> bytes:
    if not _plain(key, _LONGEST_TEXT):
        _refuse(f"its metadata has the key {key[:99]!r}")
    if isinstance(value, Elements):
        return struct.pack("<IIQ", ARRAY, value.kind, value.count) + _elements(key, value)
    if isinstance(value, str):
        if not _plain(value, _LONGEST_TEXT):
            _refuse(f"{key} is no short text")
        return struct.pack("<I", STRING) + _text(value)
    return struct.pack("<I", kind) + struct.pack(SCALARS[kind], value)


def _elements(key: str, array: Elements) -> bytes:
    if array.kind == STRING and array.count <= _MOST_TEXTS:
        # The only texts that llama.cpp reads there are the names of a classifier's outputs, and it counts them.
        return _text("") * array.count
    if len(array.values) != array.count:
        _refuse(f"{key} has {array.count} elements")
    return struct.pack(f"<{array.count}{SCALARS[array.kind][1:]}", *array.values)


def _table(tensors: Iterable[Tensor], alignment: int) -> tuple[bytes, int]:
    """The rows, and how many bytes of weights they describe."""
    rows, offset = [], 0
    for tensor in tensors:
        if not _plain(tensor.name, _LONGEST_TENSOR_NAME):
            _refuse(f"it has a tensor of the name {tensor.name[:99]!r}")
        if tensor.type not in TENSOR_TYPES:
            _refuse(f"the tensor {tensor.name} is of the unknown type {tensor.type}")
        if not all(0 < length < 1 << 63 for length in tensor.lengths):
            _refuse(f"the tensor {tensor.name} is empty", Reason.MODEL_FILE_INVALID)
        dimensions = len(tensor.lengths)
        row = struct.pack(f"<I{dimensions}QIQ", dimensions, *tensor.lengths, tensor.type, offset)
        rows.append(_text(tensor.name) + row)
        offset += -(-tensor.size_bytes // alignment) * alignment
        if offset > _LARGEST_BYTES:
            _refuse(f"its weights have more than {_LARGEST_BYTES} bytes")
    return b"".join(rows), offset


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _plain(value: str, longest: int) -> bool:
    return 0 < len(value) <= longest and value.isascii() and value.isprintable()


def _refuse(text: str, reason: Reason = Reason.MODEL_UNSUPPORTED) -> NoReturn:
    raise UnreadableModelError(reason, text)


if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _FSCTL_SET_SPARSE = 0x900C4

    def extend(file: BinaryIO, size_bytes: int) -> None:
        """Makes the file end at `size_bytes`; what it gains reads as zeros and takes no room. Raises OSError."""
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = wintypes.HANDLE(msvcrt.get_osfhandle(file.fileno()))
        returned_bytes = wintypes.DWORD()
        if not kernel32.DeviceIoControl(
            handle, _FSCTL_SET_SPARSE, None, 0, None, 0, ctypes.byref(returned_bytes), None
        ):
            raise ctypes.WinError(ctypes.get_last_error())
        file.truncate(size_bytes)

else:

    def extend(file: BinaryIO, size_bytes: int) -> None:
        """Makes the file end at `size_bytes`; what it gains reads as zeros and takes no room. Raises OSError."""
        file.truncate(size_bytes)
