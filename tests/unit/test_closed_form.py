"""Formulas against bytes that llama.cpp really allocated, and the ways to place a model."""

import pytest
from vramd_proto.v1.reasons import Reason
from vramd_supervisor.core.catalog import LoadOptions, Model, ModelFile, Problem, Settings, Shape, Simulation
from vramd_supervisor.core.closed_form import CUDA_CONTEXT_BYTES, quote, ubatch_tokens
from vramd_supervisor.core.config import Config, DeviceConfig, Headroom, ServerConfig, Size
from vramd_supervisor.core.device_view import DeviceKind, DeviceView, limits
from vramd_supervisor.core.errors import Refusal
from vramd_supervisor.core.placement import Plan, decide, placements
from vramd_supervisor.core.quote import Confidence, DeviceBytes, Source

MIB = 1 << 20
IDLE = 50 * MIB

LLAMA_8B = Shape(
    layers=32,
    embedding=4096,
    feed_forward=14336,
    heads=32,
    kv_heads=(8,) * 32,
    key_length=128,
    value_length=128,
    vocabulary=128256,
    input_bytes=282 * MIB,
    output_bytes=411 * MIB,
    layer_bytes=(125 * MIB,) * 32,
)
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
HOST = DeviceView("host", DeviceKind.HOST)
CARD = DeviceView("gpu0", DeviceKind.NVIDIA)
SECOND = DeviceView("gpu1", DeviceKind.NVIDIA)
BLIND = DeviceView("gpu0", DeviceKind.NVIDIA, "this llama.cpp was built without CUDA")
VIRTUAL = DeviceView("card", DeviceKind.VIRTUAL)


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
) -> dict[str, DeviceBytes]:
    settings = Settings(context, 2, device, layers, min(512, context), kv_type, parallel)
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
    scratch_bytes = needs(LLAMA_8B, context=context)["gpu0"].compute_bytes
    pool_bytes = 34 * MIB + 2 * 512 * 14336 * 36 // 32
    assert scratch_bytes - pool_bytes == int(mebibytes * MIB * 1.12)


def test_everything_on_the_gpu_but_the_input() -> None:
    placed = needs(LLAMA_8B)
    assert placed["gpu0"].weights_bytes == (411 + 32 * 125) * MIB
    assert placed["host"].weights_bytes == 282 * MIB
    assert placed["gpu0"].process_bytes == CUDA_CONTEXT_BYTES
    assert placed["host"].process_bytes == IDLE
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
    assert ubatch_tokens(MINILM, settings) == 512
    found = quote(file(MINILM, trained=512), settings, IDLE)
    assert found.devices["host"].context_bytes == 0
    assert (found.confidence, found.source) == (Confidence.CLOSE, Source.CLOSED_FORM)
    # The worker of this model was seen to take 60 MiB more than an idle one, not all of its scratch touched.
    assert 60 * MIB < found.total_bytes - IDLE < 80 * MIB


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
    assert on_card.devices["host"].total_bytes == IDLE
    assert on_card.devices["gpu0"].total_bytes > 1050 * MIB + CUDA_CONTEXT_BYTES


def test_what_is_left_open_is_decided() -> None:
    assert decide(file(LLAMA_8B), LoadOptions(), 6, "gpu0") == Settings(8192, 6, "gpu0", -1, 512, "f16", 4)
    assert decide(file(LLAMA_8B, trained=2048), LoadOptions(), 6, "host").context_tokens == 2048
    assert decide(file(LLAMA_8B, trained=0), LoadOptions(), 6, "host").context_tokens == 4096
    assert decide(file(LLAMA_8B, trained=2048), LoadOptions(context_tokens=4096), 6, "host").context_tokens == 4096
    assert decide(file(LLAMA_8B), LoadOptions(context_tokens=100), 6, "host").batch_tokens == 100
    asked = LoadOptions(300, 3, None, 7, 64, "q8_0", 2)
    assert decide(file(LLAMA_8B), asked, 6, "gpu0") == Settings(300, 3, "gpu0", 7, 64, "q8_0", 2)


def plans(
    options: LoadOptions, *devices: DeviceView, configured: LoadOptions | None = None, source: ModelFile | None = None
) -> tuple[Plan, ...] | Refusal:
    model = Model("m", source or file(LLAMA_8B), configured or LoadOptions())
    return placements(model, options, devices, 4, IDLE)


def targets(found: tuple[Plan, ...] | Refusal) -> list[str]:
    assert not isinstance(found, Refusal)
    return [plan.settings.device for plan in found]


def why(found: tuple[Plan, ...] | Refusal) -> Reason:
    assert isinstance(found, Refusal)
    return found.reason


def test_each_usable_gpu_then_the_host() -> None:
    assert targets(plans(LoadOptions(), HOST, CARD, SECOND, VIRTUAL)) == ["gpu0", "gpu1", "host"]
    assert targets(plans(LoadOptions(device="auto"), HOST, BLIND, SECOND)) == ["gpu1", "host"]
    assert targets(plans(LoadOptions(gpu_layers=0), HOST, CARD)) == ["host"]
    assert targets(plans(LoadOptions(), HOST)) == ["host"]


def test_a_device_that_was_asked_for_is_the_only_one() -> None:
    assert targets(plans(LoadOptions(device="gpu1"), HOST, CARD, SECOND)) == ["gpu1"]
    assert targets(plans(LoadOptions(device="host"), HOST, CARD)) == ["host"]
    assert targets(plans(LoadOptions(), HOST, CARD, configured=LoadOptions(device="host"))) == ["host"]
    assert targets(plans(LoadOptions(device="gpu0"), HOST, CARD, configured=LoadOptions(device="host"))) == ["gpu0"]


def test_a_device_that_cannot_hold_the_model_is_refused() -> None:
    for device in ("gpu7", "gpu0", "card"):
        found = plans(LoadOptions(device=device), HOST, BLIND, VIRTUAL)
        assert why(found) is Reason.DEVICE_UNUSABLE
        assert isinstance(found, Refusal)
        assert found.metadata == {"model": "m", "device": device}


def test_what_was_asked_for_stays_what_was_asked_for() -> None:
    asked = LoadOptions(context_tokens=1000, gpu_layers=5, batch_tokens=64, parallel=2, threads=9)
    found = plans(asked, HOST, CARD)
    assert not isinstance(found, Refusal)
    assert [plan.settings.differences(asked) for plan in found] == ["", ""]


def test_a_damaged_model_is_refused_with_its_problem() -> None:
    damaged = ModelFile("/m.gguf", 3, problem=Problem(Reason.MODEL_FILE_MISSING, "/m.gguf is not there"))
    found = plans(LoadOptions(), HOST, source=damaged)
    assert why(found) is Reason.MODEL_FILE_MISSING
    assert isinstance(found, Refusal)
    assert found.metadata == {"model": "m", "path": "/m.gguf"}
    assert found.message == "m: /m.gguf is not there"


def simulated(options: LoadOptions, *devices: DeviceView) -> tuple[Plan, ...] | Refusal:
    memory = {"host": 60 * MIB, "card": 3000 * MIB}
    return placements(Model("s", Simulation(memory, 1, 40, (), True)), options, devices, 4, IDLE)


def test_a_simulated_model_takes_what_it_declares() -> None:
    found = simulated(LoadOptions(), HOST, VIRTUAL)
    assert not isinstance(found, Refusal)
    [plan] = found
    assert plan.settings == Settings(4096, 4, "card", -1, 512, "f16", 4)
    assert {device: need.total_bytes for device, need in plan.quote.devices.items()} == {
        "host": 60 * MIB,
        "card": 3000 * MIB,
    }
    assert (plan.quote.confidence, plan.quote.source) == (Confidence.EXACT, Source.DECLARED)


def test_a_simulated_model_stays_where_it_is_declared() -> None:
    assert targets(simulated(LoadOptions(device="host"), HOST, VIRTUAL)) == ["host"]
    assert why(simulated(LoadOptions(device="gpu0"), HOST, VIRTUAL, CARD)) is Reason.DEVICE_UNUSABLE
    assert why(simulated(LoadOptions(), HOST)) is Reason.DEVICE_UNUSABLE


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
