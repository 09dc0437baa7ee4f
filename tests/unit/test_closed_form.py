"""Formulas against bytes that llama.cpp really allocated."""

from dataclasses import replace

import pytest
from support.model_shapes import LLAMA_8B, MIB
from vramd_common.load_settings import LoadOptions, Settings
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import ModelFile, Shape
from vramd_supervisor.domain.config import Config, DeviceConfig, Headroom, ServerConfig, Size
from vramd_supervisor.domain.device_view import CUDA_CONTEXT_BYTES, DeviceKind, limits
from vramd_supervisor.domain.quote import Confidence, DeviceBytes, Source
from vramd_supervisor.files.gguf_model import describe
from vramd_supervisor.files.gguf_values import Header, Tensor, Value
from vramd_supervisor.quoting.closed_form import (
    WORKER_GROWTH_BYTES,
    host_process_bytes,
    problem_of,
    quote,
    ubatch_tokens,
)
from vramd_supervisor.quoting.placement import decide

IDLE = 50 * MIB

POOL_BYTES = 34 * MIB + 2 * 512 * 14336 * 36 // 32
"""Of its scratch that the driver's process has beside the graph."""
GEMMA_4B = Shape(
    layers=34,
    embedding=2560,
    feed_forward=10240,
    heads=8,
    kv_heads=(4,) * 34,
    key_length=256,
    value_length=256,
    vocabulary=262208,
    sliding_window=1024,
    sliding_layers=tuple(layer % 6 < 5 for layer in range(34)),
    tied_bytes=525 * MIB,
    input_bytes=525 * MIB,
    output_bytes=1 * MIB,
    layer_bytes=(60 * MIB,) * 34,
)
MINILM = Shape(
    layers=6,
    embedding=384,
    feed_forward=1536,
    heads=12,
    kv_heads=(12,) * 6,
    key_length=32,
    value_length=32,
    vocabulary=30522,
    causal=False,
    pooling=1,
    input_bytes=23 * MIB,
    layer_bytes=(3 * MIB,) * 6,
)


def file(shape: Shape, trained: int = 131072) -> ModelFile:
    size_bytes = shape.input_bytes + shape.output_bytes + sum(shape.layer_bytes)
    return ModelFile("/m.gguf", size_bytes, "llama", trained_context_tokens=trained, shape=shape)


def needs(
    shape: Shape,
    device: str = "gpu0",
    *,
    context: int = 8192,
    layers: int = -1,
    kv_type: str = "f16",
    parallel: int = 1,
    shares: tuple[tuple[str, float], ...] = (),
) -> dict[str, DeviceBytes]:
    batch = min(512, context)
    ubatch = ubatch_tokens(shape, context, batch, None)
    outputs = min(batch, parallel)
    settings = Settings(context, 2, device, layers, batch, kv_type, parallel, ubatch, outputs=outputs, shares=shares)
    return dict(quote(file(shape), settings, IDLE).devices)


@pytest.mark.parametrize(
    ("context", "kv_type", "mebibytes"), [(8192, "f16", 1024), (32768, "f16", 4096), (32768, "q8_0", 2176)]
)
def test_the_cache_of_a_full_attention_model(context: int, kv_type: str, mebibytes: int) -> None:
    assert needs(LLAMA_8B, context=context, kv_type=kv_type)["gpu0"].context_bytes == mebibytes * MIB


def test_the_cache_is_padded_to_256_cells() -> None:
    assert needs(LLAMA_8B, context=8193)["gpu0"] == needs(LLAMA_8B, context=8448)["gpu0"]
    assert needs(LLAMA_8B, context=1)["gpu0"].context_bytes == 32 * MIB


def test_sliding_layers_keep_their_window_only() -> None:
    assert needs(GEMMA_4B)["gpu0"].context_bytes == 334 * MIB
    assert needs(GEMMA_4B, context=256)["gpu0"].context_bytes == 34 * MIB
    assert needs(GEMMA_4B, parallel=2)["gpu0"].context_bytes == (160 + 29 * 10) * MIB


def test_latent_attention_caches_one_vector() -> None:
    shape = Shape(61, 7168, 18432, 128, (1,) * 61, 576, 0, 129280, layer_bytes=(MIB,) * 61)
    assert needs(shape, context=32768)["gpu0"].context_bytes == 2196 * MIB


def test_recurrent_state_is_per_sequence_and_of_no_length() -> None:
    shape = Shape(2, 64, 128, 4, (0, 2), 16, 16, 100, layer_bytes=(1, 1), state_bytes=(1000, 0))
    one, four = needs(shape, "host")["host"], needs(shape, "host", parallel=4)["host"]
    assert four.context_bytes - one.context_bytes == 3000
    assert needs(shape, "host", context=16384)["host"].context_bytes - one.context_bytes == 8192 * 2 * 32 * 2


@pytest.mark.parametrize(("context", "mebibytes"), [(8192, 116), (32768, 140)])
def test_scratch_is_a_little_more_than_the_formula(context: int, mebibytes: int) -> None:
    assert needs(LLAMA_8B, context=context)["gpu0"].compute_bytes == int(mebibytes * MIB * 1.12)


def test_everything_on_the_gpu_but_the_input() -> None:
    placed = needs(LLAMA_8B)
    assert placed["gpu0"].weights_bytes == (411 + 32 * 125) * MIB
    assert placed["host"].weights_bytes == 282 * MIB
    assert placed["gpu0"].process_bytes == CUDA_CONTEXT_BYTES + POOL_BYTES
    assert placed["host"].process_bytes == host_process_bytes(LLAMA_8B, IDLE)
    assert placed["host"].context_bytes == 0


def test_the_output_goes_to_the_gpu_first_then_the_last_layers() -> None:
    assert needs(LLAMA_8B, layers=1)["gpu0"].weights_bytes == 411 * MIB
    placed = needs(LLAMA_8B, layers=3)
    assert placed["gpu0"].weights_bytes == (411 + 2 * 125) * MIB
    assert placed["host"].weights_bytes == (282 + 30 * 125) * MIB
    assert placed["gpu0"].context_bytes == 2 * 32 * MIB
    assert placed["host"].context_bytes == 30 * 32 * MIB
    assert needs(LLAMA_8B, layers=99) == needs(LLAMA_8B)


def test_no_layer_on_the_gpu_leaves_the_context_of_the_driver() -> None:
    placed = needs(LLAMA_8B, layers=0)
    assert (placed["gpu0"].weights_bytes, placed["gpu0"].context_bytes) == (0, 0)
    assert placed["gpu0"].process_bytes == CUDA_CONTEXT_BYTES
    assert placed["gpu0"].compute_bytes == 0
    assert placed["host"].compute_bytes == needs(LLAMA_8B, "host")["host"].compute_bytes


def test_layers_on_the_host_come_over_for_a_large_batch() -> None:
    """Their matrices, and the cache of one of them."""
    whole, half = (needs(LLAMA_8B, context=32768, layers=layers)["gpu0"].compute_bytes for layers in (-1, 20))
    assert half - whole > 45 * MIB
    small = Settings(32768, 2, "gpu0", 20, 512, "f16", 1, 16, outputs=1)
    few, all_there = (
        quote(file(LLAMA_8B), replace(small, gpu_layers=layers), IDLE).devices["gpu0"].compute_bytes
        for layers in (20, -1)
    )
    assert few == all_there


def test_a_head_without_a_kernel_attends_in_steps() -> None:
    """A score for each head and cell, on a card; on the host, and where it is demanded, there is none."""
    narrow = replace(LLAMA_8B, heads=128, key_length=32, value_length=32, kv_heads=(32,) * 32)
    scores_bytes = 4 * 8192 * 512 * 128
    assert needs(narrow)["gpu0"].compute_bytes - needs(LLAMA_8B)["gpu0"].compute_bytes > scores_bytes
    assert needs(narrow, "host")["host"].compute_bytes < scores_bytes
    assert needs(narrow, kv_type="q8_0")["gpu0"].compute_bytes < scores_bytes
    # The host attends then, over a layer's cache that it copies.
    more = needs(narrow, kv_type="q8_0")["host"].compute_bytes - needs(LLAMA_8B, kv_type="q8_0")["host"].compute_bytes
    assert more == int((8192 * 2 * 1024 * 34 // 32) * 1.12)


def test_a_tied_output_is_copied_to_the_gpu_only() -> None:
    assert needs(GEMMA_4B)["gpu0"].weights_bytes == (34 * 60 + 1 + 525) * MIB
    assert needs(GEMMA_4B)["host"].weights_bytes == 525 * MIB
    assert needs(GEMMA_4B, "host")["host"].weights_bytes == (34 * 60 + 1 + 525) * MIB


def test_on_the_host_all_is_on_the_host() -> None:
    placed = needs(LLAMA_8B, "host", layers=-1)
    assert list(placed) == ["host"]
    assert placed["host"].weights_bytes == (282 + 411 + 32 * 125) * MIB
    assert placed["host"].context_bytes == 1024 * MIB


def test_an_encoder_has_no_cache_and_takes_an_input_whole() -> None:
    settings = decide(file(MINILM, trained=512), LoadOptions(), 2, "host")
    assert (settings.context_tokens, settings.batch_tokens) == (512, 512)
    assert settings.ubatch_tokens == settings.outputs == 512
    assert ubatch_tokens(MINILM, 300, 300, None) == 300
    found = quote(file(MINILM, trained=512), settings, IDLE)
    assert found.devices["host"].context_bytes == 0
    assert (found.confidence, found.source) == (Confidence.CLOSE, Source.CLOSED_FORM)
    # The worker of this model was seen to take 60 MiB more than an idle one: logits, which llama.cpp makes room for
    # also where none are computed, are never touched.
    untouched_bytes = 4 * 512 * 30522
    assert 60 * MIB < found.total_bytes - IDLE - untouched_bytes < 80 * MIB


def test_an_input_is_no_longer_than_a_model_has_positions_for() -> None:
    long = LoadOptions(context_tokens=8192)
    for shape, architecture, trained, context in (
        (MINILM, "bert", 512, 512),
        (LLAMA_8B, "jamba", 2048, 2048),
        (LLAMA_8B, "llama", 2048, 8192),
    ):
        limited = replace(file(shape, trained), architecture=architecture)
        settings = decide(limited, long, 2, "gpu0")
        assert settings.context_tokens == context
        assert settings == decide(limited, LoadOptions(context_tokens=context), 2, "gpu0")
        assert settings.batch_tokens == settings.ubatch_tokens == 512


Q8_0, Q4_K = 8, 12


def described(architecture: str, *tensors: Tensor) -> Shape:
    block = Tensor("blk.1.attn_k.weight", 0, (64,), 256)
    metadata: dict[str, Value] = {"general.architecture": architecture, f"{architecture}.block_count": 2}
    return describe("/m.gguf", [Header(1, metadata, {}, 32, (*tensors, block))]).shape


def test_weights_count_as_a_card_takes_them() -> None:
    """Aligned to 128 bytes, and a quantised tensor's last row filled up to a multiple of 512 values."""
    sizes = {
        "f32 of 10": (Tensor("blk.0.a.weight", 0, (10,), 40), 128),
        "q8_0 of 512": (Tensor("blk.0.a.weight", Q8_0, (512, 4), 2176), 2176),
        "q8_0 of 896": (Tensor("blk.0.a.weight", Q8_0, (896, 4), 3808), 3968),
        "q4_k of 768": (Tensor("blk.0.a.weight", Q4_K, (768, 4), 1728), 1920),
        "unknown": (Tensor("blk.0.a.weight", 99, (896, 4), 3808), 3840),
    }
    for name, (tensor, on_card_bytes) in sizes.items():
        assert described("llama", tensor).layer_bytes[0] == on_card_bytes, name
        output = replace(tensor, name="output.weight")
        assert described("llama", output).output_bytes == on_card_bytes, name
    embedding = Tensor("token_embd.weight", Q8_0, (896, 4), 3800)
    assert (described("llama", embedding).input_bytes, described("llama", embedding).tied_bytes) == (3808, 3968)


def test_a_norm_of_the_input_belongs_to_the_first_block() -> None:
    """But it is the norm of the output in LFM2, where it only has the name."""
    norm = Tensor("token_embd_norm.weight", 0, (64,), 256)
    assert described("bert", norm).layer_bytes == (256, 256)
    assert described("bert", norm).input_bytes == 0
    assert (described("lfm2", norm).layer_bytes, described("lfm2", norm).output_bytes) == ((0, 256), 256)


def test_a_state_space_is_six_times_its_inner_size_wide() -> None:
    metadata: dict[str, Value] = {"general.architecture": "mamba", "mamba.block_count": 1, "mamba.ssm.inner_size": 1536}
    tensor = Tensor("blk.0.ssm_in.weight", 0, (64,), 256)
    assert describe("/m.gguf", [Header(1, metadata, {}, 32, (tensor,))]).shape.feed_forward == 2 * 1536


def test_a_card_fills_up_the_rows_of_a_quantised_cache() -> None:
    shape = Shape(2, 256, 512, 4, (2, 2), 64, 64, 100, layer_bytes=(1, 1))
    exact_bytes = 2 * 8192 * 2 * 128 * 34 // 32
    # Each row has 128 values, 384 are missing to 512: 408 bytes of q8_0, which are 512 where all is aligned to 128.
    assert needs(shape, kv_type="q8_0")["gpu0"].context_bytes == exact_bytes + 2 * 2 * 512
    assert needs(shape, "host", kv_type="q8_0")["host"].context_bytes == exact_bytes
    assert needs(LLAMA_8B, kv_type="q8_0")["gpu0"].context_bytes == 544 * MIB


def test_more_of_anything_never_needs_less() -> None:
    for shape in (LLAMA_8B, GEMMA_4B, MINILM):
        small = sum(need.total_bytes for need in needs(shape, context=2048).values())
        assert small < sum(need.total_bytes for need in needs(shape, context=16384).values())
        assert small <= sum(need.total_bytes for need in needs(shape, context=2048, parallel=8).values())


def test_a_header_that_tells_nothing_gives_a_rough_quote() -> None:
    unknown = ModelFile("/m.gguf", 1000 * MIB)
    found = quote(unknown, decide(unknown, LoadOptions(), 2, "host"), IDLE)
    assert (found.confidence, found.source) == (Confidence.ROUGH, Source.FILE_SIZE)
    assert found.total_bytes > 1050 * MIB + IDLE
    on_card = quote(unknown, decide(unknown, LoadOptions(), 2, "gpu0"), IDLE)
    assert on_card.devices["host"].total_bytes == IDLE + WORKER_GROWTH_BYTES
    assert on_card.devices["gpu0"].total_bytes > 1050 * MIB + CUDA_CONTEXT_BYTES


def test_limits_of_a_device() -> None:
    total = 10_000 * MIB
    plain = limits(Config(), "gpu0", DeviceKind.NVIDIA, total)
    assert (plain.headroom_bytes, plain.budget_bytes) == (300 * MIB, 9700 * MIB)
    assert limits(Config(), "host", DeviceKind.HOST, 1000 * MIB).headroom_bytes == 256 * MIB
    assert limits(Config(), "card", DeviceKind.VIRTUAL, total).budget_bytes == total
    config = Config(
        ServerConfig(headroom=Headroom(share=0.5)),
        devices={"gpu0": DeviceConfig(budget=Size(MIB), headroom=Headroom(size_bytes=7)), "host": DeviceConfig()},
    )
    assert limits(config, "host", DeviceKind.HOST, total).budget_bytes == total // 2
    own = limits(config, "gpu0", DeviceKind.NVIDIA, total)
    assert (own.headroom_bytes, own.budget_bytes) == (7, MIB)
    small = limits(config, "gpu0", DeviceKind.NVIDIA, 1000)
    assert (small.headroom_bytes, small.budget_bytes) == (7, 1000)


def test_several_cards_share_the_layers() -> None:
    placed = needs(LLAMA_8B, shares=(("gpu0", 2.0), ("gpu1", 1.0)))
    assert placed["gpu0"].weights_bytes == 22 * 125 * MIB
    assert placed["gpu1"].weights_bytes == (10 * 125 + 411) * MIB
    assert placed["gpu0"].context_bytes + placed["gpu1"].context_bytes == 1024 * MIB
    assert placed["gpu1"].process_bytes == CUDA_CONTEXT_BYTES + POOL_BYTES
    assert placed["host"].weights_bytes == 282 * MIB


def test_settings_that_waste_memory_do() -> None:
    usual = Settings(8192, 2, "gpu0", -1, 512, "f16", 4)

    def total(shape: Shape, **changes: object) -> int:
        return quote(file(shape), replace(usual, **changes), IDLE).total_bytes  # type: ignore[arg-type]

    assert total(GEMMA_4B, swa_full=True) - total(GEMMA_4B) > 400 * MIB
    assert total(LLAMA_8B, flash_attention="off") - total(LLAMA_8B) > 400 * MIB
    assert total(LLAMA_8B, outputs=512) - total(LLAMA_8B) > 150 * MIB
    assert total(LLAMA_8B, ubatch_tokens=128) < total(LLAMA_8B)


def test_sequences_with_caches_of_their_own_share_the_context_out() -> None:
    split = Settings(8000, 2, "gpu0", -1, 512, "f16", 4, kv_split=True)
    assert quote(file(LLAMA_8B), split, IDLE).devices["gpu0"].context_bytes == 1024 * MIB
    assert quote(file(LLAMA_8B), replace(split, parallel=3), IDLE).devices["gpu0"].context_bytes == 1056 * MIB


@pytest.mark.parametrize("kind", ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"])
def test_a_quantised_cache_needs_heads_that_its_blocks_divide_and_flash_attention(kind: str) -> None:
    settings = Settings(2048, 2, "host", 0, 512, kind, 4)
    assert problem_of(LLAMA_8B, settings) is None
    for keys, values in ((40, 128), (128, 40), (16, 16), (80, 80)):
        shape = replace(LLAMA_8B, key_length=keys, value_length=values)
        refused = problem_of(shape, settings)
        assert refused
        assert refused.reason is Reason.MODEL_UNSUPPORTED
        assert f" of {values if keys == 128 else keys}" in refused.text
        assert problem_of(shape, replace(settings, kv_type="bf16")) is None
    off = problem_of(LLAMA_8B, replace(settings, flash_attention="off"))
    assert off
    assert off.reason is Reason.FIELD_INVALID
