"""What a load will need, by formulas over the file's header. Pure.

The formulas say what llama.cpp allocates for a dense transformer with flash attention, one KV cache that all sequences
share, the sliding-window cache no larger than its window, weights without mmap, and no more outputs than sequences.
Weights follow llama-model.cpp `load_tensors`, the cache llama-kv-cache.cpp, the scratch ggml-alloc's worst-case graph.
Exact for weights and cache of the classic architectures; the scratch comes out up to 12 % low, hence `_SCRATCH_MARGIN`.
"""

from itertools import zip_longest

from .catalog import ModelFile, Settings, Shape
from .device_view import HOST
from .quote import Confidence, DeviceBytes, Quote, Source

_MIB = 1 << 20
_UBATCH_TOKENS = 512
_CELLS_STEP = 256
_POOLING_LAST = 3
_EMBEDDING_SEQUENCES = 64
"""Inputs that the worker's engine embeds at the same time, whatever `parallel` says."""
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

CUDA_CONTEXT_BYTES = 320 * _MIB
"""A process's CUDA context before anything of it was measured. Reported: 107 MiB (RTX 4060 Ti) to 555 MiB (RTX PRO
6000) in llama.cpp #23604, about 300 MiB in Ollama #12102."""
_CUDA_POOL_BYTES = 34 * _MIB
"""First steps of ggml-cuda's scratch pool (2 MiB) and the cuBLAS workspace of recent cards (32 MiB, common.cuh)."""
_UNKNOWN_CONTEXT_BYTES = 600 * _MIB
"""Cache and scratch of a model whose header tells nothing; the margin that peers keep for it."""
_VOCABULARY_ENTRY_BYTES = 400
"""Host bytes per token of the vocabulary and its merges in llama.cpp's tables."""


def ubatch_tokens(shape: Shape, settings: Settings) -> int:
    """Tokens of one computation at most (n_ubatch). What pools over all tokens has to see an input whole."""
    if not shape.causal or shape.pooling not in (0, _POOLING_LAST):
        return settings.context_tokens
    return min(settings.batch_tokens, _UBATCH_TOKENS)


def _embeds(shape: Shape) -> bool:
    return not shape.causal or shape.pooling != 0


def _sequences(shape: Shape, settings: Settings) -> int:
    return _EMBEDDING_SEQUENCES if _embeds(shape) else settings.parallel


def quote(file: ModelFile, settings: Settings, idle_worker_bytes: int) -> Quote:
    """Bytes that loading this file with these settings will need; `idle_worker_bytes` is a worker without a model."""
    on_gpu = settings.device != HOST
    host_process = DeviceBytes(process_bytes=idle_worker_bytes)
    if not _known(file.shape):
        guess = DeviceBytes(weights_bytes=int(file.size_bytes * 1.05), compute_bytes=_UNKNOWN_CONTEXT_BYTES)
        needs = {HOST: _plus(host_process, DeviceBytes() if on_gpu else guess)}
        if on_gpu:
            needs[settings.device] = _plus(guess, DeviceBytes(process_bytes=CUDA_CONTEXT_BYTES))
        return Quote(needs, Confidence.ROUGH, Source.FILE_SIZE)
    host, gpu = _weights_and_context(file.shape, settings)
    scratch = int(_scratch_bytes(file.shape, settings) * _SCRATCH_MARGIN)
    outputs = _output_bytes(file.shape, settings) + file.shape.vocabulary * _VOCABULARY_ENTRY_BYTES
    if not on_gpu:
        needs = {HOST: _plus(_plus(host, host_process), DeviceBytes(compute_bytes=scratch + outputs))}
        return Quote(needs, Confidence.CLOSE, Source.CLOSED_FORM)
    some_on_host = _first_on_gpu(file.shape, settings) > 0
    staging = scratch if some_on_host else _staging_bytes(file.shape, settings)
    needs = {
        settings.device: _plus(gpu, DeviceBytes(0, 0, scratch + _pool_bytes(file.shape, settings), CUDA_CONTEXT_BYTES)),
        HOST: _plus(_plus(host, host_process), DeviceBytes(compute_bytes=staging + outputs)),
    }
    return Quote(needs, Confidence.CLOSE, Source.CLOSED_FORM)


def _known(shape: Shape) -> bool:
    return bool(shape.layers and shape.embedding and any(shape.layer_bytes))


def _plus(one: DeviceBytes, other: DeviceBytes) -> DeviceBytes:
    return DeviceBytes(
        one.weights_bytes + other.weights_bytes,
        one.context_bytes + other.context_bytes,
        one.compute_bytes + other.compute_bytes,
        one.process_bytes + other.process_bytes,
    )


def _first_on_gpu(shape: Shape, settings: Settings) -> int:
    """The first layer on the GPU; layer number `shape.layers` is the output, which goes there first."""
    if settings.device == HOST:
        return shape.layers + 1
    wanted = settings.gpu_layers if settings.gpu_layers >= 0 else shape.layers + 1
    return max(shape.layers + 1 - wanted, 0)


def _weights_and_context(shape: Shape, settings: Settings) -> tuple[DeviceBytes, DeviceBytes]:
    """On the host, and on the GPU. The input layer stays on the host always; a layer's cache lies beside the layer."""
    first = _first_on_gpu(shape, settings)
    contexts = _context_bytes(shape, settings)
    weights = [shape.input_bytes, 0]
    context = [0, 0]
    for layer, (weight, cache) in enumerate(zip_longest(shape.layer_bytes, contexts, fillvalue=0)):
        side = int(layer >= first)
        weights[side] += weight
        context[side] += cache
    output_on_gpu = first <= shape.layers
    weights[int(output_on_gpu)] += shape.output_bytes + (shape.tied_bytes if output_on_gpu else 0)
    return DeviceBytes(weights[0], context[0]), DeviceBytes(weights[1], context[1])


def _padded(cells: int) -> int:
    return -(-cells // _CELLS_STEP) * _CELLS_STEP


def _cells(shape: Shape, settings: Settings) -> tuple[int, int]:
    """Cells of a full layer's cache, and of a sliding layer's."""
    full = _padded(settings.context_tokens)
    window = shape.sliding_window * _sequences(shape, settings) + ubatch_tokens(shape, settings)
    return full, min(full, _padded(window))


def _context_bytes(shape: Shape, settings: Settings) -> list[int]:
    """KV cache and recurrent state of each layer."""
    if not shape.causal:
        return []
    full, sliding = _cells(shape, settings)
    value_bytes = _VALUE_BYTES[settings.kv_type]
    needs = []
    for layer in range(shape.layers):
        heads = shape.kv_heads[layer] if layer < len(shape.kv_heads) else 0
        slides = layer < len(shape.sliding_layers) and shape.sliding_layers[layer]
        state = shape.state_bytes[layer] if layer < len(shape.state_bytes) else 0
        row = int(heads * (shape.key_length + shape.value_length) * value_bytes)
        needs.append((sliding if slides else full) * row + state * _sequences(shape, settings))
    return needs


def _outputs(shape: Shape, settings: Settings) -> int:
    """Tokens of one computation whose result is wanted."""
    tokens = ubatch_tokens(shape, settings)
    return tokens if _embeds(shape) else min(tokens, settings.parallel)


def _masks_bytes(shape: Shape, settings: Settings, tokens: int) -> int:
    if not shape.causal:
        return 2 * tokens * tokens
    full, sliding = _cells(shape, settings)
    return 2 * tokens * (full + (sliding if any(shape.sliding_layers) else 0))


def _scratch_bytes(shape: Shape, settings: Settings) -> int:
    """Worst-case scratch of the graph, on the device that computes."""
    tokens = min(settings.context_tokens, ubatch_tokens(shape, settings))
    kv_heads = max(shape.kv_heads, default=0)
    attention = shape.heads * shape.key_length
    masks = _masks_bytes(shape, settings, tokens)
    feed = masks + 4 * tokens * (3 * shape.feed_forward + 2 * shape.embedding + attention)
    logits = 4 * tokens * shape.embedding
    if shape.causal:
        logits += 4 * _outputs(shape, settings) * shape.vocabulary
    unpacked = 0
    if settings.kv_type not in _PLAIN:
        one_layer = 2 * _cells(shape, settings)[0] * kv_heads * shape.key_length * 2
        unpacked = masks + one_layer + 4 * tokens * (2 * shape.embedding + 2 * attention)
    return max(feed, logits, unpacked)


def _output_bytes(shape: Shape, settings: Settings) -> int:
    """The buffer on the host that results are copied to: logits, or embeddings."""
    rows = max(settings.parallel, _outputs(shape, settings))
    return 4 * rows * (shape.vocabulary if shape.causal else shape.embedding)


def _staging_bytes(shape: Shape, settings: Settings) -> int:
    """The host's part of a graph that runs on a GPU: inputs and masks, pinned."""
    tokens = min(settings.context_tokens, ubatch_tokens(shape, settings))
    return 8 * tokens * shape.embedding + _masks_bytes(shape, settings, tokens)


def _pool_bytes(shape: Shape, settings: Settings) -> int:
    """ggml-cuda's pool outside the graph: activations as q8_1 for the widest matrix (mmq.cu), twice."""
    width = -(-shape.feed_forward // 512) * 512
    return _CUDA_POOL_BYTES + 2 * ubatch_tokens(shape, settings) * width * 36 // 32
