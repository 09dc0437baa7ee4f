"""Plans for GPUs: for virtual ones as CUDA would take it, for those of a plug-in what a load on them really takes."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gguf
import pytest
from support.gguf_models import random_llama
from support.llama_engines import spec
from support.programs import python
from support.quoter_process import HEADED, KINDS, LLAMA_8B, Answer, Quoter, sparse_llama
from support.virtual_gpu import Card, build
from vramd_worker.llama import LlamaSpec

pytest.importorskip("llama_cpp")
if platform.system() != "Linux":
    pytest.skip("llama.cpp's own count can be read on Linux alone", allow_module_level=True)


def padded(size: int, to: int) -> int:
    return -(-size // to) * to


def tensor_bytes(path: Path, alignment: int) -> dict[str, int]:
    return {one.name: padded(int(one.n_bytes), alignment) for one in gguf.GGUFReader(path).tensors}


def is_of_layer(name: str, layers: range) -> bool:
    return name.startswith("blk.") and int(name.split(".")[1]) in layers


def on_gpu_bytes(path: Path, layers: range, output: bool) -> int:
    """As llama.cpp assigns weights: the output with its norm is a layer behind the last."""
    return sum(
        size
        for name, size in tensor_bytes(path, 128).items()
        if is_of_layer(name, layers) or (output and name.startswith("output"))
    )


@pytest.mark.parametrize("gpu_layers", [-1, 1, 3])
def test_a_gpu_takes_the_last_layers(quoter: Quoter, folder: Path, gpu_layers: int) -> None:
    path = random_llama(folder / "headed.gguf", HEADED)
    planned = quoter.plan(replace(spec(path, context_tokens=2048), gpu_layers=gpu_layers), gpus=1)
    first = 0 if gpu_layers < 0 else HEADED.layers + 1 - gpu_layers
    layers = range(first, HEADED.layers)
    assert planned["gpus"][0]["weights_bytes"] == on_gpu_bytes(path, layers, output=True)
    host = [size for name, size in tensor_bytes(path, 32).items() if is_of_layer(name, range(first))]
    assert planned["host"]["weights_bytes"] == sum(host) + tensor_bytes(path, 32)["token_embd.weight"]
    layer_bytes = 2048 * 2 * HEADED.kv_heads * 64 * 2
    assert planned["gpus"][0]["context_bytes"] == layer_bytes * len(layers)
    assert planned["host"]["context_bytes"] == layer_bytes * first


def test_no_layers_on_a_gpu_leave_nothing_there(quoter: Quoter, folder: Path) -> None:
    path = random_llama(folder / "headed.gguf", HEADED)
    planned = quoter.plan(replace(spec(path), gpu_layers=0), gpus=1)
    assert planned["gpus"] == [dict.fromkeys(KINDS, 0)]
    assert planned["host"] == quoter.plan(spec(path))["host"]


def test_two_gpus_share_as_they_are_told(quoter: Quoter, folder: Path) -> None:
    path = random_llama(folder / "headed.gguf", HEADED)
    planned = quoter.plan(
        replace(spec(path, context_tokens=2048), gpu_layers=-1, shares=(("a", 1.0), ("b", 3.0))), gpus=2
    )
    # A quarter of the seven layers and the output, which count as eight.
    first, second = range(2), range(2, HEADED.layers)
    assert [one["weights_bytes"] for one in planned["gpus"]] == [
        on_gpu_bytes(path, first, output=False),
        on_gpu_bytes(path, second, output=True),
    ]
    layer_bytes = 2048 * 2 * HEADED.kv_heads * 64 * 2
    assert [one["context_bytes"] for one in planned["gpus"]] == [2 * layer_bytes, 5 * layer_bytes]


def test_a_model_whole_on_two_gpus_is_computed_in_four_copies(quoter: Quoter, folder: Path) -> None:
    """As CUDA can: what goes from one to the other is kept four times, unless the host has a layer too."""
    wanted = replace(spec(random_llama(folder / "headed.gguf", HEADED)), gpu_layers=-1, shares=(("a", 1.0), ("b", 1.0)))
    whole = quoter.plan(wanted, gpus=2)["gpus"][1]["compute_bytes"]
    partly = quoter.plan(replace(wanted, gpu_layers=HEADED.layers), gpus=2)["gpus"][1]["compute_bytes"]
    assert whole - partly >= 3 * 64 * HEADED.embedding * 4


def test_a_quantised_cache_is_kept_as_halves_while_a_gpu_attends(quoter: Quoter, folder: Path) -> None:
    """What CUDA's flash attention takes: a layer's keys and values as f16, beside the cache."""
    path = random_llama(folder / "headed.gguf", HEADED)
    large = replace(spec(path, context_tokens=32768), gpu_layers=-1)
    more = {
        tokens: quoter.plan(replace(large, context_tokens=tokens, kv_type="q8_0"), gpus=1)["gpus"][0]["compute_bytes"]
        for tokens in (16384, 32768)
    }
    mask_bytes = 2 * 16384 * 64
    assert more[32768] - more[16384] == 16384 * 2 * HEADED.kv_heads * 64 * 2 + mask_bytes


def test_a_head_that_cuda_has_no_kernel_for_attends_in_steps(quoter: Quoter, folder: Path) -> None:
    """Heads of 32: flash attention is off by itself, and where it is demanded the host has to do it."""
    llama = replace(spec(random_llama(folder / "llama.gguf"), context_tokens=2048), gpu_layers=-1)
    headed = replace(spec(random_llama(folder / "headed.gguf", HEADED), context_tokens=2048), gpu_layers=-1)
    for wanted, runs_there in ((llama, False), (headed, True)):
        by_itself = quoter.plan(wanted, gpus=1)["gpus"]
        demanded = quoter.plan(replace(wanted, flash_attention="on"), gpus=1)["gpus"]
        assert (by_itself == demanded) is runs_there


@pytest.mark.parametrize(
    ("settings", "compute_mib"),
    [
        ({"context_tokens": 8192, "outputs": 1}, 116),
        ({"context_tokens": 32768, "outputs": 1}, 140),
        ({"context_tokens": 8192, "outputs": 1, "ubatch_tokens": 256}, 58),
        ({"context_tokens": 8192, "outputs": 512}, 258.5),
        ({"context_tokens": 8192, "outputs": 512, "flash_attention": "off"}, 564),
        ({"context_tokens": 32768, "outputs": 512, "flash_attention": "off"}, 2148),
    ],
)
def test_an_8b_model_takes_what_is_published(
    quoter: Quoter, folder: Path, settings: dict[str, Any], compute_mib: float
) -> None:
    """What llama.cpp logs of Llama 3.1 8B on CUDA with batches of 512, in MiB."""
    path = sparse_llama(folder / "8b.gguf", LLAMA_8B)
    wanted = replace(spec(path, batch_tokens=512), gpu_layers=-1, **settings)
    (gpu,) = quoter.plan(replace(wanted, parallel=1), gpus=1)["gpus"]
    assert gpu["compute_bytes"] / 2**20 == pytest.approx(compute_mib, abs=0.02)
    assert gpu["context_bytes"] == wanted.context_tokens * 32 * 2 * 1024 * 2


def test_large_batches_are_computed_on_the_gpu_also_where_weights_are_not(quoter: Quoter, folder: Path) -> None:
    path = random_llama(folder / "headed.gguf", HEADED)
    small, large = (
        quoter.plan(replace(spec(path, batch_tokens=tokens), gpu_layers=1, parallel=1), gpus=1)["gpus"][0][
            "compute_bytes"
        ]
        for tokens in (31, 32)
    )
    # The weights of a feed-forward, which come over for the time of a computation.
    assert large - small > 384 * 256 * 2


LOAD = """
import json, sys
from dataclasses import asdict
from vramd_worker.llama import LlamaEngine, LlamaSpec
engine = LlamaEngine(LlamaSpec(**json.loads(sys.argv[1])), threads=1)
print(json.dumps([asdict(one) for one in engine.load(lambda _share: None).memory]))
"""


@pytest.fixture(scope="module")
def plug_in(folder: Path) -> Path:
    return build(folder)


@pytest.fixture
def card(tmp_path: Path) -> Card:
    return Card(tmp_path, (64 * 2**20, 32 * 2**20))


def planned_and_loaded(environment: Mapping[str, str], wanted: LlamaSpec) -> tuple[list[Answer], list[Answer]]:
    """Bytes of the host and of each device, in the order of their names."""
    one = Quoter(environment)
    planned = one.plan(wanted, devices=wanted.device_names)
    one.end()
    done = python("-c", LOAD, json.dumps(asdict(wanted)), added=environment)
    assert done.returncode == 0, done.stderr
    loaded = {memory.pop("device"): memory for memory in json.loads(done.stdout)}
    assert set(loaded) == {"", *wanted.device_names}
    return [planned["host"], *planned["gpus"]], [loaded[name] for name in ("", *wanted.device_names)]


def test_devices_of_a_plug_in_are_found(card: Card, plug_in: Path) -> None:
    one = Quoter(card.environment(plug_in))
    one.write(b'{"devices": true}\n')
    found = one.read()
    one.end()
    assert found
    told = [(device["name"], device["type"], device["total_bytes"]) for device in found["devices"]]
    assert told == [("VGPU0", "gpu", card.totals[0]), ("VGPU1", "gpu", card.totals[1])]
    assert all(device["free_bytes"] <= device["total_bytes"] and device["description"] for device in found["devices"])


@pytest.mark.parametrize("gpu_layers", [-1, 3])
@pytest.mark.parametrize("settings", [{}, {"kv_type": "q8_0"}, {"flash_attention": "off"}])
def test_the_plan_for_a_device_is_what_a_load_takes(
    folder: Path, card: Card, plug_in: Path, settings: dict[str, Any], gpu_layers: int
) -> None:
    path = random_llama(folder / "headed.gguf", HEADED)
    wanted = replace(spec(path, **settings), gpu_layers=gpu_layers, device_names=("VGPU0",), warm_up_batch=True)
    planned, loaded = planned_and_loaded(card.environment(plug_in), wanted)
    assert planned == loaded
    assert planned[1]["weights_bytes"] > 0


def test_the_plan_for_two_devices_is_never_below_what_a_load_takes(folder: Path, card: Card, plug_in: Path) -> None:
    """Whole models on two devices are computed in four copies; llama.cpp plans one more input than it then makes."""
    path = random_llama(folder / "headed.gguf", HEADED)
    wanted = replace(
        spec(path), gpu_layers=-1, device_names=("VGPU0", "VGPU1"), shares=(("a", 1.0), ("b", 1.0)), warm_up_batch=True
    )
    planned, loaded = planned_and_loaded(card.environment(plug_in), wanted)
    assert planned[1]["weights_bytes"] == on_gpu_bytes(path, range(4), output=False)
    planned[2]["compute_bytes"] -= 4 * 64 * HEADED.embedding * 4
    assert planned == loaded


WARM_UP = """
import json, sys
from vramd_worker.llama.load import open_model, start_engine
from vramd_worker.llama.parameters import LlamaSpec
library = start_engine(untested=False)
opened = open_model(library, LlamaSpec(**json.loads(sys.argv[1])), 1, lambda _share: None)
library.llama_synchronize(opened.context.handle)
print(library.llama_perf_context(opened.context.handle).n_p_eval)
"""


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"device_names": ("VGPU0",), "warm_up_batch": True}, 64),
        ({"device_names": ("VGPU0",), "warm_up_batch": True, "kv_split": True, "context_tokens": 1024}, 64),
        ({"device_names": ("VGPU0",)}, 2),  # by the second token it is seen what the memory can drop
        ({"warm_up_batch": True}, 2),
    ],
)
def test_a_whole_batch_is_computed_only_on_a_device_and_only_if_asked_for(
    folder: Path, card: Card, plug_in: Path, changes: dict[str, Any], tokens: int
) -> None:
    wanted = replace(spec(random_llama(folder / "headed.gguf", HEADED)), gpu_layers=-1, **changes)
    done = python("-c", WARM_UP, json.dumps(asdict(wanted)), added=card.environment(plug_in))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == tokens
