"""The model that ships answers as the README says: judged by the grammar that its dialogues were composed from."""

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp")

from demo_model.dialogues import held_out_prompts
from demo_model.judge import judge
from demo_model.report import ask

FILE = Path(__file__).parents[2] / "clients/python/vramd_cli/demo_models/companion.gguf"


def test_it_is_small() -> None:
    assert FILE.stat().st_size <= 3_000_000


def test_held_out_prompts_are_answered_well() -> None:
    prompts = held_out_prompts(100)
    report = judge(prompts, ask(FILE, [prompt.text for prompt in prompts]))
    assert report.passes, report


def test_the_judge_refuses_nonsense() -> None:
    prompts = held_out_prompts(20)
    assert not judge(prompts, ["Blue the of and."] * len(prompts)).passes


def test_the_readme_names_the_file() -> None:
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert digest in (Path(__file__).parents[2] / "README.md").read_text("utf-8")
