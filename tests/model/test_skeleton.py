"""llama.cpp takes the skeleton of a model for the model: the same sizes, the same buffers, without a tokenizer."""

import ctypes
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from support.gguf_shapes import MODELS, TOKENS, Key, add_key, attention, dense, made, outer, tied_llama
from vramd_supervisor.files.gguf_header import read_header
from vramd_supervisor.files.skeleton import extend, write_skeleton

llama_cpp = pytest.importorskip("llama_cpp.llama_cpp")


@dataclass(frozen=True)
class Seen:
    """What llama.cpp says of a model that it has opened, and of a context for it."""

    parameters: int
    size_bytes: int
    layers: int
    embedding: int
    heads: int
    kv_heads: int
    window: int
    outputs: int
    tokens: int
    buffers: tuple[str, ...]
    """What the log says of the sizes of caches, states and compute buffers."""


_BUFFER = re.compile(r"(?:compute buffer size|: size)\s*=\s*[\d.]+ MiB.*")


@contextmanager
def _log() -> Iterator[list[str]]:
    """Collects what llama.cpp prints, and gives the log back to whom it belonged."""
    lines: list[str] = []
    callback, data = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.byref(callback), ctypes.byref(data))
    ours = llama_cpp.llama_log_callback(lambda level, text, data: lines.append(text.decode("utf-8", "replace")))
    llama_cpp.llama_log_set(ours, None)
    try:
        yield lines
    finally:
        llama_cpp.llama_log_set(callback, data)


def look(path: Path, *, whole: bool = False) -> Seen:
    """Opens a file as a dry run does, or with all its weights."""
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.no_alloc = not whole
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
    with _log() as lines:
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        assert model, "".join(lines[-20:])
        lines.clear()
        try:
            wanted = llama_cpp.llama_context_default_params()
            wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = 512, 64, 64
            context = llama_cpp.llama_init_from_model(model, wanted)
            assert context, "".join(lines[-20:])
            llama_cpp.llama_free(context)
            return Seen(
                parameters=llama_cpp.llama_model_n_params(model),
                size_bytes=llama_cpp.llama_model_size(model),
                layers=llama_cpp.llama_model_n_layer(model),
                embedding=llama_cpp.llama_model_n_embd(model),
                heads=llama_cpp.llama_model_n_head(model),
                kv_heads=llama_cpp.llama_model_n_head_kv(model),
                window=llama_cpp.llama_model_n_swa(model),
                outputs=llama_cpp.llama_model_n_cls_out(model),
                tokens=llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model)),
                buffers=tuple(found[0] for line in lines if (found := _BUFFER.search(line))),
            )
        finally:
            llama_cpp.llama_model_free(model)


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_sees_the_same_model(tmp_path: Path, name: str) -> None:
    full, skeleton = MODELS[name](tmp_path / "m.gguf"), tmp_path / "s.gguf"
    write_skeleton([read_header(full)], skeleton)
    seen = look(skeleton)
    assert seen == look(full)
    assert seen == look(full, whole=True)
    assert seen.tokens
    assert any(buffer.startswith("compute") for buffer in seen.buffers)


def test_shards_become_one_model(tmp_path: Path) -> None:
    keys: dict[str, Key] = {"block_count": 2, "attention.head_count_kv": 2}
    tensors = {**outer(), **attention(0), **dense(0), **attention(1), **dense(1)}
    made(tmp_path / "m.gguf", "llama", keys, tensors, most_tensors=12)
    shards = sorted(tmp_path.glob("m-*.gguf"))
    assert len(shards) == 2
    write_skeleton([read_header(shard) for shard in shards], tmp_path / "s.gguf")
    assert look(tmp_path / "s.gguf") == look(shards[0], whole=True)


def test_a_model_of_gibibytes_is_a_few_blocks(tmp_path: Path) -> None:
    width = 4096
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    keys: dict[str, Key] = {
        "context_length": 8192,
        "embedding_length": width,
        "feed_forward_length": 4 * width,
        "block_count": 8,
        "attention.head_count": 32,
        "attention.layer_norm_rms_epsilon": 1e-5,
    }
    for name, value in keys.items():
        add_key(writer, f"llama.{name}", value)
    tensors = {"token_embd": (TOKENS, width), "output_norm": (width,)}
    for layer in range(8):
        tensors |= {f"blk.{layer}.{name}_norm": (width,) for name in ("attn", "ffn")}
        tensors |= {f"blk.{layer}.attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
        tensors |= {f"blk.{layer}.ffn_{name}": (4 * width, width) for name in ("gate", "up")}
        tensors[f"blk.{layer}.ffn_down"] = (width, 4 * width)
    for name, lengths in tensors.items():
        kind = np.dtype(np.float32 if len(lengths) == 1 else np.float16)
        writer.add_tensor_info(f"{name}.weight", lengths, kind, math.prod(lengths) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    weights_bytes = sum(math.prod(lengths) * (4 if len(lengths) == 1 else 2) for lengths in tensors.values())
    full, skeleton = tmp_path / "m.gguf", tmp_path / "s.gguf"
    with full.open("r+b") as file:
        extend(file, full.stat().st_size + weights_bytes + 32)
    write_skeleton([read_header(full)], skeleton)
    seen = look(skeleton)
    assert seen.size_bytes == weights_bytes > 1 << 30
    assert (seen.parameters, seen.layers, seen.tokens) == (sum(map(math.prod, tensors.values())), 8, TOKENS)
    assert skeleton.stat().st_size > weights_bytes
    if sys.platform != "win32":
        assert skeleton.stat().st_blocks * 512 < 64 << 10


def test_llama_cpp_refuses_a_skeleton_that_is_cut_off(tmp_path: Path) -> None:
    skeleton = tmp_path / "s.gguf"
    write_skeleton([read_header(tied_llama(tmp_path / "m.gguf"))], skeleton)
    os.truncate(skeleton, skeleton.stat().st_size - 4096)
    with pytest.raises(AssertionError, match="not within the file bounds"):
        look(skeleton)
