"""`vramd bench` as users call it: real supervisors, real workers, a tiny model."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from vramd_bench import BENCHMARKS
from vramd_cli.play import MODEL_FILE

pytestmark = pytest.mark.timeout(300)  # a swap takes a minute while neighbours have the cores
BOUND_S = 280.0
JUDGED = ("ipc", "stream", "concurrency", "talk", "prompt", "swap", "memory", "two-models")
"""The benchmarks that have bars."""


def bench(cache: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # A pinned configuration of the user's must not reach the supervisors that are measured.
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "VRAMD_SPARE": "false"}
    command = [sys.executable, "-m", "vramd", "bench", *arguments]
    return subprocess.run(
        command, cwd=cache, env=environment, capture_output=True, text=True, timeout=BOUND_S, check=False
    )


def quick(cache: Path, benchmark: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """The figures by name."""
    done = bench(cache, benchmark, "--quick", "--runs", "1", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["quick"]
    (result,) = told["results"]
    assert result["benchmark"] == benchmark
    return {figure["name"]: figure for figure in result["figures"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model of random weights, which is made once."""
    return tmp_path_factory.mktemp("cache")


# The memory's figures are looked at below.
@pytest.mark.parametrize("benchmark", sorted({*JUDGED} - {"memory"}))
def test_a_benchmark_judges_its_figures(models: Path, benchmark: str) -> None:
    pytest.importorskip("llama_cpp")
    check(quick(models, benchmark))


def check(figures: dict[str, dict[str, Any]]) -> None:
    assert all(f["min"] <= f["median"] <= f["max"] for f in figures.values()), figures
    assert all(f["min"] > 0 for f in figures.values() if f["unit"] == "s"), figures
    assert all(f["min"] >= 0 and f["max"] <= 1 for f in figures.values() if f["unit"] == "share"), figures
    assert any(f["met"] is not None for f in figures.values())


def test_no_benchmark_is_forgotten(models: Path) -> None:
    assert (*JUDGED, "threads", "profiles") == BENCHMARKS


def test_the_best_on_one_machine_is_no_bar_for_others(models: Path) -> None:
    pytest.importorskip("llama_cpp")
    assert not [name for name, f in quick(models, "threads").items() if f["met"] is not None]


def test_the_receipt_tells_what_was_measured(models: Path) -> None:
    pytest.importorskip("llama_cpp")
    readme = models / "README.md"
    readme.write_text("<!-- bench -->\n<!-- /bench -->\n", "utf-8")
    memory = quick(models, "memory", "--readme", str(readme))
    check(memory)
    promised = memory["promised to the worker (receipt: expected)"]["median"]
    observed = memory["given back by it (receipt: observed)"]["median"]
    assert observed != promised
    assert observed == pytest.approx(memory["worker with the model, in use"]["median"], rel=0.5)
    assert "| memory | supervisor, idle, resident |" in readme.read_text("utf-8")


def measured(cache: Path, benchmark: str, *arguments: str) -> tuple[dict[str, list[float]], str]:
    """With the model of the demo, once; the values by the figure's name, and the notes."""
    done = bench(cache, benchmark, "--runs", "1", "--json", "--model", str(MODEL_FILE), *arguments)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    return {figure["name"]: figure["values"] for figure in result["figures"]}, " ".join(result["notes"])


@pytest.mark.long
def test_numbers_of_threads_are_compared(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    found, notes = measured(tmp_path, "threads")
    arms = [name.partition(", ")[2] for name in found if name.startswith("first token")]
    assert arms[0] == "1 thread"
    for arm in arms:
        first_s, all_s, rates = (found[f"{name}, {arm}"] for name in ("first token", "100 tokens", "tokens per second"))
        assert all_s == [first + 99 / rate for first, rate in zip(first_s, rates, strict=True)]
        assert min(first_s) > 0
        assert min(found[f"CPU time / time, {arm}"]) > 0, "a model computes"
    fastest = max(arms, key=lambda arm: statistics.median(found[f"tokens per second, {arm}"]))
    assert f"The best here by the median of tokens/s: {fastest}." in notes


def test_profiles_are_compared(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    found, notes = measured(tmp_path, "profiles", "--quick")
    for profile in ("low_memory", "balanced", "performance"):
        for name in ("RAM after load", "RAM, peak"):
            assert min(found[f"{name}, {profile}"]) > MODEL_FILE.stat().st_size
        assert min(found[f"first token, {profile}"]) > 0
        assert min(found[f"tokens per second, {profile}"]) > 0
        assert found[f"failed / all answers, {profile}"] == [0]
    assert ("the profiles differ by their batch alone" in notes) != ("on the GPU after load, balanced" in found)


def test_a_file_that_cannot_take_the_table_is_refused_at_once(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("no place for it\n", "utf-8")
    done = bench(tmp_path, "--readme", str(readme))
    assert done.returncode == 1
    assert "<!-- bench -->" in done.stderr
    assert readme.read_text("utf-8") == "no place for it\n"


def test_a_model_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    model = tmp_path / "none.gguf"
    model.write_bytes(b"GGUF, or not")
    done = bench(tmp_path, "swap", "--runs", "1", "--model", str(model))
    assert done.returncode == 1
    assert "MODEL_FILE_INVALID" in done.stderr


def test_pictures_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("llama_cpp")
    done = bench(tmp_path, "two-models", "--quick", "--runs", "1", "--plots", str(tmp_path / "plots"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plots/two-models.png").read_bytes().startswith(b"\x89PNG")
    assert "both together" in done.stdout
    assert done.stdout.rstrip().endswith(("every bar is met", "together / the better one alone"))


def test_what_has_no_bars_says_nothing_of_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("llama_cpp")
    plots = str(tmp_path / "plots")
    done = bench(tmp_path, "profiles", "--quick", "--runs", "1", "--model", str(MODEL_FILE), "--plots", plots)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plots/profiles.png").read_bytes().startswith(b"\x89PNG")
    assert "failed / all answers, performance" in done.stdout
    assert "bar is met" not in done.stdout
