"""What a worker does with its settings before anything native is there."""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

import pytest
from vramd_common.load_settings import Settings
from vramd_common.reasons import Reason
from vramd_worker.engine import EngineError
from vramd_worker.llama import LlamaSpec
from vramd_worker.llama.load import hide_devices, show_devices
from vramd_worker.llama.parameters import attends_in_tiles, check
from vramd_worker.simulated import Fault, SimulatedSpec

VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")
HIDDEN = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "-1",
    "ROCR_VISIBLE_DEVICES": "-1",
    "GGML_VK_VISIBLE_DEVICES": "",
}
CARDS = ("CUDA0", "CUDA1")


def spec(
    gpu_layers: int = -1,
    device_names: tuple[str, ...] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    kv_type: str = "f16",
    flash_attention: str = "auto",
    **more: Any,
) -> LlamaSpec:
    decided = Settings(1, 1, "host", gpu_layers, 2, kv_type, 1, 3, flash_attention, 0)
    return replace(LlamaSpec(**asdict(decided), path="p", device_names=device_names, environment=environment), **more)


@pytest.fixture(autouse=True)
def users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "users")


def seen() -> dict[str, str]:
    return {variable: os.environ[variable] for variable in VARIABLES}


@pytest.mark.parametrize("gpu_layers", [-1, 0])
def test_a_worker_on_the_host_sees_no_card(gpu_layers: int) -> None:
    show_devices(spec(gpu_layers))
    assert seen() == HIDDEN


def test_a_worker_sees_its_cards_alone() -> None:
    show_devices(spec(device_names=CARDS, environment={"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}))
    assert seen() == HIDDEN | {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("Vulkan1", {"GGML_VK_VISIBLE_DEVICES"}),
        ("ROCm0", {"HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"}),
        ("Metal", set()),
    ],
)
def test_devices_of_another_backend_stay_as_the_user_numbered_them(name: str, left: set[str]) -> None:
    show_devices(spec(device_names=(name,)))
    assert seen() == {variable: "users" if variable in left else HIDDEN[variable] for variable in VARIABLES}


def test_all_can_be_hidden() -> None:
    hide_devices()
    assert seen() == HIDDEN


@pytest.mark.parametrize(
    ("changed", "tiles"),
    [
        ({}, True),
        ({"kv_type": "q8_0"}, False),
        ({"flash_attention": "off"}, False),
        ({"device_names": CARDS}, False),
        ({"ubatch_tokens": 32}, False),
    ],
)
def test_where_attention_is_computed_in_tiles(changed: dict[str, Any], tiles: bool) -> None:
    assert attends_in_tiles(spec(**{"batch_tokens": 512, "ubatch_tokens": 512, **changed})) == tiles


@pytest.mark.parametrize("flash_attention", ["auto", "on", "off"])
def test_settings_that_go_together(flash_attention: str) -> None:
    check(spec(flash_attention=flash_attention))


@pytest.mark.parametrize("flash_attention", ["auto", "on"])
def test_a_quantised_cache_has_flash_attention(flash_attention: str) -> None:
    check(spec(kv_type="q8_0", flash_attention=flash_attention))


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (spec(kv_type="q8_0", flash_attention="off"), "flash_attention"),
        (spec(flash_attention=""), "flash_attention"),
        (spec(kv_type=""), "kv_type"),
    ],
)
def test_settings_that_do_not(wanted: LlamaSpec, field: str) -> None:
    with pytest.raises(EngineError) as caught:
        check(wanted)
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.metadata == {"field": field}


LEAST = "p: context 1, batch 2, ubatch 3, KV cache f16"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (spec(), LEAST),
        (spec(gpu_layers=0), LEAST),
        (spec(device_names=CARDS[:1]), f"{LEAST}, all layers on CUDA0"),
        (spec(12, ("Vulkan0", "Vulkan1")), f"{LEAST}, 12 layers on Vulkan0 and Vulkan1"),
        (
            spec(kv_type="q8_0", flash_attention="on"),
            "p: context 1, batch 2, ubatch 3, KV cache q8_0, flash attention on",
        ),
        (
            spec(
                device_names=CARDS,
                path="/a\nb",
                shares=(("gpu0", 0.25), ("gpu1", 0.75)),
                outputs=4,
                swa_full=True,
                kv_split=True,
            ),
            "/a\\nb: context 1, batch 2, ubatch 3, KV cache f16, all layers on CUDA0 and CUDA1, split 0.25 : 0.75, "
            "outputs 4, swa_full, kv_split",
        ),
        (SimulatedSpec(0, 0, 0, frozenset(), 4), "a simulated model: context 4"),
        (
            SimulatedSpec(5, 0.5, 20, frozenset({Fault.OOM, Fault.BUG}), 4),
            "a simulated model: context 4, takes 5 bytes, loads for 0.5 s, 20 tokens per second, faults bug, oom",
        ),
    ],
)
def test_a_load_is_told_in_the_words_of_people(told: LlamaSpec | SimulatedSpec, words: str) -> None:
    assert told.in_words == words
