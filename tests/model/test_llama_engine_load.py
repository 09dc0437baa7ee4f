"""Loads that cannot go well, and what is said about them; what a load that goes well tells."""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from support.gguf_models import Shape, random_bert, random_llama
from support.llama_engines import spec
from support.programs import python
from vramd_common.reasons import Reason
from vramd_worker.engine import EngineError
from vramd_worker.llama import LlamaEngine, LlamaSpec, probe
from vramd_worker.llama.native import difference

pytest.importorskip("llama_cpp")


def refusal(wanted: LlamaSpec) -> EngineError:
    with pytest.raises(EngineError) as caught:
        LlamaEngine(replace(wanted, parallel=1), threads=1).load(lambda _share: None)
    return caught.value


def test_a_load_tells_what_came_of_it_and_shows_progress(tmp_path: Path) -> None:
    shares: list[float] = []
    engine = LlamaEngine(spec(random_llama(tmp_path / "model.gguf"), context_tokens=1000, parallel=2), threads=1)
    result = engine.load(shares.append)
    engine.close()
    assert result.context_tokens == 1000
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("stated", [2**31 - 1, 2**31, 2**32 - 1])
def test_a_model_with_a_trained_context_of_billions_is_loaded(tmp_path: Path, stated: int) -> None:
    path = random_llama(tmp_path / "model.gguf", Shape(context=stated))
    engine = LlamaEngine(spec(path, parallel=1), threads=1)
    assert engine.load(lambda _: None).context_tokens == 1024
    engine.close()


@pytest.mark.parametrize(
    ("model", "tokens", "says"),
    [
        ("none", [], "no tokenizer"),
        ("bert", ["[CLS]", "\u2581a"], "no separator"),
        ("bert", ["\u2581a"], "no begin-of"),
    ],
)
def test_what_cannot_read_or_complete_a_text_is_refused_before_anybody_asks(
    tmp_path: Path, model: str, tokens: list[str], says: str
) -> None:
    path = random_bert(tmp_path / "model.gguf", tokenizer=model, tokens=tokens)
    with pytest.raises(EngineError) as caught:
        LlamaEngine(spec(path, parallel=1), threads=1).load(lambda _: None)
    assert caught.value.reason is Reason.MODEL_UNSUPPORTED
    assert says in str(caught.value)


def test_an_encoder_has_no_more_context_than_it_was_trained_for(tmp_path: Path) -> None:
    engine = LlamaEngine(spec(random_bert(tmp_path / "bert.gguf"), context_tokens=4096, parallel=2), threads=1)
    result = engine.load(lambda _share: None)
    engine.close()
    assert result.context_tokens == 64


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("this is no model\n" * 100)


def truncated_header(path: Path) -> None:
    path.write_bytes(random_llama(path).read_bytes()[:2000])


def truncated_weights(path: Path) -> None:
    path.write_bytes(random_llama(path).read_bytes()[:-5000])


def damaged_header(path: Path) -> None:
    data = bytearray(random_llama(path).read_bytes())
    data[16:24] = b"\xff" * 8
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [empty, text, truncated_header, truncated_weights, damaged_header])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "model.gguf"
    damage(path)
    assert refusal(spec(path)).reason is Reason.MODEL_FILE_INVALID


def test_the_refusal_quotes_llama_cpp(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    truncated_weights(path)
    assert "not within the file bounds" in str(refusal(spec(path)))


def test_an_unknown_architecture_is_refused_by_name(tmp_path: Path) -> None:
    error = refusal(spec(random_llama(tmp_path / "model.gguf", architecture="perceptron9")))
    assert error.reason is Reason.MODEL_UNSUPPORTED
    assert "perceptron9" in str(error)


def test_a_file_that_is_not_there_and_what_is_no_file(tmp_path: Path) -> None:
    missing = refusal(spec(tmp_path / "none.gguf"))
    assert missing.reason is Reason.MODEL_FILE_MISSING
    assert missing.metadata == {"path": str(tmp_path / "none.gguf")}
    assert refusal(spec(tmp_path)).reason is Reason.MODEL_PATH_INVALID


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("no FIFOs there")
    else:
        os.mkfifo(tmp_path / "model.gguf")
        assert refusal(spec(tmp_path / "model.gguf")).reason is Reason.MODEL_PATH_INVALID


def test_a_kv_type_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    error = refusal(spec(random_llama(tmp_path / "model.gguf"), kv_type="q2_k"))
    assert error.reason is Reason.FIELD_INVALID
    assert error.metadata == {"field": "kv_type"}


def test_a_probe_says_what_is_installed() -> None:
    build = probe()
    assert build.version.count(".") == 2
    assert build.problem == ""
    assert build.backends[0] == "cpu"


def test_a_build_that_was_not_tested_is_told_apart() -> None:
    library = importlib.import_module("llama_cpp.llama_cpp")
    assert difference(library, probe().version) == ""
    assert "0.9.9" in difference(library, "0.9.9")
    assert "--untested-engine" in difference(library, "0.9.9")
    changed = ModuleType("changed")
    changed.__dict__.update(vars(library), llama_batch=library.llama_token_data)
    assert "llama_batch has 12 bytes" in difference(changed, probe().version)
    changed.__dict__.update(vars(library), llama_context_default_params=library.llama_model_default_params)
    assert "n_ctx is None, not 512" in difference(changed, probe().version)
    del changed.__dict__["llama_encode"]
    assert "llama_encode is missing" in difference(changed, probe().version)


def test_an_answer_nobody_can_rely_on_ends_the_process(tmp_path: Path) -> None:
    """A batch that llama.cpp calls invalid: the process says so and dies, at once and for good."""
    path = random_llama(tmp_path / "model.gguf")
    code = f"""
from vramd_worker.llama.context import Chunk
from vramd_worker.llama.load import open_model, start_engine
from vramd_worker.llama.parameters import LlamaSpec
library = start_engine(untested=False)
spec = {spec(path, context_tokens=256)!r}
opened = open_model(library, spec, 1, lambda share: None)
opened.context.compute([Chunk(slot=0, tokens=[10**6], position=0, output=True)])
print("still here")
"""
    done = python("-c", code)
    assert done.returncode != 0
    assert "fatal: llama.cpp could not compute a batch of 1 tokens (code -1)" in done.stderr
    assert "still here" not in done.stdout


def test_importing_the_engine_imports_nothing_native() -> None:
    code = "import sys, vramd_worker.llama; print('llama_cpp' in sys.modules, 'jinja2' in sys.modules)"
    done = python("-c", code)
    assert done.stdout.split() == ["False", "False"]


def test_a_probe_imports_the_calls_alone_and_leaves_the_package_whole() -> None:
    code = """
import sys
from vramd_worker.llama import probe
assert probe().version
print(sorted({"numpy", "jinja2", "llama_cpp"} & set(sys.modules)), "llama_cpp.llama_cpp" in sys.modules)
import llama_cpp
print(llama_cpp.llama_cpp is sys.modules["llama_cpp.llama_cpp"], hasattr(llama_cpp, "Llama"))
"""
    done = python("-c", code)
    assert done.stdout.splitlines() == ["[] True", "True True"]
