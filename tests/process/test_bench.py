"""`vramd bench` as users call it: real supervisors, real workers, a tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BOUND_S = 110.0


def bench(cache: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # A pinned configuration of the user's must not reach the supervisors that are measured.
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "VRAMD_SPARE": "false"}
    command = [sys.executable, "-m", "vramd", "bench", *arguments]
    return subprocess.run(
        command, cwd=cache, env=environment, capture_output=True, text=True, timeout=BOUND_S, check=False
    )


def test_every_benchmark_runs(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench -->\n<!-- /bench -->\n", "utf-8")
    done = bench(tmp_path, "--quick", "--runs", "1", "--json", "--readme", str(readme))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    found = {result["benchmark"]: {f["name"]: f for f in result["figures"]} for result in told["results"]}
    assert list(found) == ["ipc", "swap", "memory", "two-models"]
    assert told["quick"]
    for figures in found.values():
        assert all(0 < f["min"] <= f["median"] <= f["max"] for f in figures.values()), figures
        assert any(f["met"] is not None for f in figures.values())
    # The receipt tells what was measured, not what was promised.
    memory = found["memory"]
    promised = memory["promised to the worker (receipt: expected)"]["median"]
    observed = memory["given back by it (receipt: observed)"]["median"]
    assert observed != promised
    assert observed == pytest.approx(memory["worker with the model, in use"]["median"], rel=0.5)
    assert "| ipc | short call, vramd / relay |" in readme.read_text("utf-8")


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
