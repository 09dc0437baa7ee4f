"""GGUF files written by hand, byte by byte, so that each can be wrong in one place."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

F32, F16, Q8_0 = 0, 1, 8

Plain = str | int | float | bool | Sequence[str] | Sequence[int]


@dataclass(frozen=True)
class Row:
    """One tensor; its data are zeros."""

    name: str
    lengths: tuple[int, ...]
    type: int = F32
    size_bytes: int | None = None
    """None: as the type says, for F32 and F16."""


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(given: Plain) -> bytes:
    """Type and value. Whole numbers are u32, lists arrays of texts or of u32."""
    if isinstance(given, bool):
        return struct.pack("<I?", 7, given)
    if isinstance(given, int):
        return struct.pack("<II", 4, given)
    if isinstance(given, float):
        return struct.pack("<If", 6, given)
    if isinstance(given, str):
        return struct.pack("<I", 8) + text(given)
    if given and isinstance(given[0], str):
        return struct.pack("<IIQ", 9, 8, len(given)) + b"".join(text(str(item)) for item in given)
    return struct.pack("<IIQ", 9, 4, len(given)) + b"".join(struct.pack("<I", int(item)) for item in given)


def gguf(
    metadata: Mapping[str, Plain], rows: Iterable[Row] = (), *, version: int = 3, order: str = "<", data: bool = True
) -> bytes:
    table, offset = [], 0
    for row in rows:
        elements = 1
        for length in row.lengths:
            elements *= length
        size_bytes = elements * {F32: 4, F16: 2}.get(row.type, 1) if row.size_bytes is None else row.size_bytes
        table.append(
            text(row.name)
            + struct.pack("<I", len(row.lengths))
            + b"".join(struct.pack("<Q", length) for length in row.lengths)
            + struct.pack("<IQ", row.type, offset)
        )
        offset += -(-size_bytes // 32) * 32
    head = b"GGUF" + struct.pack(f"{order}I", version) + struct.pack("<QQ", len(table), len(metadata))
    head += b"".join(text(key) + value(given) for key, given in metadata.items()) + b"".join(table)
    head += b"\0" * (-len(head) % 32)
    return head + (b"\0" * offset if data else b"")


def put(path: Path, content: bytes | None = None) -> Path:
    """Writes a file, of a small model if nothing else is said, and makes its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(llama() if content is None else content)
    return path


def llama(layers: int = 2, more: Mapping[str, Plain] | None = None) -> bytes:
    """A small llama model, whole but for sense in its weights; `more` is laid over its metadata."""
    metadata: dict[str, Plain] = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.block_count": layers,
        "llama.context_length": 2048,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 128,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "a", "b"],
        "tokenizer.chat_template": "{{ messages }}",
    }
    return gguf({**metadata, **(more or {})}, llama_rows(layers))


def llama_rows(layers: int) -> list[Row]:
    """Its tensors: 1280 bytes of input, 1536 of output, 32768 + 256 of each block."""
    rows = [Row("token_embd.weight", (64, 5)), Row("output_norm.weight", (64,)), Row("output.weight", (64, 5))]
    for layer in range(layers):
        rows += [Row(f"blk.{layer}.ffn_up.weight", (64, 128)), Row(f"blk.{layer}.attn_norm.weight", (64,))]
    return rows


def projector() -> bytes:
    return gguf({"general.architecture": "clip", "general.type": "mmproj"}, [Row("v.blk.0.weight", (8,))])
