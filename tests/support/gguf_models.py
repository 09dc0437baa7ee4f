"""GGUF files for tests, made in moments: random weights, or weights that say what is wanted of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from gguf import GGUFWriter, TokenType

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
Spoilt = Mapping[str, Mapping[int, float]]
"""Rows of tensors, by name and number, and what is written all over them."""
WORDS = ("the", "a", "to", "and", "of", "in", "is", "it", "you", "that", "he", "was", "for", "on", "are", "with", "as")
_BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
BERT_VOCABULARY = (*_BERT_TOKENS.values(), *("\u2581" + word for word in WORDS))
_NAMELESS = 32
"""Tokens of a model without a tokenizer."""
UNKNOWN, BOS, EOS, FIRST_BYTE = 0, 1, 2, 3
SPACE = FIRST_BYTE + 256
FIRST_WORD = SPACE + 1


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters of a llama model."""

    embedding: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 256
    context: int = 2048
    vocabulary: int = 512


def random_llama(
    path: Path,
    shape: Shape = Shape(),
    *,
    seed: int = 1,
    words: Sequence[str] = WORDS,
    chat_template: str | None = CHAT_TEMPLATE,
    pooling: int | None = None,
    architecture: str = "llama",
    spoilt: Spoilt = MappingProxyType({}),
    change: Callable[[GGUFWriter], None] = lambda _: None,
) -> Path:
    """Random weights: nonsense, bytes that are no UTF-8 among it, and always the same for one seed.

    `change` may make something odd of it before it is written. It never says that it is done: its end-of-sequence token
    is a middling choice, never one of the better.
    """
    random = np.random.default_rng(seed)
    tokens = vocabulary(shape.vocabulary, words)
    writer = _llama_header(path, shape, tokens, chat_template, architecture)
    if pooling is not None:
        writer.add_uint32(f"{architecture}.pooling_type", pooling)

    def add(name: str, values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> None:
        for row, value in spoilt.get(name, {}).items():
            values[row] = value
        writer.add_tensor(name, values.astype(np.float16))

    def weights(name: str, *size: int) -> None:
        add(name, random.standard_normal(size, dtype=np.float32) * np.float32(0.05))

    weights("token_embd.weight", len(tokens), shape.embedding)
    output = random.standard_normal((len(tokens), shape.embedding), dtype=np.float32) * np.float32(0.05)
    output[EOS] = 0
    add("output.weight", output)
    _norm(writer, "output_norm.weight", shape.embedding)
    for layer in range(shape.layers):
        for name, rows, columns in _llama_blocks(shape, layer):
            weights(name, rows, columns)
        _norm(writer, f"blk.{layer}.attn_norm.weight", shape.embedding)
        _norm(writer, f"blk.{layer}.ffn_norm.weight", shape.embedding)
    change(writer)
    return _write(writer, path)


def reciting_llama(
    path: Path,
    text: Sequence[str | int],
    *,
    chat_template: str | None = CHAT_TEMPLATE,
    controls: Sequence[str] = (),
    pieces: Sequence[str] = (),
) -> Path:
    """Says the text, whatever it is asked, then that it is done.

    The text is a sequence of words (each becomes one token), bytes (by number) and controls, none twice. Every token is
    followed by the next for certain; after any other token the text begins. `pieces` are further tokens.
    """
    shape = Shape(embedding=256, layers=1, heads=4, kv_heads=4, feed_forward=32, vocabulary=FIRST_WORD + 32)
    words = [part for part in text if isinstance(part, str) and part not in controls]
    tokens = vocabulary(shape.vocabulary, words, (*controls, *pieces))
    named = [part if isinstance(part, int) or part in controls else f"\u2581{part}" for part in text]
    script = [FIRST_BYTE + part if isinstance(part, int) else tokens.index(part) for part in named]
    writer = _llama_header(path, shape, tokens, chat_template, "llama", controls)
    # Each token of the text has a direction of its own, all others share the first one; a row of the output points to
    # where the token before it points.
    directions = np.zeros((len(tokens), shape.embedding), dtype=np.float32)
    directions[:, 0] = 1
    outputs = np.zeros_like(directions)
    for place, (token, following) in enumerate(zip(script, [*script[1:], EOS], strict=True), start=1):
        directions[token] = 0
        directions[token, place] = 1
        outputs[following, place] = 1
    outputs[script[0], 0] = 1
    writer.add_tensor("token_embd.weight", directions)
    writer.add_tensor("output.weight", outputs)
    _norm(writer, "output_norm.weight", shape.embedding)
    for name, rows, columns in _llama_blocks(shape, 0):
        writer.add_tensor(name, np.zeros((rows, columns), dtype=np.float32))
    _norm(writer, "blk.0.attn_norm.weight", shape.embedding)
    _norm(writer, "blk.0.ffn_norm.weight", shape.embedding)
    return _write(writer, path)


def random_bert(
    path: Path,
    *,
    embedding: int = 64,
    layers: int = 2,
    context: int = 64,
    pooling: int = 1,
    seed: int = 1,
    spoilt: Spoilt = MappingProxyType({}),
    tokenizer: str = "bert",
    tokens: Sequence[str] = BERT_VOCABULARY,
) -> Path:
    """A random encoder (pooling 1 is the mean): no text, but vectors. It knows the words of `WORDS`."""
    random = np.random.default_rng(seed)
    heads, feed_forward = 4, 2 * embedding
    specials = {name: tokens.index(text) for name, text in _BERT_TOKENS.items() if text in tokens}
    writer = GGUFWriter(path, "bert")
    writer.add_context_length(context)
    writer.add_embedding_length(embedding)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_uint32("bert.pooling_type", pooling)
    writer.add_file_type(1)
    writer.add_tokenizer_model(tokenizer)
    if tokens:
        writer.add_token_list(tokens)
        writer.add_token_types([TokenType.CONTROL if text.startswith("[") else TokenType.NORMAL for text in tokens])
    writer.add_token_type_count(2)
    for name, token in specials.items():
        getattr(writer, f"add_{name}_token_id")(token)
    writer.add_vocab_size(len(tokens) or _NAMELESS)

    def weights(name: str, *size: int) -> None:
        values = random.standard_normal(size, dtype=np.float32) * np.float32(0.2)
        for row, value in spoilt.get(name, {}).items():
            values[row] = value
        writer.add_tensor(name, values)

    weights("token_embd.weight", len(tokens) or _NAMELESS, embedding)
    weights("token_types.weight", 2, embedding)
    weights("position_embd.weight", context, embedding)
    norms = ["token_embd_norm"]
    for layer in range(layers):
        block = f"blk.{layer}."
        for name, rows, columns in (
            ("attn_q", embedding, embedding),
            ("attn_k", embedding, embedding),
            ("attn_v", embedding, embedding),
            ("attn_output", embedding, embedding),
            ("ffn_up", feed_forward, embedding),
            ("ffn_down", embedding, feed_forward),
        ):
            weights(f"{block}{name}.weight", rows, columns)
            weights(f"{block}{name}.bias", rows)
        norms += [block + "attn_output_norm", block + "layer_output_norm"]
    for name in norms:
        _norm(writer, f"{name}.weight", embedding, spoilt)
        writer.add_tensor(f"{name}.bias", np.zeros(embedding, dtype=np.float32))
    return _write(writer, path)


def vocabulary(size: int, words: Sequence[str], controls: Sequence[str] = ()) -> list[str]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    tokens += ["\u2581" + word for word in words]
    tokens += controls
    return tokens + [f"\u2581w{number}" for number in range(len(tokens), size)]


def add_vocabulary(writer: GGUFWriter, tokens: Sequence[str], controls: Sequence[str] = ()) -> None:
    """Of single bytes and words, some of which are control tokens."""
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
        + [TokenType.BYTE] * 256
        + [TokenType.CONTROL if token in controls else TokenType.NORMAL for token in tokens[SPACE:]]
    )
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_vocab_size(len(tokens))


def _llama_header(
    path: Path,
    shape: Shape,
    tokens: Sequence[str],
    chat_template: str | None,
    architecture: str,
    controls: Sequence[str] = (),
) -> GGUFWriter:
    writer = GGUFWriter(path, architecture)
    writer.add_name(path.stem)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embedding)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.embedding // shape.heads)
    writer.add_file_type(1)
    add_vocabulary(writer, tokens, controls)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    return writer


def _llama_blocks(shape: Shape, layer: int) -> list[tuple[str, int, int]]:
    kv = shape.embedding // shape.heads * shape.kv_heads
    return [
        (f"blk.{layer}.attn_q.weight", shape.embedding, shape.embedding),
        (f"blk.{layer}.attn_k.weight", kv, shape.embedding),
        (f"blk.{layer}.attn_v.weight", kv, shape.embedding),
        (f"blk.{layer}.attn_output.weight", shape.embedding, shape.embedding),
        (f"blk.{layer}.ffn_gate.weight", shape.feed_forward, shape.embedding),
        (f"blk.{layer}.ffn_up.weight", shape.feed_forward, shape.embedding),
        (f"blk.{layer}.ffn_down.weight", shape.embedding, shape.feed_forward),
    ]


def _norm(writer: GGUFWriter, name: str, size: int, spoilt: Spoilt = MappingProxyType({})) -> None:
    values = np.ones(size, dtype=np.float32)
    for row, value in spoilt.get(name, {}).items():
        values[row] = value
    writer.add_tensor(name, values)


def _write(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
