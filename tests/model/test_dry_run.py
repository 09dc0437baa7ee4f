"""The helper that plans loads: what it says is what a real load takes, to the byte, and nothing makes it hang."""

import json
import platform
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from support.gguf_models import Shape, random_bert, random_llama
from support.llama_engines import spec
from support.programs import python
from support.quoter_process import KINDS, Quoter, windowed
from vramd_worker.llama import LlamaEngine

pytest.importorskip("llama_cpp")
if platform.system() != "Linux":
    pytest.skip("llama.cpp's own count can be read on Linux alone", allow_module_level=True)


def shape_of(name: str, folder: Path) -> Path:
    path = folder / f"{name}.gguf"
    match name:
        case "llama":
            return random_llama(path)
        case "many-keys":
            return random_llama(path, Shape(embedding=192, layers=3, heads=6, kv_heads=6, feed_forward=320))
        case "bert":
            return random_bert(path, embedding=128)
        case "embedding":
            return random_llama(path, pooling=3)
        case _:
            return windowed(path)


SHAPES = ("llama", "many-keys", "bert", "embedding", "windowed")
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "quantised cache": {"kv_type": "q8_0"},
    "no flash attention": {"flash_attention": "off"},
    "whole windows": {"swa_full": True},
    "split cache": {"kv_split": True},
    "all outputs": {"outputs": 64},
}


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", SHAPES)
def test_the_plan_is_what_a_load_takes(quoter: Quoter, folder: Path, name: str, settings: str, parallel: int) -> None:
    wanted = spec(shape_of(name, folder), context_tokens=2048, parallel=parallel, **SETTINGS[settings])
    planned = quoter.plan(wanted)
    engine = LlamaEngine(wanted, threads=1)
    loaded = engine.load(lambda _share: None)
    engine.close()
    assert planned["host"] == {kind: getattr(loaded.memory[0], kind) for kind in KINDS}
    assert [one.device for one in loaded.memory] == [""]
    assert planned["context_tokens"] == loaded.context_tokens
    assert planned["gpus"] == []


def test_the_settings_show_in_the_plan(quoter: Quoter, folder: Path) -> None:
    """Else the comparison above would compare one plan with itself."""
    llama = spec(random_llama(folder / "llama.gguf"), context_tokens=2048)
    plain = quoter.plan(llama)["host"]
    # 2 layers, a key and a value of 64 values for each of the 2048 cells.
    assert plain["context_bytes"] == 2 * 2048 * 2 * 64 * 2
    assert quoter.plan(replace(llama, kv_type="q8_0"))["host"]["context_bytes"] == 2 * 2048 * 2 * 64 * 34 // 32
    assert quoter.plan(replace(llama, outputs=64))["host"]["compute_bytes"] > plain["compute_bytes"]
    assert quoter.plan(replace(llama, flash_attention="off"))["host"]["compute_bytes"] > plain["compute_bytes"]
    assert quoter.plan(replace(llama, kv_split=True))["context_tokens"] == 512
    window = spec(windowed(folder / "windowed.gguf"), context_tokens=2048)
    # The window, a computation's tokens, to the next 256; one sequence more would be another window.
    cells = {False: 2048 + 3 * 256, True: 4 * 2048}
    for whole, expected in cells.items():
        planned = quoter.plan(replace(window, swa_full=whole, parallel=1))
        assert planned["host"]["context_bytes"] == expected * 2 * 64 * 2


def test_a_thousand_plans_leave_nothing_behind(quoter: Quoter, folder: Path) -> None:
    wanted = replace(spec(random_llama(folder / "small.gguf", Shape(layers=1))), gpu_layers=-1)
    for _ in range(50):
        quoter.plan(wanted, gpus=1)
    before = resident_bytes(quoter.process.pid)
    for _ in range(1000):
        quoter.plan(wanted, gpus=1)
    assert resident_bytes(quoter.process.pid) - before < 600 * 1024


def resident_bytes(pid: int) -> int:
    return psutil.Process(pid).memory_info().rss


@pytest.mark.parametrize(
    ("settings", "refused", "says"),
    [
        ({"kv_type": "q2_k"}, "FIELD_INVALID", "no type of a KV cache"),
        ({"kv_type": "q8_0", "flash_attention": "off"}, "FIELD_INVALID", "needs flash attention"),
        ({"path": "/nowhere/model.gguf"}, None, "No such file"),
    ],
)
def test_what_is_refused_is_told_apart_from_what_cannot_be_told(
    quoter: Quoter, folder: Path, settings: dict[str, Any], refused: str | None, says: str
) -> None:
    path = random_llama(folder / "llama.gguf")
    wanted = spec(Path(settings.get("path", path)), **{name: one for name, one in settings.items() if name != "path"})
    answer = quoter.ask(wanted)
    assert answer
    assert answer.get("refused") == refused
    assert says in answer["message" if refused else "problem"]


@pytest.mark.parametrize("line", [b"no json", b"[]", b"{}", b'{"path": "x"}', b'{"devices": ["Nothing0"]}'])
def test_what_is_no_question_is_a_problem_too(quoter: Quoter, line: bytes) -> None:
    quoter.write(line + b"\n")
    answer = quoter.read()
    assert answer
    assert answer["problem"]


def test_a_build_for_the_cpu_has_no_devices(quoter: Quoter) -> None:
    quoter.write(b'{"devices": true}\n')
    answer = quoter.read()
    assert answer
    assert answer["devices"] == []


def test_the_refusal_is_llama_cpps_own(quoter: Quoter, folder: Path) -> None:
    answer = quoter.ask(spec(random_llama(folder / "strange.gguf", architecture="perceptron9")))
    assert answer
    assert answer["refused"] == "MODEL_UNSUPPORTED"
    assert "perceptron9" in answer["message"]


def test_damaged_files_get_an_answer_or_end_the_process(folder: Path) -> None:
    data = random_llama(folder / "llama.gguf").read_bytes()
    random = np.random.default_rng(1)
    one = Quoter()
    for at in random.integers(4, 4000, 60):
        path = folder / "damaged.gguf"
        path.write_bytes(data[:at] if at % 2 else data[:at] + random.bytes(16) + data[at + 16 :])
        if one.ask(spec(path)) is None:
            one.end()
            one = Quoter()
    one.process.kill()
    one.process.communicate()


def test_it_ends_with_its_requests() -> None:
    one = Quoter()
    assert one.end() == 0


def test_ctrl_c_is_not_for_it(folder: Path) -> None:
    one = Quoter()
    one.process.send_signal(signal.SIGINT)
    assert one.plan(spec(random_llama(folder / "llama.gguf")))
    assert one.end() == 0


@pytest.mark.parametrize("constant", ["ON_HOST", "ON_GPU"])
@pytest.mark.parametrize("kind", range(3))
def test_it_does_not_offer_plans_that_a_known_model_contradicts(constant: str, kind: int) -> None:
    done = python(
        "-c",
        f"""
from vramd_worker import quoter
from vramd_worker.llama import self_check
known = self_check.{constant}
place, sizes = list(known.items())[-1]
known[place] = tuple(size + (kind == {kind}) for kind, size in enumerate(sizes))
quoter.run(0, b"", 1)
""",
    )
    hello = json.loads(done.stdout)
    assert not hello["ready"]
    assert "a known model takes" in hello["problem"]
    assert done.returncode == 69


def test_it_does_not_trust_an_untested_build() -> None:
    done = python(
        "-c",
        """
from vramd_worker import quoter
from vramd_worker.llama import native
native.TESTED_VERSIONS = frozenset({"0.0.1"})
quoter.run(0, b"", 1)
""",
    )
    hello = json.loads(done.stdout)
    assert not hello["ready"]
    assert "untested" in hello["problem"]
    assert done.returncode == 69


def test_neither_grpc_nor_jinja_is_imported() -> None:
    done = python(
        "-c",
        """
import sys
from vramd_worker import quoter
quoter.run(0, b"", 2)
print(sorted({"grpc", "google", "jinja2", "numpy", "asyncio", "llama_cpp.llama"} & set(sys.modules)))
""",
    )
    assert done.stdout.strip() == "[]", done.stderr
