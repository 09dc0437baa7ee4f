"""The helper that plans loads, started as the supervisor starts it, and models for it to plan."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from support.gguf_models import Shape, add_vocabulary, vocabulary
from support.worker_process import BOOT, BOUND_S, KEPT_VARIABLES, PACKAGES
from vramd_common.load_settings import Settings
from vramd_common.rendezvous import Orders
from vramd_worker.llama import LlamaSpec

Answer = dict[str, Any]
KINDS = ("weights_bytes", "context_bytes", "compute_bytes")
HEADED = Shape(embedding=256, layers=7, heads=4, kv_heads=2, feed_forward=384, vocabulary=600)
"""Its heads have a size for which CUDA has flash attention."""
LLAMA_8B = Shape(embedding=4096, layers=32, heads=32, kv_heads=8, feed_forward=14336, context=131072, vocabulary=128256)


class Quoter:
    """The helper process. `end` it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(BOOT), "vramd_quoter"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | dict(environment or {}),
        )
        self.write(Orders(PACKAGES, os.getpid(), "nonce", "", False).line())
        self.hello = self.read()

    def write(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self) -> Answer | None:
        """The next line, within the bound; None if the process has ended."""
        assert self.process.stdout
        assert select.select([self.process.stdout], [], [], BOUND_S)[0], "no answer"
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line else None

    def ask(self, wanted: LlamaSpec, gpus: int = 0, **more: object) -> Answer | None:
        self.write(json.dumps(question(wanted, gpus) | more).encode() + b"\n")
        return self.read()

    def end(self) -> int:
        """Ends its requests, and waits for its exit."""
        self.process.communicate(timeout=BOUND_S)
        return self.process.returncode

    def plan(self, wanted: LlamaSpec, gpus: int = 0, **more: object) -> Answer:
        answer = self.ask(wanted, gpus, **more)
        assert answer
        assert not answer.keys() & {"problem", "refused"}, answer
        return answer


def question(wanted: LlamaSpec, gpus: int) -> dict[str, object]:
    """`gpus`: how many of the helper's virtual ones."""
    settings = {one.name: getattr(wanted, one.name) for one in fields(Settings)}
    return {"path": wanted.path, "settings": settings, "devices": [f"VRAMD{at}" for at in range(gpus)]}


def windowed(path: Path) -> Path:
    """A model with a sliding window in three of four layers."""
    width, layers, size = 128, 4, 300
    writer = gguf.GGUFWriter(path, "cohere2")
    writer.add_context_length(4096)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_eps(1e-5)
    writer.add_logit_scale(1.0)
    writer.add_sliding_window(64)
    writer.add_rope_dimension_count(64)
    add_vocabulary(writer, vocabulary(size, ()))

    def zeros(name: str, *size: int) -> None:
        writer.add_tensor(f"{name}.weight", np.zeros(size, dtype=np.float16 if len(size) == 2 else np.float32))

    zeros("token_embd", size, width)
    zeros("output_norm", width)
    for layer in range(layers):
        zeros(f"blk.{layer}.attn_norm", width)
        for name, rows in (("attn_q", width), ("attn_k", 64), ("attn_v", 64), ("attn_output", width)):
            zeros(f"blk.{layer}.{name}", rows, width)
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            zeros(f"blk.{layer}.{name}", width, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def sparse_llama(path: Path, shape: Shape) -> Path:
    """A model of Q4_0 with the sizes of a real one and a hole for its weights."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.embedding // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("none")
    kv = shape.embedding // shape.heads * shape.kv_heads
    weights_bytes = 0

    def norm(name: str) -> None:
        nonlocal weights_bytes
        size = shape.embedding * 4
        writer.add_tensor_info(f"{name}.weight", (shape.embedding,), np.dtype(np.float32), size)
        weights_bytes += size

    def weights(name: str, rows: int, columns: int) -> None:
        nonlocal weights_bytes
        row = columns // 32 * 18
        kind = gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor_info(f"{name}.weight", (rows, row), np.dtype(np.uint8), rows * row, raw_dtype=kind)
        weights_bytes += rows * row

    weights("token_embd", shape.vocabulary, shape.embedding)
    weights("output", shape.vocabulary, shape.embedding)
    norm("output_norm")
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm")
        norm(block + "ffn_norm")
        for name, rows, columns in (
            ("attn_q", shape.embedding, shape.embedding),
            ("attn_k", kv, shape.embedding),
            ("attn_v", kv, shape.embedding),
            ("attn_output", shape.embedding, shape.embedding),
            ("ffn_gate", shape.feed_forward, shape.embedding),
            ("ffn_up", shape.feed_forward, shape.embedding),
            ("ffn_down", shape.embedding, shape.feed_forward),
        ):
            weights(block + name, rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(path, path.stat().st_size + weights_bytes + gguf.GGUF_DEFAULT_ALIGNMENT)
    return path
