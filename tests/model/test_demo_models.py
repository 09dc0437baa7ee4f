"""The models that ship answer as the README says, by judges that know how the talk was composed."""

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp")

from demo_model.dialogues import held_out_prompts
from demo_model.domains import DOMAINS
from demo_model.judge import judge
from demo_model.report import ask
from gguf import GGUFReader

ROOT = Path(__file__).parents[2]
FILES = {name: ROOT / f"clients/python/vramd_cli/demo_models/{name}.gguf" for name in DOMAINS}
SPECIALISTS = ("coder", "mathematician")


@pytest.mark.parametrize("name", SPECIALISTS)
def test_it_is_smaller_than_the_first(name: str) -> None:
    assert FILES[name].stat().st_size < FILES["companion"].stat().st_size


@pytest.mark.parametrize("name", SPECIALISTS)
def test_held_out_questions_are_answered_right(name: str) -> None:
    questions = DOMAINS[name].questions(100)
    report = judge(questions, ask(FILES[name], [question.text for question in questions]))
    assert report.passes, report


@pytest.mark.parametrize("name", SPECIALISTS)
def test_the_judge_refuses_nonsense(name: str) -> None:
    questions = DOMAINS[name].questions(20)
    report = judge(questions, ["Blue the of and."] * len(questions))
    assert (report.well_formed, report.right) == (0, 0)


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_the_file_tells_what_it_is_for(name: str) -> None:
    fields = GGUFReader(FILES[name]).fields
    assert fields["general.name"].contents() == f"vramd {name}"
    assert fields["general.tags"].contents() == [DOMAINS[name].tag]


@pytest.mark.parametrize("name", sorted(DOMAINS))
def test_the_readme_of_the_models_names_the_file(name: str) -> None:
    digest = hashlib.sha256(FILES[name].read_bytes()).hexdigest()
    assert digest in (ROOT / "clients/training/demo_model/README.md").read_text("utf-8")


def test_the_companion_is_small() -> None:
    assert FILES["companion"].stat().st_size <= 3_000_000


def test_held_out_prompts_are_answered_well() -> None:
    prompts = held_out_prompts(100)
    report = judge(prompts, ask(FILES["companion"], [prompt.text for prompt in prompts]))
    assert report.passes, report


def test_the_judge_of_dialogues_refuses_nonsense() -> None:
    prompts = held_out_prompts(20)
    assert not judge(prompts, ["Blue the of and."] * len(prompts)).passes
