"""The model of the benchmarks: a llama of random weights, made once. What it says is nonsense; its cost is real."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants
from platformdirs import user_cache_path

UNKNOWN, BEGIN, END = 0, 1, 2
FIRST_WORD = 3 + 256
WEIGHT = 0.05


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters of a llama model. Rows of all matrices are multiples of 32, the block of Q8_0."""

    name: str
    embedding: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    context: int


USUAL = Shape("random-246m-q8_0", 1024, 16, 16, 4, 2816, 32_000, 2048)
QUICK = Shape("random-5m-q8_0", 256, 4, 4, 4, 512, 4096, 2048)


def cached(shape: Shape, say: Callable[[str], None]) -> Path:
    """The file of this shape, made when it is first asked for. Raises OSError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a container without a home folder: the one below /tmp is as good
        folder = user_cache_path("vramd", appauthor=False) / "bench"
    file = folder / f"{shape.name}.gguf"
    if not file.exists():
        say(f"makes {file}, once")
        folder.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        write(fresh, shape)
        fresh.replace(file)
    return file


def write(file: Path, shape: Shape) -> None:
    """Writes a model, always the same one for a shape."""
    writer = GGUFWriter(file, "llama")
    _header(writer, shape)
    random = np.random.default_rng(1)
    for name, rows, columns in _matrices(shape):
        weights = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(WEIGHT)
        if name == "output.weight":
            weights[END] = 0  # never the best choice: an answer ends where it is told to
        packed: npt.NDArray[np.uint8] = quants.quantize(weights, GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
    for name in _norms(shape):
        writer.add_tensor(name, np.ones(shape.embedding, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _header(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_name(shape.name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.embedding // shape.heads)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_tokenizer_model("llama")
    words = [f"\u2581w{number}" for number in range(shape.vocabulary - FIRST_WORD)]
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words])
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    writer.add_token_types([*kinds, *[TokenType.NORMAL] * len(words)])
    writer.add_token_scores([0.0] * shape.vocabulary)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(UNKNOWN)


def _matrices(shape: Shape) -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns."""
    cache = shape.embedding // shape.heads * shape.kv_heads
    yield "token_embd.weight", shape.vocabulary, shape.embedding
    yield "output.weight", shape.vocabulary, shape.embedding
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_q.weight", shape.embedding, shape.embedding
        yield f"blk.{layer}.attn_k.weight", cache, shape.embedding
        yield f"blk.{layer}.attn_v.weight", cache, shape.embedding
        yield f"blk.{layer}.attn_output.weight", shape.embedding, shape.embedding
        yield f"blk.{layer}.ffn_gate.weight", shape.feed_forward, shape.embedding
        yield f"blk.{layer}.ffn_up.weight", shape.feed_forward, shape.embedding
        yield f"blk.{layer}.ffn_down.weight", shape.embedding, shape.feed_forward


def _norms(shape: Shape) -> Iterator[str]:
    yield "output_norm.weight"
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight"
        yield f"blk.{layer}.ffn_norm.weight"
