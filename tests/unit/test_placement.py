"""The ways to place a model, and what is given up when it does not fit."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from support.model_shapes import LLAMA_8B, MIB
from vramd_common.load_settings import LoadOptions, Settings
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile, Problem, Shape, Simulation
from vramd_supervisor.domain.device_view import DeviceKind, DeviceView
from vramd_supervisor.domain.errors import Refusal
from vramd_supervisor.domain.quote import Answer, Confidence, Lowered, Plan, Source
from vramd_supervisor.quoting.closed_form import quote
from vramd_supervisor.quoting.degradation import fits
from vramd_supervisor.quoting.drive import drive
from vramd_supervisor.quoting.placement import LoadPlans, decide, differences, placements

GIB = 1 << 30
IDLE = 50 * MIB
HOST = DeviceView("host", DeviceKind.HOST)
CARD = DeviceView("gpu0", DeviceKind.NVIDIA)
SECOND = DeviceView("gpu1", DeviceKind.NVIDIA)
BLIND = DeviceView("gpu0", DeviceKind.NVIDIA, "this llama.cpp was built without CUDA")
VIRTUAL = DeviceView("card", DeviceKind.VIRTUAL)

FILE = ModelFile("/m.gguf", 4700 * MIB, "llama", trained_context_tokens=131072, shape=LLAMA_8B)
AMPLE: Mapping[str, int] = {"host": 64 * GIB, "gpu0": 64 * GIB, "gpu1": 64 * GIB, "card": 64 * GIB}


def answered(
    model: Model,
    options: LoadOptions,
    devices: tuple[DeviceView, ...],
    available: Mapping[str, int],
    refuses: Callable[[Settings], bool] = lambda _: False,
) -> LoadPlans | Refusal:
    def answer(settings: Settings) -> Answer:
        if refuses(settings):
            return Problem(Reason.MODEL_UNSUPPORTED, f"llama.cpp says no to {settings.kv_type}")
        assert isinstance(model.source, ModelFile)
        return quote(model.source, settings, IDLE)

    return drive(placements(model, options, devices, 4, available), answer)


def plans(
    options: LoadOptions,
    *devices: DeviceView,
    configured: LoadOptions | None = None,
    source: ModelFile = FILE,
    **available: int,
) -> tuple[Plan, ...] | Refusal:
    found = answered(Model("m", source, configured or LoadOptions()), options, devices, {**AMPLE, **available})
    return found if isinstance(found, Refusal) else found.plans


def only(found: tuple[Plan, ...] | Refusal) -> Plan:
    assert not isinstance(found, Refusal)
    [plan] = found
    return plan


def targets(found: tuple[Plan, ...] | Refusal) -> list[str]:
    assert not isinstance(found, Refusal)
    return [plan.settings.device for plan in found]


def why(found: tuple[Plan, ...] | Refusal) -> Reason:
    assert isinstance(found, Refusal)
    return found.reason


def test_what_is_left_open_is_decided() -> None:
    assert decide(FILE, LoadOptions(), 6, "gpu0") == Settings(8192, 6, "gpu0", -1, 512, "f16", 8, outputs=8)
    short = ModelFile("/m.gguf", 1, trained_context_tokens=2048, shape=LLAMA_8B)
    assert decide(short, LoadOptions(), 6, "host").context_tokens == 2048
    assert decide(ModelFile("/m.gguf", 1), LoadOptions(), 6, "host").context_tokens == 4096
    assert decide(short, LoadOptions(context_tokens=4096), 6, "host").context_tokens == 4096
    assert decide(FILE, LoadOptions(context_tokens=100), 6, "host").batch_tokens == 100
    asked = LoadOptions(300, 3, None, 7, 64, "q8_0", 2)
    assert decide(FILE, asked, 6, "gpu0") == Settings(300, 3, "gpu0", 7, 64, "q8_0", 2, 64, outputs=2)
    assert decide(FILE, LoadOptions(outputs="all", ubatch_tokens=128), 6, "host").outputs == 128
    assert decide(FILE, LoadOptions(outputs="9"), 6, "host").outputs == 9
    assert decide(FILE, LoadOptions(outputs="2"), 6, "host").outputs == 8


def test_the_gpu_with_the_least_room_to_spare_comes_first() -> None:
    assert targets(plans(LoadOptions(), HOST, CARD, SECOND, VIRTUAL, gpu1=8 * GIB)) == ["gpu1", "gpu0"]
    assert targets(plans(LoadOptions(device="auto"), HOST, BLIND, SECOND)) == ["gpu1"]


def test_without_a_gpu_it_is_the_host() -> None:
    assert targets(plans(LoadOptions(gpu_layers=0), HOST, CARD)) == ["host"]
    assert targets(plans(LoadOptions(), HOST)) == ["host"]
    assert only(plans(LoadOptions(), HOST)).settings.gpu_layers == 0


def test_two_cards_share_what_neither_can_hold() -> None:
    plan = only(plans(LoadOptions(), HOST, CARD, SECOND, gpu0=4 * GIB, gpu1=5 * GIB))
    assert plan.settings.devices == ("gpu0", "gpu1")
    assert plan.quote.needs["gpu0"] <= 4 * GIB
    assert plan.quote.needs["gpu1"] <= 5 * GIB
    assert plan.degraded == ()


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


def test_a_gpu_only_load_without_a_gpu_is_refused() -> None:
    found = plans(LoadOptions(gpu_only=True), HOST, BLIND)
    assert why(found) is Reason.DEVICE_UNUSABLE
    assert isinstance(found, Refusal)
    assert "built without CUDA" in found.message


@pytest.mark.parametrize("device", [HOST, CARD])
def test_what_was_asked_for_stays_what_was_asked_for(device: DeviceView) -> None:
    asked = LoadOptions(context_tokens=1000, batch_tokens=64, parallel=2, threads=9, outputs="all", kv_split=True)
    assert differences(Model("m", FILE), only(plans(asked, HOST, device)).settings, asked) == ""


def test_less_room_costs_speed_then_precision_then_context_then_layers() -> None:
    room = only(plans(LoadOptions(), HOST, CARD)).quote.needs["gpu0"]
    steps = [only(plans(LoadOptions(), HOST, CARD, gpu0=room - less * MIB)) for less in (1, 60, 120, 800, 1500, 3500)]
    assert [plan.settings.ubatch_tokens for plan in steps] == [256, 256, 128, 128, 128, 128]
    assert [plan.settings.kv_type for plan in steps] == ["f16", "f16", "q8_0", "q8_0", "q8_0", "q8_0"]
    contexts = [plan.settings.context_tokens for plan in steps]
    assert contexts[:3] == [8192] * 3
    assert 2048 < contexts[3] < 8192
    assert contexts[4:] == [2048, 2048]
    layers = [plan.settings.gpu_layers for plan in steps]
    assert layers[:4] == [-1] * 4
    assert 32 > layers[4] > layers[5] > 0
    assert [len(plan.degraded) for plan in steps] == [1, 1, 2, 3, 4, 4]
    given_up = (Lowered.UBATCH, Lowered.KV_TYPE, Lowered.CONTEXT, Lowered.GPU_LAYERS)
    assert [plan.lowered for plan in steps] == [given_up[: len(plan.degraded)] for plan in steps]
    for plan, less in zip(steps, (1, 60, 120, 800, 1500, 3500), strict=True):
        assert plan.quote.needs["gpu0"] <= room - less * MIB


def test_as_many_layers_as_fit_are_on_the_gpu() -> None:
    for gib in (1, 2, 3):
        plan = only(plans(LoadOptions(), HOST, CARD, gpu0=gib * GIB))
        more = Settings(**{**vars(plan.settings), "gpu_layers": plan.settings.gpu_layers + 1})
        assert quote(FILE, more, IDLE).needs["gpu0"] > gib * GIB


def test_what_was_asked_for_is_not_given_up() -> None:
    asked = LoadOptions(context_tokens=8192, kv_type="f16", ubatch_tokens=512)
    plan = only(plans(asked, HOST, CARD, gpu0=4 * GIB))
    assert (plan.settings.context_tokens, plan.settings.kv_type, plan.settings.ubatch_tokens) == (8192, "f16", 512)
    assert 0 < plan.settings.gpu_layers < 32
    lowered = only(plans(LoadOptions(context_tokens=8192, least_context_tokens=4096), HOST, CARD, gpu0=4800 * MIB))
    assert 4096 <= lowered.settings.context_tokens < 8192
    asked = LoadOptions(context_tokens=8192, least_context_tokens=4096)
    assert differences(Model("m", FILE), lowered.settings, asked) == ""


def test_a_gpu_only_load_is_refused_rather_than_spread() -> None:
    found = answered(Model("m", FILE), LoadOptions(gpu_only=True), (HOST, CARD), {**AMPLE, "gpu0": 2 * GIB})
    assert isinstance(found, LoadPlans)
    assert [(plan.settings.device, plan.settings.gpu_layers) for plan in found.plans] == [("gpu0", -1)]


def test_a_small_card_computes_less_at_a_time() -> None:
    small = replace(CARD, total_bytes=3 * GIB)
    assert only(plans(LoadOptions(), HOST, small)).settings.batch_tokens == 256
    assert only(plans(LoadOptions(batch_tokens=512), HOST, small)).settings.batch_tokens == 512
    assert only(plans(LoadOptions(), HOST, replace(CARD, total_bytes=6 * GIB))).settings.batch_tokens == 512


WINDOWED = replace(LLAMA_8B, sliding_window=1024, sliding_layers=(True, False) * (LLAMA_8B.layers // 2))


@pytest.mark.parametrize(
    ("options", "shape", "sequences"),
    [
        (LoadOptions(), LLAMA_8B, 8),
        (LoadOptions(context_tokens=8191), LLAMA_8B, 4),
        (LoadOptions(context_tokens=65536), LLAMA_8B, 8),
        (LoadOptions(parallel=2), LLAMA_8B, 2),
        (LoadOptions(kv_split=True), LLAMA_8B, 4),
        (LoadOptions(), replace(LLAMA_8B, state_bytes=(MIB,) * LLAMA_8B.layers), 4),
        (LoadOptions(), WINDOWED, 4),
        (LoadOptions(swa_full=True), WINDOWED, 8),
        (LoadOptions(), Shape(), 4),
    ],
    ids=["default", "short", "long", "given", "split", "recurrent", "windowed", "whole window", "unknown"],
)
def test_more_sequences_are_default_where_they_cost_next_to_nothing(
    options: LoadOptions, shape: Shape, sequences: int
) -> None:
    settings = decide(replace(FILE, shape=shape), options, 4, "host")
    assert settings.parallel == sequences
    one_less = replace(settings, parallel=sequences - 1, outputs=sequences - 1)
    costs = [quote(replace(FILE, shape=shape), some, IDLE).needs["host"] for some in (settings, one_less)]
    assert sequences <= 4 or costs[0] - costs[1] <= 2 * 4 * LLAMA_8B.vocabulary, "a row of results, twice at most"


def test_fewer_sequences_are_no_lowered_setting() -> None:
    for devices, options in (((HOST,), LoadOptions()), ((HOST, CARD), LoadOptions(gpu_only=True, degrade=False))):
        device = devices[-1].id
        eight = only(plans(options, *devices))
        four = only(plans(LoadOptions(parallel=4).over(options), *devices))
        most = eight.quote.needs[device] - 1 if device == "host" else eight.quote.needs["host"] - 1
        found = only(plans(options, *devices, host=most))
        assert (found.settings, found.degraded) == (four.settings, ())
        assert found.quote.needs["host"] <= most
        asked = LoadOptions(parallel=8, context_tokens=8192).over(options)
        assert only(plans(asked, *devices, host=most)).settings.parallel == 8, "a given number is not lowered"


def test_where_the_need_is_a_guess_a_card_has_its_usual_layers() -> None:
    unknown = ModelFile("/m.gguf", 2 * GIB)
    for gib, layers in ((3, 20), (5, 32), (8, -1)):
        card = replace(CARD, total_bytes=gib * GIB)
        assert only(plans(LoadOptions(), HOST, card, source=unknown)).settings.gpu_layers == layers
        assert only(plans(LoadOptions(gpu_layers=7), HOST, card, source=unknown)).settings.gpu_layers == 7


def test_a_load_that_must_not_be_degraded_is_not() -> None:
    found = plans(LoadOptions(degrade=False), HOST, CARD, gpu0=4 * GIB)
    assert only(found).settings == decide(FILE, LoadOptions(), 4, "host")
    assert only(found).degraded == ()


def test_the_host_takes_what_no_card_can() -> None:
    plan = only(plans(LoadOptions(), HOST, CARD, gpu0=300 * MIB))
    assert plan.settings.device == "host"


def test_on_the_host_only_a_context_that_nobody_asked_for_is_lowered() -> None:
    room = only(plans(LoadOptions(), HOST)).quote.needs["host"]
    plan = only(plans(LoadOptions(), HOST, host=room - 300 * MIB))
    assert 2048 <= plan.settings.context_tokens < 8192
    assert (plan.settings.kv_type, plan.settings.ubatch_tokens) == ("f16", 512)
    allowed = only(plans(LoadOptions(context_tokens=8192, degrade=True), HOST, host=room - 300 * MIB))
    assert (allowed.settings.kv_type, allowed.settings.context_tokens) == ("q8_0", 8192)


def test_what_would_fit_is_named_where_nothing_does() -> None:
    asked = LoadOptions(context_tokens=8192)
    room = only(plans(asked, HOST)).quote.needs["host"]
    for less in (10, 100, 700):
        available = {"host": room - less * MIB}
        found = answered(Model("m", FILE), asked, (HOST,), available)
        assert isinstance(found, LoadPlans)
        assert [plan.settings.context_tokens for plan in found.plans] == [8192]
        assert found.alternatives
        assert all(plan.quote.needs["host"] <= available["host"] and plan.degraded for plan in found.alternatives)
    nothing = answered(Model("m", FILE), asked, (HOST,), {"host": GIB})
    assert isinstance(nothing, LoadPlans)
    assert nothing.alternatives == ()


def test_a_damaged_model_is_refused_with_its_problem() -> None:
    damaged = ModelFile("/m.gguf", 3, problem=Problem(Reason.MODEL_FILE_MISSING, "/m.gguf is not there"))
    found = plans(LoadOptions(), HOST, source=damaged)
    assert why(found) is Reason.MODEL_FILE_MISSING
    assert isinstance(found, Refusal)
    assert found.metadata == {"model": "m", "path": "/m.gguf"}
    assert found.message == "m: /m.gguf is not there"


def simulated(options: LoadOptions, *devices: DeviceView) -> tuple[Plan, ...] | Refusal:
    memory = {"host": 60 * MIB, "card": 3000 * MIB}
    found = answered(Model("s", Simulation(memory, 1, 40, (), True)), options, devices, AMPLE)
    return found if isinstance(found, Refusal) else found.plans


def test_a_simulated_model_takes_what_it_declares() -> None:
    plan = only(simulated(LoadOptions(), HOST, VIRTUAL))
    assert plan.settings == Settings(4096, 4, "card", -1, 512, "f16", 4)
    assert plan.quote.needs == {"host": 60 * MIB, "card": 3000 * MIB}
    assert (plan.quote.confidence, plan.quote.source) == (Confidence.EXACT, Source.DECLARED)


def test_a_simulated_model_stays_where_it_is_declared() -> None:
    assert targets(simulated(LoadOptions(device="host"), HOST, VIRTUAL)) == ["host"]
    assert why(simulated(LoadOptions(device="gpu0"), HOST, VIRTUAL, CARD)) is Reason.DEVICE_UNUSABLE
    assert why(simulated(LoadOptions(), HOST)) is Reason.DEVICE_UNUSABLE


def test_no_layer_on_a_card_that_was_asked_for_is_the_host() -> None:
    assert targets(plans(LoadOptions(device="gpu0", gpu_layers=0), HOST, CARD)) == ["host"]
    refused = plans(LoadOptions(gpu_layers=0, gpu_only=True), HOST, CARD)
    assert why(refused) is Reason.DEVICE_UNUSABLE


def test_cards_of_different_backends_do_not_share_a_model() -> None:
    other = DeviceView("vulkan0", DeviceKind.BACKEND)
    found = plans(LoadOptions(degrade=False), HOST, CARD, other, gpu0=3 * GIB, vulkan0=3 * GIB)
    assert targets(found) == ["host"]


def test_a_cache_that_is_made_smaller_twice_is_told_once() -> None:
    asked = LoadOptions(context_tokens=8192, degrade=True)
    room = only(plans(asked, HOST)).quote.needs["host"]
    plan = only(plans(asked, HOST, host=room - 700 * MIB))
    assert plan.settings.kv_type == "q4_0"
    assert [words for words in plan.degraded if "KV cache" in words] == ["KV cache as q4_0"]
    assert plan.lowered.count(Lowered.KV_TYPE) == 1


@pytest.mark.parametrize(
    ("trained", "options", "told"),
    [
        (512, LoadOptions(context_tokens=8192), "a context of 8192 tokens, and it was trained for 512"),
        (512, LoadOptions(context_tokens=4096, parallel=4, kv_split=True), "a context of 1024 tokens"),
        (2048, LoadOptions(context_tokens=8192, parallel=4, kv_split=True), ""),
        (8192, LoadOptions(context_tokens=8192), ""),
        (8192, LoadOptions(), ""),
        (0, LoadOptions(context_tokens=8192), ""),
    ],
)
def test_a_context_beyond_the_training_is_told_and_given(trained: int, options: LoadOptions, told: str) -> None:
    cautions = only(plans(options, HOST, source=replace(FILE, trained_context_tokens=trained))).cautions
    assert (told in cautions[0]) if told else not cautions


def plain_only(settings: Settings) -> bool:
    """What llama.cpp says to a quantised cache of heads that its blocks do not divide."""
    return settings.kv_type not in ("f16", "bf16", "f32")


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "iq4_nl"])
@pytest.mark.parametrize("device", [None, "gpu0", "host"])
def test_settings_that_the_engine_refuses_are_refused_with_its_words(kind: str, device: str | None) -> None:
    asked = LoadOptions(kv_type=kind, device=device)
    found = answered(Model("m", FILE), asked, (HOST, CARD), AMPLE, plain_only)
    assert isinstance(found, Refusal)
    assert (found.reason, found.message) == (Reason.MODEL_UNSUPPORTED, f"m: llama.cpp says no to {kind}")


def test_no_step_down_is_one_that_the_engine_refuses() -> None:
    room = only(plans(LoadOptions(), HOST, CARD)).quote.needs["gpu0"]
    for less in (1, 60, 120, 800, 1500, 3500):
        for degrade in (None, True):
            available = {**AMPLE, "gpu0": room - less * MIB}
            found = answered(Model("m", FILE), LoadOptions(degrade=degrade), (HOST, CARD), available, plain_only)
            assert isinstance(found, LoadPlans)
            [plan] = found.plans
            assert fits(plan.quote, available)
            assert plan.settings.kv_type == "f16"
            assert not any("KV cache" in words for words in plan.degraded)


def test_what_would_fit_is_never_what_the_engine_refuses() -> None:
    asked = LoadOptions(context_tokens=8192)
    for device, devices in (("host", (HOST,)), ("gpu0", (HOST, CARD))):
        room = only(plans(replace(asked, device=device), *devices)).quote.needs[device]
        available = {**AMPLE, device: room - 100 * MIB}
        found = answered(Model("m", FILE), replace(asked, device=device, degrade=False), devices, available, plain_only)
        assert isinstance(found, LoadPlans)
        assert found.alternatives
        assert all(plan.settings.kv_type == "f16" for plan in found.alternatives)


def test_a_way_that_the_engine_refuses_leaves_the_others() -> None:
    for refused in ("gpu0", "gpu1", "host"):

        def refuses(settings: Settings, no: str = refused) -> bool:
            return settings.device == no

        found = answered(Model("m", FILE), LoadOptions(), (HOST, CARD, SECOND), AMPLE, refuses)
        assert isinstance(found, LoadPlans)
        assert refused not in [plan.settings.device for plan in found.plans]
    no_card = answered(Model("m", FILE), LoadOptions(), (HOST, CARD), AMPLE, lambda s: s.device != "host")
    assert isinstance(no_card, LoadPlans)
    assert [plan.settings.device for plan in no_card.plans] == ["host"]
