"""The settings of a load: what llama.cpp makes of them, and that none of them ends the process later."""

import json
import platform
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.gguf_models import Shape, random_bert, random_llama
from support.llama_engines import ask, embed, loaded, spec, start
from support.programs import python
from vramd_common.reasons import Reason
from vramd_common.sampling import Sampling
from vramd_worker.engine import EngineError, Job, Loaded, Vectors
from vramd_worker.llama import LlamaEngine, LlamaSpec

pytest.importorskip("llama_cpp")
GREEDY = Sampling(temperature=0)
counted = pytest.mark.skipif(platform.system() != "Linux", reason="llama.cpp's own count can be read on Linux alone")


def result_of(wanted: LlamaSpec, parallel: int = 4) -> Loaded:
    engine = LlamaEngine(replace(wanted, parallel=parallel), threads=1)
    try:
        return engine.load(lambda _share: None)
    finally:
        engine.close()


@pytest.mark.parametrize("outputs", [1, 3, 64])
@pytest.mark.parametrize("kv_split", [False, True])
def test_outputs_below_the_sequences_do_not_end_the_process(tmp_path: Path, outputs: int, kv_split: bool) -> None:
    """llama.cpp asserts that no batch asks for more results than were reserved, and the context itself asks."""
    path = random_llama(tmp_path / "model.gguf")
    with loaded(spec(path, outputs=outputs, kv_split=kv_split), parallel=4) as engine:
        started = [start(engine, Job(f"the {word}", GREEDY, max_tokens=12))[0] for word in "abcdef"]
        for answer in started:
            assert answer.wait().finish.completion_tokens == 12


def test_a_split_cache_gives_each_sequence_its_share(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "model.gguf")
    assert result_of(spec(path, context_tokens=1024)).context_tokens == 1024
    assert result_of(spec(path, context_tokens=1024, kv_split=True)).context_tokens == 256
    with loaded(spec(path, context_tokens=1024, kv_split=True)) as engine:
        finish = ask(engine, Job("the", GREEDY)).finish
        assert finish.prompt_tokens + finish.completion_tokens == 256
        refused = ask(engine, Job("a" * 300, GREEDY)).error
        assert refused
        assert refused.reason is Reason.CONTEXT_OVERFLOW


def test_texts_to_embed_get_the_whole_context_whatever_is_split(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "model.gguf", pooling=3)
    wanted = spec(path, context_tokens=512, kv_split=True)
    assert result_of(wanted).context_tokens == 512
    with loaded(wanted) as engine:
        assert isinstance(embed(engine, ["a" * 400, "the"]), Vectors)


def test_answers_do_not_depend_on_how_they_are_computed(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "model.gguf")
    texts = set()
    for wanted in (spec(path), spec(path, kv_split=True), spec(path, outputs=64), spec(path, swa_full=True)):
        with loaded(wanted) as engine:
            texts.add(ask(engine, Job("the a to", GREEDY, max_tokens=20)).text)
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"flash_attention": "perhaps"}, "flash_attention"),
        ({"flash_attention": "off", "kv_type": "q8_0"}, "flash_attention"),
        ({"kv_type": "q2_k"}, "kv_type"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(tmp_path: Path, changes: dict[str, str], field: str) -> None:
    wanted = replace(spec(random_llama(tmp_path / "model.gguf")), **changes)  # type: ignore[arg-type]
    with pytest.raises(EngineError) as caught:
        result_of(wanted)
    assert caught.value.reason is Reason.FIELD_INVALID
    assert caught.value.metadata == {"field": field}


def test_a_device_that_is_not_there_is_no_reason_to_compute_on_the_host(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "model.gguf")
    for wanted in (
        replace(spec(path), gpu_layers=-1, device_names=("Nothing0",)),
        replace(spec(path), gpu_layers=-1, device_names=("CUDA0",), environment={"CUDA_VISIBLE_DEVICES": "GPU-0"}),
    ):
        with pytest.raises(EngineError) as caught:
            result_of(wanted)
        assert caught.value.reason is Reason.DEVICE_UNUSABLE
        assert caught.value.metadata["device"] == wanted.device_names[0]


@counted
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_load_tells_what_llama_cpp_counts(tmp_path: Path, parallel: int) -> None:
    """Against what it prints of the same load, to the hundredth of a MiB that it prints."""
    path = random_llama(tmp_path / "model.gguf", Shape(vocabulary=20_000))
    code = f"""
import json, sys
from dataclasses import asdict
from vramd_worker.llama import LlamaEngine, LlamaSpec, native
native._LOG_WARN, native._LOG_ERROR = 2, 2
engine = LlamaEngine({spec(path, parallel=parallel)!r}, threads=1)
print(json.dumps([asdict(one) for one in engine.load(lambda _share: None).memory]))
"""
    done = python("-c", code)
    (host,) = json.loads(done.stdout)
    printed = {
        kind: sum(map(float, re.findall(rf"{kind} buffer size = +([\d.]+) MiB", done.stderr)))
        for kind in ("model", "KV", "output", "compute")
    }
    assert host["device"] == ""
    assert host["weights_bytes"] / 2**20 == pytest.approx(printed["model"], abs=0.01)
    assert host["context_bytes"] / 2**20 == pytest.approx(printed["KV"], abs=0.01)
    assert host["compute_bytes"] / 2**20 == pytest.approx(printed["output"] + printed["compute"], abs=0.01)
    assert printed["output"] == pytest.approx(parallel * 20_000 * 4 / 2**20, abs=0.006)


@counted
def test_the_copy_of_the_results_grows_to_a_batch_where_texts_are_embedded(tmp_path: Path) -> None:
    short = result_of(spec(random_bert(tmp_path / "a.gguf", context=64))).memory[0]
    long = result_of(spec(random_bert(tmp_path / "b.gguf", context=128), context_tokens=1024)).memory[0]
    # 64 tokens more, of which each has a float for each of 21 words and 64 dimensions.
    assert long.compute_bytes - short.compute_bytes >= 64 * (21 + 64) * 4


def test_a_backend_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "model.gguf")
    code = f"""
from vramd_worker.engine import EngineError
from vramd_worker.llama import LlamaEngine, LlamaSpec
try:
    LlamaEngine({spec(path, context_tokens=256, parallel=1)!r}, threads=1).load(lambda _share: None)
except EngineError as error:
    print(error.reason.name, error)
"""
    done = python("-c", code, added={"GGML_BACKEND_PATH": str(tmp_path / "none.so")})
    assert done.stdout.startswith("ENGINE_MISSING")
    assert "none.so" in done.stdout
