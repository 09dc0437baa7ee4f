"""Computes the bytes of a load by formulas over the file's header. Pure.

The formulas give what llama.cpp allocates when weights are not mapped. Weights follow llama-model.cpp `load_tensors`,
the cache llama-kv-cache.cpp. Both are exact on CUDA cards and on the host, except that weights on the host count as
padded for a card (see `gguf_model`), and that the header does not show all of some caches (indexers of sparse
attention). The scratch is ggml-alloc's worst case of the graph. Its formulas add what is alive at once in the widest
steps and are up to 12 % low, hence `_SCRATCH_MARGIN`; with it they exceed the dry run, most for small or unusual
models.
"""

from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate, zip_longest

from vramd_common.load_settings import DEFAULT_BATCH_TOKENS, Settings
from vramd_common.reasons import Reason

from ..domain.catalog import ModelFile, Problem, Shape
from ..domain.device_view import CUDA_CONTEXT_BYTES, HOST
from ..domain.quote import Confidence, DeviceBytes, Quote, Source

_MIB = 1 << 20
_CELLS_STEP = 256
_POOLING_LAST = 3
_EMBEDDING_SEQUENCES = 64
"""Inputs that the worker's engine embeds at once, whatever `parallel` is."""
_SCRATCH_MARGIN = 1.12

_VALUE_BYTES = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
_PLAIN = ("f32", "f16", "bf16")
_BLOCK_VALUES = 32
_ROW_VALUES = 512
"""Multiple to which CUDA pads the last row of a quantised tensor (MATRIX_ROW_PADDING)."""
_ALIGNMENT_BYTES = 128
_ATTENDED_HEADS = frozenset({40, 64, 72, 80, 96, 112, 128, 192, 256, 320, 512, 576})
"""Key lengths for which CUDA has flash attention (fattn.cu); other cards have it for fewer or more."""
_OFFLOAD_TOKENS = 32
"""Least batch for which a card also computes with weights on the host (op_offload_min_batch_size)."""
_UNPOSITIONED = frozenset(
    (
        *("gpt2", "gptj", "mpt", "refact", "bloom", "jamba", "jais", "nemotron_h", "nemotron_h_moe"),
        *("kimi-linear", "kimi-k3", "glm5-next"),
    )
)
"""Causal architectures without rotary positions (llama-model.cpp `llama_model_rope_type`) that are not fully recurrent:
the worker gives them no more context than they were trained for."""

_CUDA_POOL_BYTES = 34 * _MIB
"""First chunk of ggml-cuda's scratch pool (2 MiB) and the cuBLAS workspace of recent cards (32 MiB, common.cuh)."""
_UNKNOWN_CONTEXT_BYTES = 600 * _MIB
"""Assumed cache and scratch of a model whose header tells nothing; the margin that similar tools keep."""
WORKER_GROWTH_BYTES = 6 * _MIB
"""Growth of Python and gRPC with their first requests; 2 to 6 MiB were measured."""
_VOCABULARY_ENTRY_BYTES = 400
"""Host bytes per vocabulary token, with its merges, in llama.cpp's tables."""


def is_computed_whole(shape: Shape) -> bool:
    """Returns whether one computation must see the whole input: in encoders, and where all tokens are pooled."""
    return not shape.causal or shape.pooling not in (0, _POOLING_LAST)


def batch_tokens(shape: Shape, context_tokens: int, asked: int) -> int:
    """Returns the most tokens that are submitted at once (n_batch)."""
    return context_tokens if is_computed_whole(shape) else min(asked, context_tokens)


def ubatch_tokens(shape: Shape, context_tokens: int, batch_tokens: int, asked: int | None) -> int:
    """Returns the most tokens of one computation (n_ubatch)."""
    return context_tokens if is_computed_whole(shape) else min(batch_tokens, asked or DEFAULT_BATCH_TOKENS)


def context_tokens(file: ModelFile, asked: int) -> int:
    """Returns the context that the worker's engine creates: only positions that the model has a vector for."""
    trained = file.trained_context_tokens
    if not trained or (file.shape.causal and file.architecture not in _UNPOSITIONED):
        return asked
    return min(asked, trained)


def embeds(shape: Shape) -> bool:
    """Returns whether a model gives embeddings and no text."""
    return not shape.causal or shape.pooling != 0


def _sequences(shape: Shape, settings: Settings) -> int:
    return _EMBEDDING_SEQUENCES if embeds(shape) else settings.parallel


def problem_of(shape: Shape, settings: Settings) -> Problem | None:
    """Returns why llama.cpp refuses these settings, as far as a header tells: its rules for a quantised cache
    (llama-context.cpp `llama_init_from_model`)."""
    kind = settings.kv_type
    if kind in _PLAIN:
        return None
    if settings.flash_attention == "off":
        return Problem(Reason.FIELD_INVALID, f"a KV cache of type {kind} needs flash attention, which is off")
    for name, length in (("keys", shape.key_length), ("values", shape.value_length)):
        if length % _BLOCK_VALUES:
            text = (
                f"a KV cache of type {kind} is made of blocks of {_BLOCK_VALUES}, and the heads have {name} of {length}"
            )
            return Problem(Reason.MODEL_UNSUPPORTED, text)
    return None


def quote(file: ModelFile, settings: Settings, idle_worker_bytes: int) -> Quote:
    """Quotes a load of this file with these settings; `idle_worker_bytes` is the size of a worker without a model."""
    host_process = DeviceBytes(process_bytes=host_process_bytes(file.shape, idle_worker_bytes))
    gpus = [device for device in settings.devices if device != HOST]
    if not known(file.shape):
        guess = DeviceBytes(weights_bytes=int(file.size_bytes * 1.05), compute_bytes=_UNKNOWN_CONTEXT_BYTES)
        needs = {HOST: host_process if gpus else host_process.plus(guess)}
        for device in gpus:
            needs[device] = guess.plus(DeviceBytes(process_bytes=CUDA_CONTEXT_BYTES))
        return Quote(needs, Confidence.ROUGH, Source.FILE_SIZE)
    needs = _weights_and_context(file.shape, settings)
    for device in gpus:
        scratch = int(_card_scratch_bytes(file.shape, settings) * _SCRATCH_MARGIN)
        pool = pool_bytes(file.shape, settings) if scratch else 0
        needs[device] = needs[device].plus(DeviceBytes(0, 0, scratch, CUDA_CONTEXT_BYTES + pool))
    scratch = int(_host_scratch_bytes(file.shape, settings) * _SCRATCH_MARGIN)
    compute_bytes = scratch + _output_bytes(file.shape, settings)
    needs[HOST] = needs[HOST].plus(host_process).plus(DeviceBytes(compute_bytes=compute_bytes))
    return Quote(needs, Confidence.CLOSE, Source.CLOSED_FORM)


def known(shape: Shape) -> bool:
    """Returns whether the header tells enough for the formulas."""
    return bool(shape.layers and shape.embedding and any(shape.layer_bytes))


def host_process_bytes(shape: Shape, idle_worker_bytes: int) -> int:
    """Returns a worker's host memory beyond llama.cpp's count: the process, its growth, and vocabulary tables."""
    return idle_worker_bytes + WORKER_GROWTH_BYTES + shape.vocabulary * _VOCABULARY_ENTRY_BYTES


def _first_on_gpu(shape: Shape, settings: Settings) -> int:
    """Returns the first layer on the GPU; layer number `shape.layers` is the output, which moves there first."""
    if settings.device == HOST:
        return shape.layers + 1
    wanted = settings.gpu_layers if settings.gpu_layers >= 0 else shape.layers + 1
    return max(shape.layers + 1 - wanted, 0)


def _device_of(layer: int, shape: Shape, settings: Settings) -> str:
    """Returns the device of a layer; cards take layers in order, by their shares (llama-model.cpp `get_layer_buft`)."""
    first = _first_on_gpu(shape, settings)
    if layer < first:
        return HOST
    sums = list(accumulate(share for _, share in settings.shares)) or [1.0]
    place = bisect_right(sums, (layer - first) / (shape.layers + 1 - first) * sums[-1])
    return settings.devices[min(place, len(sums) - 1)]


def _weights_and_context(shape: Shape, settings: Settings) -> dict[str, DeviceBytes]:
    """Returns weights and context per device. The input layer stays on the host; each cache is with its layer."""
    needs = dict.fromkeys((*settings.devices, HOST), DeviceBytes())
    needs[HOST] = DeviceBytes(shape.input_bytes)
    contexts = _context_bytes(shape, settings)
    for layer, (weight, cache) in enumerate(zip_longest(shape.layer_bytes, contexts, fillvalue=0)):
        device = _device_of(layer, shape, settings)
        needs[device] = needs[device].plus(DeviceBytes(weight, cache))
    device = _device_of(shape.layers, shape, settings)
    copied = 0 if device == HOST else shape.tied_bytes
    needs[device] = needs[device].plus(DeviceBytes(shape.output_bytes + copied))
    return needs


def _padded(cells: int) -> int:
    return -(-cells // _CELLS_STEP) * _CELLS_STEP


def _streams(settings: Settings) -> int:
    return settings.parallel if settings.kv_split else 1


def _cells(shape: Shape, settings: Settings) -> tuple[int, int]:
    """Returns the cache cells of a full and of a sliding layer, for each stream."""
    full = _padded(settings.context_tokens // _streams(settings))
    if settings.swa_full:
        return full, full
    sharing = 1 if settings.kv_split else _sequences(shape, settings)
    return full, min(full, _padded(shape.sliding_window * sharing + settings.ubatch_tokens))


def _context_bytes(shape: Shape, settings: Settings) -> list[int]:
    """Returns the bytes of KV cache and recurrent state of each layer."""
    if not shape.causal:
        return []
    full, sliding = _cells(shape, settings)
    needs = []
    for layer in range(shape.layers):
        heads = shape.kv_heads[layer] if layer < len(shape.kv_heads) else 0
        slides = layer < len(shape.sliding_layers) and shape.sliding_layers[layer]
        state = shape.state_bytes[layer] if layer < len(shape.state_bytes) else 0
        cells = (sliding if slides else full) * _streams(settings)
        padded = _device_of(layer, shape, settings) != HOST
        caches = sum(
            int(cells * heads * length * _VALUE_BYTES[settings.kv_type])
            + (_filling_bytes(heads * length, settings.kv_type) if padded else 0)
            for length in (shape.key_length, shape.value_length)
        )
        needs.append(caches + state * _sequences(shape, settings))
    return needs


def _filling_bytes(row_values: int, kv_type: str) -> int:
    """Returns the padding that lets a card read a quantised tensor's last row in whole steps."""
    over = row_values % _ROW_VALUES
    if kv_type in _PLAIN or not over:
        return 0
    filling = int((_ROW_VALUES - over) // _BLOCK_VALUES * _BLOCK_VALUES * _VALUE_BYTES[kv_type])
    return -(-filling // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def _outputs(shape: Shape, settings: Settings) -> int:
    """Returns the tokens of one computation whose results are wanted."""
    tokens = settings.ubatch_tokens
    return tokens if embeds(shape) else min(tokens, settings.outputs)


def _tokens(settings: Settings) -> int:
    """Returns the tokens of the largest computation."""
    return min(settings.context_tokens, settings.ubatch_tokens)


def _flashes(shape: Shape, settings: Settings) -> bool:
    """Returns whether the graph uses flash attention. A quantised cache requires it on every device."""
    if settings.kv_type not in _PLAIN:
        return True
    has_kernel = _has_kernel(shape, settings)
    return settings.flash_attention == "on" or (settings.flash_attention == "auto" and has_kernel)


def _has_kernel(shape: Shape, settings: Settings) -> bool:
    return settings.device == HOST or shape.key_length in _ATTENDED_HEADS


def _masks_bytes(shape: Shape, settings: Settings, tokens: int) -> int:
    """Returns the bytes of the attention masks: f16 for flash attention, else f32."""
    value_bytes = 2 if _flashes(shape, settings) else 4
    if not shape.causal:
        return value_bytes * tokens * tokens
    if not any(shape.kv_heads):
        return 0
    full, sliding = _cells(shape, settings)
    return value_bytes * tokens * (full + (sliding if any(shape.sliding_layers) else 0))


def _layer_cache_values(shape: Shape, settings: Settings) -> int:
    """Returns the count of cached values that one layer's attention reads: keys, and what it reads as values."""
    cells = _cells(shape, settings)[0] if shape.causal else _tokens(settings)
    lengths = shape.key_length + (shape.value_length or shape.key_length)
    return cells * max(shape.kv_heads, default=0) * lengths


def _scratch_bytes(shape: Shape, settings: Settings, copied_weights: int = 0, copied_cache: int = 0) -> int:
    """Returns the graph's worst-case scratch where it is computed; `copied_*` are bytes copied from the host for it.

    It is the largest of three steps: the feed-forward with its three results; the logits; the attention with its query,
    keys and values. Without flash attention, attention adds one score per head and cell, and transposes values that are
    not cached transposed: in latent attention, and in a cache made for flash attention that turned out to have no
    kernel. With flash attention, a card also holds a quantised cache as f16.
    """
    tokens = _tokens(settings)
    kv_heads = max(shape.kv_heads, default=0)
    query = shape.heads * shape.key_length
    masks = _masks_bytes(shape, settings, tokens)
    states = max(shape.state_bytes, default=0) * _sequences(shape, settings)
    feed = masks + 4 * tokens * (3 * shape.feed_forward + 2 * shape.embedding + query) + states + copied_weights
    logits = 4 * tokens * shape.embedding
    if shape.causal:
        logits += 4 * _outputs(shape, settings) * shape.vocabulary
    attention = 4 * tokens * (2 * shape.embedding + 2 * query) + masks + copied_cache
    new_cache = 8 * tokens * kv_heads * shape.key_length
    if not _flashes(shape, settings):
        cells = _cells(shape, settings)[0] if shape.causal else tokens
        attention += new_cache + 4 * cells * tokens * shape.heads
        if settings.flash_attention == "auto" or not shape.value_length:
            attention += _layer_cache_values(shape, settings)
    elif settings.kv_type in _PLAIN or settings.device == HOST:
        attention += new_cache
    else:
        halves = _layer_cache_values(shape, settings)
        shared = not shape.value_length and not copied_cache
        attention += 2 * (halves // 2 if shared else halves)
    return max(feed, logits, attention)


def _card_scratch_bytes(shape: Shape, settings: Settings) -> int:
    """Returns a card's scratch. For a large batch, weights and caches of layers on the host are copied to the card."""
    first = _first_on_gpu(shape, settings)
    if first > shape.layers:
        return 0
    stateful = any(shape.state_bytes)
    if not first or (_tokens(settings) < _OFFLOAD_TOKENS and not stateful):
        return _scratch_bytes(shape, settings)
    # A matrix is at most about half of its block: the gated feed-forward has three of one size, the plain one two.
    weights = max(shape.layer_bytes[:first], default=0) // 2
    cache = int(_layer_cache_values(shape, settings) * _VALUE_BYTES[settings.kv_type]) if shape.causal else 0
    # Copies that differ in size from the buffers they alternate with leave holes.
    holed = cache * 2 if settings.kv_type not in _PLAIN or not shape.value_length else cache * 3 // 2
    if stateful:
        # State-space steps have no weights: they stay on the host, and the results between them are copied both ways.
        weights += 16 * _tokens(settings) * shape.feed_forward + holed
    if not shape.causal:
        # Embeddings of words, their types and their positions.
        weights += 16 * _tokens(settings) * shape.embedding
    return _scratch_bytes(shape, settings, weights, holed)


def _host_scratch_bytes(shape: Shape, settings: Settings) -> int:
    """Returns the host's scratch; for a graph that runs on a card, its pinned inputs and masks."""
    first, tokens = _first_on_gpu(shape, settings), _tokens(settings)
    if first > shape.layers:
        return _scratch_bytes(shape, replace(settings, device=HOST))
    new_cache = 8 * tokens * max(shape.kv_heads, default=0) * shape.key_length
    staging = (8 if shape.causal else 16) * tokens * shape.embedding + _masks_bytes(shape, settings, tokens)
    if not _flashes(shape, settings):
        # One index for each cached value that is written, as values are stored transposed.
        staging += new_cache
    elif not _has_kernel(shape, settings):
        # The host computes attention, and each layer's cache is copied to it.
        staging += int(_layer_cache_values(shape, settings) * _VALUE_BYTES[settings.kv_type])
    if not first:
        return staging
    # New keys and values go to the caches on the host, and steps without weights are computed there.
    staging += new_cache
    alone = tokens < _OFFLOAD_TOKENS or any(shape.state_bytes[:first])
    return max(staging, _scratch_bytes(shape, settings)) if alone else staging


def _output_bytes(shape: Shape, settings: Settings) -> int:
    """Returns the host buffer for results; llama.cpp counts logits even for embeddings."""
    if not embeds(shape):
        return 4 * settings.parallel * shape.vocabulary
    rows = max(_EMBEDDING_SEQUENCES, settings.batch_tokens)
    return 4 * rows * (shape.vocabulary + shape.embedding)


def pool_bytes(shape: Shape, settings: Settings) -> int:
    """Returns ggml-cuda's pool outside the graph: q8_1 activations for the widest matrix (mmq.cu), twice."""
    width = -(-shape.feed_forward // 512) * 512
    return _CUDA_POOL_BYTES + 2 * settings.ubatch_tokens * width * 36 // 32
