"""Reads the header of a GGUF file: metadata and the table of tensors, nothing of the weights.

The file is not trusted: every count, length and total is bounded, and so is the time. It is opened so that nothing
can block (no FIFO, device or socket). All that goes wrong is an UnreadableModelError.
"""

import math
import os
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from vramd_common.reasons import Reason

from ..domain.exhaustion import exhausted
from .gguf_tables import ARRAY, SCALARS, STRING, TENSOR_TYPES
from .gguf_values import Elements, Header, Tensor, UnreadableModelError, Value

_LIMIT_BYTES = 128 << 20
_LIMIT_S = 5.0
_MOST_ENTRIES = 1 << 17
_MOST_TENSORS = 100_000
_MOST_ELEMENTS = 1 << 22
_LONGEST_KEY_BYTES = 1 << 20
_LONGEST_NAME_BYTES = 65_535
_LONGEST_STRING_BYTES = 64 << 20
_KEPT_STRING_BYTES = 1 << 16
_KEPT_ELEMENTS = 1024
_WINDOW_BYTES = 1 << 20
_MOST_DIMENSIONS = 4
_LARGEST_ALIGNMENT = 1 << 20

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def read_header(path: Path) -> Header:
    """Reads one file; returns within seconds whatever the file is. Raises UnreadableModelError."""
    with _opened(path) as (file, file_bytes):
        try:
            return _read(_Cursor(file, file_bytes))
        except OSError as error:
            raise UnreadableModelError(Reason.MODEL_FILE_INVALID, f"cannot be read: {error.strerror}") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        # Asked before opening as well: opening a device may do something, and Windows cannot open a folder.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableModelError(Reason.MODEL_PATH_INVALID, f"{path} is {_kind(path)}, no regular file")
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise UnreadableModelError(Reason.MODEL_FILE_MISSING, f"{path} is not there") from error
    except (OSError, ValueError) as error:
        lack = exhausted(error)
        reason = lack.reason if lack else Reason.MODEL_PATH_INVALID
        raise UnreadableModelError(reason, f"{path} cannot be opened: {error}") from error
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123  it is a descriptor
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableModelError(Reason.MODEL_PATH_INVALID, f"{path} is no regular file")
        yield file, found.st_size


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return names.get(stat.S_IFMT(mode), "a device")


def _invalid(text: str) -> NoReturn:
    raise UnreadableModelError(Reason.MODEL_FILE_INVALID, text)


class _Cursor:
    """A place in the file, and a window of bytes from there on."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self.file_bytes = file_bytes
        self._file = file
        self._window = b""
        self._start = 0
        self._place = 0
        self._ends_at_s = time.monotonic() + _LIMIT_S

    @property
    def offset(self) -> int:
        return self._start + self._place

    def check_time(self) -> None:
        if time.monotonic() > self._ends_at_s:
            _invalid(f"its header takes more than {_LIMIT_S:.0f} s to read")

    def _refill(self, count: int) -> None:
        """Moves the window here; it has at least `count` bytes then."""
        self.check_time()
        if self.offset + count > self.file_bytes:
            _invalid(f"its header ends early, at byte {self.file_bytes}")
        if self.offset + count > _LIMIT_BYTES:
            _invalid(f"its header has more than {_LIMIT_BYTES} bytes")
        self._start, self._place = self.offset, 0
        self._file.seek(self._start)
        wanted = max(count, _WINDOW_BYTES)
        self._window = b""
        while len(self._window) < count:
            more = self._file.read(wanted - len(self._window))
            if not more:
                _invalid(f"its header ends early, at byte {self._start + len(self._window)}")
            self._window += more

    def take(self, count: int) -> bytes:
        if self._place + count > len(self._window):
            self._refill(count)
        taken = self._window[self._place : self._place + count]
        self._place += count
        return taken

    def skip(self, count: int) -> None:
        if self.offset + count > self.file_bytes:
            _invalid(f"its header ends early, at byte {self.file_bytes}")
        self._place += count

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def text(self, most_bytes: int) -> str:
        length = self.u64()
        if length > most_bytes:
            _invalid(f"a text in its header claims {length} bytes")
        return self.take(length).decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        """Goes past an array of strings. This is the hot loop: a vocabulary and its merges."""
        unpack_from = _U64.unpack_from
        window, place = self._window, self._place
        for _ in range(count):
            if place + 8 > len(window):
                self._place = place
                self._refill(8)
                window, place = self._window, self._place
            length = unpack_from(window, place)[0]
            if length > _LONGEST_STRING_BYTES:
                _invalid(f"a text in its header claims {length} bytes")
            place += 8 + length
        self._place = place


def _read(cursor: _Cursor) -> Header:
    if cursor.file_bytes < 4 or cursor.take(4) != b"GGUF":
        _invalid("it is no GGUF file: the first four bytes are not GGUF")
    version = cursor.u32()
    if version and not version & 0xFFFF:
        _invalid("it is a big-endian GGUF file, which is not supported")
    if version not in (2, 3):
        _invalid(f"it is a GGUF file of version {version}; 2 and 3 are supported")
    tensor_count, entry_count = cursor.u64(), cursor.u64()
    if tensor_count > _MOST_TENSORS:
        _invalid(f"it claims {tensor_count} tensors")
    if entry_count > _MOST_ENTRIES:
        _invalid(f"it claims {entry_count} entries of metadata")
    metadata: dict[str, Value] = {}
    kinds: dict[str, int] = {}
    for _ in range(entry_count):
        cursor.check_time()
        key = cursor.text(_LONGEST_KEY_BYTES)
        if key in metadata:
            _invalid(f"{key} is there twice")
        kinds[key] = cursor.u32()
        metadata[key] = _value(cursor, kinds[key])
    alignment = _alignment(metadata)
    return Header(cursor.file_bytes, metadata, kinds, alignment, _tensors(cursor, tensor_count, alignment))


def _alignment(metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= _LARGEST_ALIGNMENT or alignment & (alignment - 1):
        _invalid("general.alignment is no power of two")
    return alignment


def _value(cursor: _Cursor, kind: int) -> Value:
    if kind == STRING:
        length = cursor.u64()
        if length > _LONGEST_STRING_BYTES:
            _invalid(f"a text in its header claims {length} bytes")
        text = cursor.take(min(length, _KEPT_STRING_BYTES)).decode("utf-8", "replace")
        cursor.skip(max(0, length - _KEPT_STRING_BYTES))
        return text
    if kind != ARRAY:
        return _scalar(cursor, _format(kind))
    kind, count = cursor.u32(), cursor.u64()
    if count > _MOST_ELEMENTS:
        _invalid(f"an array in its header claims {count} elements")
    if kind == STRING:
        cursor.skip_strings(count)
        return Elements(kind, count)
    layout = _format(kind)
    if count > _KEPT_ELEMENTS:
        cursor.skip(count * struct.calcsize(layout))
        return Elements(kind, count)
    many = f"<{count}{layout[1:]}"
    return Elements(kind, count, struct.unpack(many, cursor.take(struct.calcsize(many))))


def _format(kind: int) -> str:
    if kind == ARRAY:
        _invalid("its metadata has an array of arrays, which llama.cpp does not read")
    if kind not in SCALARS:
        _invalid(f"its metadata has a value of the unknown type {kind}")
    return SCALARS[kind]


def _scalar(cursor: _Cursor, layout: str) -> int | float | bool:
    value = struct.unpack(layout, cursor.take(struct.calcsize(layout)))[0]
    assert isinstance(value, int | float)
    return value


def _tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[Tensor, ...]:
    rows: list[tuple[Tensor, int]] = []
    names: set[str] = set()
    for _ in range(count):
        cursor.check_time()
        name = cursor.text(_LONGEST_NAME_BYTES)
        if name in names:
            _invalid(f"the tensor {name} is there twice")
        names.add(name)
        dimensions = cursor.u32()
        if dimensions > _MOST_DIMENSIONS:
            _invalid(f"the tensor {name} claims {dimensions} dimensions")
        lengths = tuple(cursor.u64() for _ in range(dimensions))
        kind, offset = cursor.u32(), cursor.u64()
        if offset % alignment:
            _invalid(f"the tensor {name} does not begin at a multiple of {alignment} bytes")
        rows.append((Tensor(name, kind, lengths, _tensor_bytes(name, kind, lengths)), offset))
    data_start = -(-cursor.offset // alignment) * alignment
    return _placed(rows, cursor.file_bytes - data_start, alignment)


def _tensor_bytes(name: str, kind: int, lengths: tuple[int, ...]) -> int:
    """0 for a type that is not in the table."""
    layout = TENSOR_TYPES.get(kind)
    if layout is None:
        return 0
    width = lengths[0] if lengths else 1
    if width % layout.block:
        _invalid(f"the tensor {name} is {width} wide, no multiple of {layout.block}")
    return math.prod(lengths) // layout.block * layout.block_bytes


def _placed(rows: list[tuple[Tensor, int]], data_bytes: int, alignment: int) -> tuple[Tensor, ...]:
    """Checks that every tensor ends inside the file; one of an unknown type ends where the next begins.

    And that each begins where the one before it ends, as llama.cpp wants it (gguf.cpp).
    """
    tensors = []
    free = 0
    for place, (tensor, offset) in enumerate(rows, start=1):
        known = tensor.type in TENSOR_TYPES
        next_offset = rows[place][1] if place < len(rows) else data_bytes
        size_bytes = tensor.size_bytes if known else max(0, next_offset - offset)
        if offset + size_bytes > data_bytes:
            missing = offset + size_bytes - data_bytes
            _invalid(f"it is cut off: the tensor {tensor.name} ends {missing} bytes behind the end of the file")
        if offset != free:
            _invalid(f"the tensor {tensor.name} begins at byte {offset} of the weights, where {free} is free")
        free = offset + -(-size_bytes // alignment) * alignment
        tensors.append(tensor if known else replace(tensor, size_bytes=size_bytes))
    return tuple(tensors)
