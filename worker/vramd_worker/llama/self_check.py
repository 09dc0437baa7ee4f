"""Checks that dry runs can be relied on here: a model of known size must give the known bytes."""

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from vramd_worker.engine import EngineError
from vramd_worker.llama.breakdown import is_readable
from vramd_worker.llama.dry_run import Plan, plan
from vramd_worker.llama.parameters import LlamaSpec
from vramd_worker.llama.virtual_gpu import virtual_gpus

VOCABULARY, WIDTH, FEED_FORWARD, HEADS, KEY_HEADS, CONTEXT = 320, 128, 192, 2, 1, 256
"""Shape of the model that is written; CUDA has flash attention for its heads and pads its rows."""

_F32, _F16, _Q8_0 = 0, 1, 8
_TYPE_BYTES = {_F32: (1, 4), _F16: (1, 2), _Q8_0: (32, 34)}
"""Values per block, and bytes per block."""
_UINT32, _FLOAT32, _STRING = 4, 6, 8
"""Types of values in a header."""
_ALIGNMENT_BYTES = 32


Sizes = tuple[int, int, int]
"""Bytes of the weights, the context, and the compute buffers."""

ON_HOST: dict[str, Sizes] = {"": (411136, 65536, 52128)}
ON_GPU: dict[str, Sizes] = {"": (81920, 0, 27552), "VRAMD0": (179584, 65536, 41472)}
"""Weights: the sum of the tensors below; on a GPU each padded as CUDA does, and the embedding stays on the host.
Context: 256 cells of a key and a value of 64 halves. Compute: measured with llama-cpp-python 0.3.36, the same after
real loads."""


def problem_of(library: ModuleType) -> str:
    """Plans the model on the host and on a virtual GPU; returns what is wrong, or "". Registers the GPUs."""
    if not is_readable(library):
        return "llama.cpp's count of its memory cannot be read on this system, or in this build"
    try:
        gpus = virtual_gpus(library).handles
        with tempfile.TemporaryDirectory(prefix="vramd-") as folder:
            for weights, devices, expected in ((_F16, (), ON_HOST), (_Q8_0, gpus[:1], ON_GPU)):
                path = Path(folder) / "known.gguf"
                write_model(path, weights)
                found = _sizes(plan(library, _spec(path), devices))
                if found != expected:
                    return f"a known model takes {found} bytes (weights, context, compute), not {expected}"
    except (EngineError, AttributeError, OSError, RuntimeError) as error:
        return f"a dry run of a known model failed: {error}"
    return ""


def write_model(path: Path, weights: int) -> None:
    """Writes a llama of one layer without words in its vocabulary; its data is a hole in the file."""
    kv = WIDTH // HEADS * KEY_HEADS
    tensors: Sequence[tuple[str, int, tuple[int, ...]]] = (
        ("token_embd.weight", _F16, (WIDTH, VOCABULARY)),
        ("output_norm.weight", _F32, (WIDTH,)),
        ("output.weight", weights, (WIDTH, VOCABULARY)),
        ("blk.0.attn_norm.weight", _F32, (WIDTH,)),
        ("blk.0.attn_q.weight", weights, (WIDTH, WIDTH)),
        ("blk.0.attn_k.weight", weights, (WIDTH, kv)),
        ("blk.0.attn_v.weight", weights, (WIDTH, kv)),
        ("blk.0.attn_output.weight", weights, (WIDTH, WIDTH)),
        ("blk.0.ffn_norm.weight", _F32, (WIDTH,)),
        ("blk.0.ffn_gate.weight", weights, (WIDTH, FEED_FORWARD)),
        ("blk.0.ffn_up.weight", weights, (WIDTH, FEED_FORWARD)),
        ("blk.0.ffn_down.weight", weights, (FEED_FORWARD, WIDTH)),
    )
    header = [
        _entry("general.architecture", _STRING, _text("llama")),
        _entry("tokenizer.ggml.model", _STRING, _text("none")),
        _entry("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5)),
        *(
            _entry(f"llama.{name}", _UINT32, struct.pack("<I", value))
            for name, value in (
                ("vocab_size", VOCABULARY),
                ("context_length", CONTEXT),
                ("embedding_length", WIDTH),
                ("block_count", 1),
                ("feed_forward_length", FEED_FORWARD),
                ("attention.head_count", HEADS),
                ("attention.head_count_kv", KEY_HEADS),
                ("rope.dimension_count", WIDTH // HEADS),
            )
        ),
    ]
    table, offset = [], 0
    for name, kind, shape in tensors:
        table.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset))
        values, size = _TYPE_BYTES[kind]
        rows = shape[1] if len(shape) == 2 else 1
        offset += _aligned(shape[0] // values * size * rows)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(table), len(header)) + b"".join(header) + b"".join(table)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(_aligned(len(head)) + offset)


def _spec(path: Path) -> LlamaSpec:
    # The batch is too small for any matrix library that the build may have.
    return LlamaSpec(
        path=str(path),
        context_tokens=CONTEXT,
        threads=1,
        device="",
        gpu_layers=-1,
        batch_tokens=16,
        kv_type="f16",
        parallel=2,
        ubatch_tokens=16,
        outputs=2,
    )


def _sizes(found: Plan) -> dict[str, Sizes]:
    return {
        one.device: (one.weights_bytes, one.context_bytes, one.compute_bytes) for one in (found.host, *found.devices)
    }


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
