"""From the headers of a model's files to what vramd knows of it. Pure.

Keys are llama.cpp's (gguf-py/gguf/constants.py); what llama.cpp sets by itself for an architecture stands here as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vramd_common.reasons import Reason

from ..domain.catalog import ModelFile, Shape
from .gguf_tables import FILE_TYPES, GUESSED_FILE_TYPE, TENSOR_TYPES
from .gguf_values import Elements, Header, Tensor, UnreadableModelError, Value

_MOST_LAYERS = 1024
_LARGEST = (1 << 31) - 1
_NO_MODELS = ("adapter", "imatrix", "mmproj")
"""Values of general.type (gguf-py's GGUFType); llama.cpp loads a model whatever else stands there."""

_ENCODERS = frozenset(
    (
        *("bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert"),
        *("eurobert", "gemma-embedding", "t5encoder", "dream", "llada", "llada-moe"),
    )
)
"""Architectures that llama.cpp gives no KV cache (llama-model.cpp `create_memory`)."""

_SLIDING_PERIOD = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo2": 4,
    "plamo3": 8,
}
"""Every so-many-th layer attends to everything, where the file does not say (src/models/*.cpp `set_swa_pattern`). An
architecture that is not here counts as if every layer did: too much rather than too little."""

_INPUT = ("token_embd", "token_types", "position_embd", "per_layer_token_embd")
_NORM_IS_OUTPUT = ("lfm2", "lfm2moe")
"""Architectures whose last norm is called `token_embd_norm` (llama-arch.cpp); that of others is of the first block."""
_TITLES = ("general.name", "general.basename", "general.finetune")
_LONGEST_TITLE = 256
_HOST_ALIGNMENT_BYTES, _CARD_ALIGNMENT_BYTES = 32, 128
_ROW_VALUES = 512
"""To a multiple of which CUDA fills up the last row of a quantised tensor (ggml-cuda.cu `get_alloc_size`)."""


@dataclass(frozen=True)
class _Keys:
    """Metadata, read with suspicion: what is missing, of another type or out of range counts as not there."""

    metadata: Mapping[str, Value]
    architecture: str

    def number(self, key: str) -> int:
        return _number(self.metadata.get(f"{self.architecture}.{key}"))

    def most(self, key: str) -> int:
        """One that only limits, and may be as large as it likes."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return _number(min(value, _LARGEST)) if isinstance(value, int) else 0

    def numbers(self, key: str, layers: int) -> tuple[int, ...]:
        """One for each layer; a single one counts for all."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, Elements):
            given = tuple(map(_number, value.values))[:layers]
            return given + (0,) * (layers - len(given)) if given else ()
        return (_number(value),) * layers if value is not None else ()


def is_projector(header: Header) -> bool:
    """True for what llama.cpp calls mmproj: the eyes and ears of a model, no model by itself."""
    kind = header.metadata.get("general.type")
    return kind == "mmproj" or header.metadata.get("general.architecture") == "clip"


def describe(path: str, headers: Sequence[Header]) -> ModelFile:
    """One model from the headers of its files, the first shard first. Raises UnreadableModelError."""
    metadata = headers[0].metadata
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise UnreadableModelError(Reason.MODEL_FILE_INVALID, "its header names no architecture")
    kind = metadata.get("general.type")
    if kind in _NO_MODELS:
        raise UnreadableModelError(Reason.MODEL_FILE_INVALID, f"it is of the type {kind!r}, no model")
    tensors = [tensor for header in headers for tensor in header.tensors]
    if not tensors:
        raise UnreadableModelError(Reason.MODEL_FILE_INVALID, "it has no tensors")
    keys = _Keys(metadata, architecture)
    if keys.number("block_count") > _MOST_LAYERS:
        raise UnreadableModelError(Reason.MODEL_FILE_INVALID, f"it claims {keys.number('block_count')} layers")
    template = metadata.get("tokenizer.chat_template")
    return ModelFile(
        path=path,
        size_bytes=sum(header.file_bytes for header in headers),
        architecture=architecture[:64],
        parameters=min(sum(tensor.elements for tensor in tensors), (1 << 63) - 1),
        quantization=_quantization(metadata, tensors),
        trained_context_tokens=keys.most("context_length"),
        has_chat_template=isinstance(template, str) and not template.isspace() and bool(template),
        shape=_shape(keys, tensors),
        titles=tuple(said[:_LONGEST_TITLE] for key in _TITLES if isinstance(said := metadata.get(key), str)),
    )


def _number(value: Value | None) -> int:
    return int(value) if isinstance(value, int) and 0 <= value <= _LARGEST else 0


def _quantization(metadata: Mapping[str, Value], tensors: Sequence[Tensor]) -> str:
    said = metadata.get("general.file_type")
    if isinstance(said, int) and (name := FILE_TYPES.get(said & ~GUESSED_FILE_TYPE)):
        return name
    size_bytes: dict[int, int] = {}
    for tensor in tensors:
        size_bytes[tensor.type] = size_bytes.get(tensor.type, 0) + tensor.size_bytes
    most = max(size_bytes, key=lambda kind: size_bytes[kind])
    return TENSOR_TYPES[most].name if most in TENSOR_TYPES else ""


def _shape(keys: _Keys, tensors: Sequence[Tensor]) -> Shape:
    layers = keys.number("block_count")
    # The last blocks may predict further tokens; llama.cpp leaves them out unless asked.
    used_layers = max(0, layers - keys.number("nextn_predict_layers"))
    heads = max(keys.numbers("attention.head_count", layers), default=0)
    embedding = keys.number("embedding_length")
    key_length = keys.number("attention.key_length") or (embedding // heads if heads else 0)
    value_length = keys.number("attention.value_length") or (embedding // heads if heads else 0)
    if keys.number("attention.key_length_mla"):
        value_length = 0  # multi-head latent attention caches one vector per token, which serves as the value too
    window = keys.number("attention.sliding_window")
    sliding = _sliding_layers(keys, layers) if window else ()
    inputs, outputs, blocks, names = _sizes(tensors, layers, used_layers, keys.architecture)
    return Shape(
        layers=layers,
        embedding=embedding,
        feed_forward=_feed_forward(keys, layers),
        heads=heads,
        kv_heads=_kv_heads(keys, layers, used_layers, names),
        key_length=key_length,
        value_length=value_length,
        vocabulary=_vocabulary(keys),
        sliding_window=window if any(sliding) else 0,
        sliding_layers=sliding,
        causal=_causal(keys),
        pooling=keys.number("pooling_type"),
        tied_bytes=_tied_bytes(tensors) if _causal(keys) else 0,
        state_bytes=_state_bytes(keys, names),
        input_bytes=inputs,
        output_bytes=outputs,
        layer_bytes=blocks,
    )


def _causal(keys: _Keys) -> bool:
    said = keys.metadata.get(f"{keys.architecture}.attention.causal")
    return said if isinstance(said, bool) else keys.architecture not in _ENCODERS


def _vocabulary(keys: _Keys) -> int:
    tokens = keys.metadata.get("tokenizer.ggml.tokens")
    return tokens.count if isinstance(tokens, Elements) else keys.number("vocab_size")


def _feed_forward(keys: _Keys, layers: int) -> int:
    """Width of the feed-forward part; for a mixture of experts, of all those that one token uses.

    A state space lives in the same scratch, six times its inner size wide.
    """
    dense = max(*keys.numbers("feed_forward_length", layers), 2 * keys.number("ssm.inner_size"), 0)
    used = keys.number("expert_used_count")
    if not used:
        return dense
    expert = keys.number("expert_feed_forward_length") or dense
    # Each expert's result is kept until they are summed: a third of an embedding in a formula that counts three widths.
    return max(dense, used * expert + used * keys.number("embedding_length") // 3)


def _sliding_layers(keys: _Keys, layers: int) -> tuple[bool, ...]:
    said = keys.metadata.get(f"{keys.architecture}.attention.sliding_window_pattern")
    if isinstance(said, Elements) and said.values:
        return tuple(bool(said.values[layer % len(said.values)]) for layer in range(layers))
    period = _number(said) or _SLIDING_PERIOD.get(keys.architecture, 1)
    return tuple(layer % period < period - 1 for layer in range(layers))


def _kv_heads(keys: _Keys, layers: int, used_layers: int, names: Sequence[frozenset[str]]) -> tuple[int, ...]:
    """Heads that each layer caches: none in recurrent layers, and in those that use an earlier layer's cache."""
    said = keys.numbers("attention.head_count_kv", layers) or keys.numbers("attention.head_count", layers)
    owners = used_layers - keys.number("attention.shared_kv_layers")
    recurrent = [bool(_stateful(parts)) and "attn_k" not in parts for parts in names]
    return tuple(
        0 if layer >= owners or recurrent[layer] else heads for layer, heads in enumerate(said[: len(recurrent)])
    )


def _stateful(parts: frozenset[str]) -> frozenset[str]:
    """The parts of a block that keep a recurrent state (Mamba, gated delta nets; LFM2; RWKV)."""
    return parts & {"ssm_conv1d", "ssm_a", "shortconv", "time_mix_w1", "time_mix_key"}


def _state_bytes(keys: _Keys, names: Sequence[frozenset[str]]) -> tuple[int, ...]:
    """llama-hparams.cpp `n_embd_r` and `n_embd_s`, as F32."""
    if not any(map(_stateful, names)):
        return ()
    embedding = keys.number("embedding_length")
    if head := keys.number("wkv.head_size"):
        values = embedding * (keys.number("token_shift_count") or 2) + embedding * head
    elif cached := keys.number("shortconv.l_cache"):
        values = embedding * (cached - 1)
    else:
        inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
        kernel = max(0, keys.number("ssm.conv_kernel") - 1)
        values = kernel * (inner + 2 * keys.number("ssm.group_count") * state) + state * inner
    return tuple(4 * values if _stateful(parts) else 0 for parts in names)


def _tied_bytes(tensors: Sequence[Tensor]) -> int:
    sizes = {tensor.name: _on_card_bytes(tensor) for tensor in tensors}
    return 0 if "output.weight" in sizes else sizes.get("token_embd.weight", 0)


def _on_card_bytes(tensor: Tensor) -> int:
    """Returns the bytes of a tensor on a card like CUDA's; on the host it takes some less."""
    size_bytes = tensor.size_bytes
    kind = TENSOR_TYPES.get(tensor.type)
    if kind and kind.block > 1 and tensor.lengths and (over := tensor.lengths[0] % _ROW_VALUES):
        size_bytes += (_ROW_VALUES - over) // kind.block * kind.block_bytes
    return -(-size_bytes // _CARD_ALIGNMENT_BYTES) * _CARD_ALIGNMENT_BYTES


def _sizes(
    tensors: Sequence[Tensor], layers: int, used_layers: int, architecture: str
) -> tuple[int, int, tuple[int, ...], tuple[frozenset[str], ...]]:
    """Bytes of the input layer, the output layer and each block, and the names of each block's parts.

    The input layer counts as the host takes it, where it always is. The rest counts as a card takes it.
    """
    inputs = outputs = 0
    blocks, names = [0] * layers, [set[str]() for _ in range(layers)]
    for tensor in tensors:
        match tensor.name.split("."):
            case ["blk", number, part, *_] if number.isascii() and number.isdigit() and int(number[:9]) < layers:
                block = int(number[:9])
                names[block].add(part)
                blocks[block] += _on_card_bytes(tensor) if block < used_layers else 0
            case ["token_embd_norm", *_] if used_layers and architecture not in _NORM_IS_OUTPUT:
                blocks[0] += _on_card_bytes(tensor)
            case [part, *_] if part in _INPUT:
                inputs += -(-tensor.size_bytes // _HOST_ALIGNMENT_BYTES) * _HOST_ALIGNMENT_BYTES
            case _:
                outputs += _on_card_bytes(tensor)
    return inputs, outputs, tuple(blocks), tuple(map(frozenset, names))
