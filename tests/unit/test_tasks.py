"""What models are good at, and which one is chosen for a task."""

from dataclasses import replace
from pathlib import Path

import pytest
from support import gguf_bytes
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile, Shape, Simulation
from vramd_supervisor.domain.errors import Refusal
from vramd_supervisor.files.discovery import read_model
from vramd_supervisor.selection.specialties import (
    GENERALIST,
    ROLES,
    SPECIALIST_ELSEWHERE,
    TASKS,
    UNTRAINED,
    role_of,
    specialties,
    task_of,
)
from vramd_supervisor.selection.tasks import Candidate, Choice, Fit, Readiness, Wish, choose, parameters, size_priority


def model(
    id_: str, billions: float = 7.0, *, chats: bool = True, tasks: tuple[str, ...] = (), **known: object
) -> Model:
    file = ModelFile(f"/models/{id_}.gguf", 1 << 30, parameters=int(billions * 1e9), has_chat_template=chats)
    return Model(id_, replace(file, **known), tasks=tasks)  # type: ignore[arg-type]  # fields of a ModelFile


def chosen(wish: Wish, *candidates: Candidate) -> Choice:
    found = choose(candidates, wish)
    assert isinstance(found, Choice)
    return found


def loaded(model: Model, readiness: Readiness = Readiness.LOADED) -> Candidate:
    return Candidate(model, readiness, Fit.NOW)


GENERAL = model("general", 3)
CODER = model("qwen2.5-coder-7b")
LARGE_CODER = model("deepseek-coder-33b-instruct", 33)
VECTORS = model("reader", 0.3, shape=Shape(causal=False))


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("code", "code"),
        ("code_generation", "code"),
        ("Code Generation", "code"),
        ("python-code-review", "code"),
        ("programming", "code"),
        ("chat", "dialogue"),
        ("small_talk", "dialogue"),
        ("maths", "math"),
        ("math_reasoning", "math"),
        ("planning", "reasoning"),
        ("summarize", "summary"),
        ("embed", "embedding"),
        ("Star Gazing", "star_gazing"),
    ],
)
def test_a_task_has_many_names(words: str, task: str) -> None:
    assert task_of(words) == task


def test_every_word_leads_to_a_task_that_leads_to_itself() -> None:
    assert all(TASKS[task] == task for task in TASKS.values())
    assert all(role.task in TASKS for role in ROLES.values())


@pytest.mark.parametrize(
    ("words", "task"), [("architect", "reasoning"), ("Senior Architect", "reasoning"), ("npc", "dialogue")]
)
def test_a_role_has_many_names(words: str, task: str) -> None:
    role = role_of(words)
    assert role is not None
    assert (role.task, role.thorough) == (task, task == "reasoning")


def test_a_role_that_nobody_knows() -> None:
    assert role_of("gardener") is None


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("Qwen2.5-Coder-7B-Instruct-Q4_K_M", ("code",)),
        ("starcoder2-3b", ("code",)),
        ("CodeLlama-13b", ("code",)),
        ("mathstral-7B", ("math",)),
        ("DeepSeekMath-7b", ("math",)),
        ("DeepSeek-R1-Distill-Qwen-7B", ("reasoning",)),
        ("stories15M", ("writing",)),
        ("madlad400-3b", ("translation",)),
        ("Llama-3.2-3B-Instruct", ("dialogue",)),
        ("history-encoder", ("dialogue",)),
    ],
)
def test_the_name_of_a_file_tells_what_it_is_made_for(name: str, tasks: tuple[str, ...]) -> None:
    assert specialties(model(name)).tasks == tasks


def test_the_header_tells_too(tmp_path: Path) -> None:
    names = {"general.name": "A Model", "general.basename": "Clever-Coder", "general.finetune": "Instruct"}
    (tmp_path / "m.gguf").write_bytes(gguf_bytes.llama(more=names))
    file = read_model(tmp_path / "m.gguf")
    assert file.titles == ("A Model", "Clever-Coder", "Instruct")
    assert specialties(Model("m", file)).tasks == ("code",)


def test_a_header_that_lies_about_its_names_is_read_all_the_same(tmp_path: Path) -> None:
    more: dict[str, gguf_bytes.Plain] = {"general.name": 5, "general.basename": ["code"], "general.finetune": "x" * 999}
    (tmp_path / "m.gguf").write_bytes(gguf_bytes.llama(more=more))
    assert read_model(tmp_path / "m.gguf").titles == ("x" * 256,)


def test_how_well_a_model_does_what_it_is_not_made_for() -> None:
    assert specialties(GENERAL).suits("math") == GENERALIST
    assert specialties(CODER).suits("math") == SPECIALIST_ELSEWHERE
    assert specialties(GENERAL).suits("embedding") == UNTRAINED
    assert specialties(model("coder", chats=False)).suits("math") == UNTRAINED
    assert specialties(model("base", chats=False)).suits("dialogue") == UNTRAINED
    assert specialties(Model("s", Simulation({}, 0, 1, (), False))).suits("dialogue") == 1


@pytest.mark.parametrize("shape", [Shape(causal=False), Shape(pooling=3)])
def test_a_model_for_embeddings_does_nothing_else(shape: Shape) -> None:
    good_at = specialties(model("code-embedder", shape=shape))
    assert (good_at.tasks, good_at.suits("embedding"), good_at.suits("code")) == (("embedding",), 1, 0)


def test_the_configuration_is_believed() -> None:
    good_at = specialties(model("qwen-coder", tasks=("Mathematics", "math", "star gazing")))
    assert (good_at.tasks, good_at.suits("code")) == (("math", "star_gazing"), SPECIALIST_ELSEWHERE)
    assert specialties(model("x", tasks=("chat", "code"))).suits("math") == GENERALIST
    assert specialties(model("x", tasks=("embedding",))).suits("dialogue") == 0


@pytest.mark.parametrize(
    ("billions", "priority"), [(1, 10), (3, 10), (7, 8), (8, 8), (13, 5), (14, 5), (24, 1), (70, 1)]
)
def test_the_smaller_the_more_urgent(billions: int, priority: int) -> None:
    assert size_priority(billions * 10**9) == priority


def test_a_model_that_does_not_tell_its_parameters_is_judged_by_its_bytes() -> None:
    assert size_priority(parameters(Model("s", Simulation({"gpu0": 8 << 30}, 0, 1, (), False)))) == 5
    assert parameters(model("m", 0, size_bytes=606)) == 1000
    assert parameters(model("m", 3)) == 3 * 10**9


def test_what_is_made_for_the_task_is_better_than_what_is_loaded() -> None:
    choice = chosen(Wish("code_generation"), loaded(GENERAL), Candidate(CODER, fit=Fit.NOW, about_fit="there is room"))
    assert (choice.model, choice.loaded, choice.fits, choice.better) == ("qwen2.5-coder-7b", False, True, "")
    assert choice.reasons == (
        "made for code: its name says so",
        "there is room",
        "7.0B parameters, size priority 8 of 10",
    )
    (other,) = choice.considered
    assert (other.model, other.why_not) == (
        "general",
        "a general model, not made for code (qwen2.5-coder-7b: made for code: its name says so)",
    )
    assert 0 < other.score < choice.score


def test_small_models_are_counted_in_millions() -> None:
    assert (
        chosen(Wish("chat"), Candidate(model("toy", 0.0013))).reasons[-1] == "1.3M parameters, size priority 10 of 10"
    )


def test_of_two_that_suit_the_loaded_one_is_taken() -> None:
    twin = model("another-coder")
    assert chosen(Wish("code"), Candidate(twin), loaded(CODER)).model == "qwen2.5-coder-7b"
    choice = chosen(Wish("code"), loaded(CODER, Readiness.BUSY), loaded(twin))
    assert choice.model == "another-coder"
    assert choice.considered[0].why_not.startswith("loaded, but all its places are taken")
    assert chosen(Wish("code"), Candidate(twin), Candidate(CODER, Readiness.COMING)).model == "qwen2.5-coder-7b"


def test_the_smaller_of_two_is_taken_but_not_for_an_architect() -> None:
    both = (Candidate(CODER, fit=Fit.NOW), Candidate(LARGE_CODER, fit=Fit.NOW))
    assert chosen(Wish("code"), *both).model == "qwen2.5-coder-7b"
    assert chosen(Wish("code", role="npc"), *both).model == "qwen2.5-coder-7b"
    choice = chosen(Wish("code", role="architect"), *both)
    assert choice.model == "deepseek-coder-33b-instruct"
    assert "33.0B parameters, and the role 'architect' is better off with more" in choice.reasons


def test_a_role_asks_for_more_than_the_task() -> None:
    thinker = model("coder-thinking")
    choice = chosen(Wish("code", role="reviewer"), Candidate(CODER), Candidate(thinker))
    assert choice.model == "coder-thinking"
    assert "made for reasoning too, which the role 'reviewer' asks for" in choice.reasons
    assert choice.considered[0].why_not.startswith("not made for reasoning")


def test_where_others_would_have_to_go_counts_less() -> None:
    twin = model("another-coder")
    after = Candidate(twin, fit=Fit.AFTER_OTHERS, about_fit="there is room once general has gone")
    choice = chosen(Wish("code"), after, Candidate(CODER, fit=Fit.NOW, about_fit="there is room for it"))
    assert choice.model == "qwen2.5-coder-7b"
    assert choice.considered[0].why_not == (
        "there is room once general has gone (qwen2.5-coder-7b: there is room for it)"
    )


def test_what_cannot_be_loaded_comes_after_everything_that_can() -> None:
    worst = Candidate(model("base-70b", 70, chats=False), fit=Fit.AFTER_OTHERS)
    giant = Candidate(model("coder-thinking", 1), fit=Fit.NOT, about_fit="90 GiB are needed")
    choice = chosen(Wish("code", role="architect"), worst, giant)
    assert (choice.model, choice.fits) == ("base-70b", True)
    assert choice.considered[0].why_not == "it does not fit: 90 GiB are needed"
    alone = chosen(Wish("code"), giant)
    assert (alone.model, alone.fits) == ("coder-thinking", False)
    assert alone.reasons[0] == "none that could serve fits; this one: 90 GiB are needed"


def test_equals_are_chosen_by_name_whatever_their_order() -> None:
    first, second = Candidate(model("coder-a")), Candidate(model("coder-b"))
    there, back = chosen(Wish("code"), first, second), chosen(Wish("code"), second, first)
    assert there == back
    assert there.model == "coder-a"
    assert there.considered[0].why_not == "as good as coder-a, which comes first by name"


def test_a_light_one_answers_now_while_the_best_one_is_to_come() -> None:
    best = Candidate(CODER, fit=Fit.NOW)
    choice = chosen(Wish("code", light_now=True), loaded(GENERAL), best)
    assert (choice.model, choice.loaded, choice.better) == ("general", True, "qwen2.5-coder-7b")
    assert choice.reasons[0] == "it answers at once, while qwen2.5-coder-7b would have to be loaded first"
    assert choice.considered[0].why_not == "it is better, but would have to be loaded first"
    assert choice.considered[0].score > choice.score


def test_of_the_loaded_ones_one_with_a_free_place_answers_now() -> None:
    busy, free = loaded(model("general-1b", 1), Readiness.BUSY), loaded(model("general-70b", 70))
    assert chosen(Wish("code", light_now=True), busy, free, Candidate(CODER)).model == "general-70b"


@pytest.mark.parametrize(
    "light",
    [
        loaded(model("base", 1, chats=False)),
        Candidate(GENERAL, Readiness.COMING, Fit.NOW),
        Candidate(GENERAL, Readiness.LOADED, Fit.NOT, "it is loaded with other settings"),
        replace(loaded(GENERAL), hindrance="its file is damaged"),
    ],
    ids=["goes on with a text only", "is being loaded", "has other settings", "cannot serve"],
)
def test_what_does_not_answer_well_or_at_once_is_no_light_one(light: Candidate) -> None:
    choice = chosen(Wish("code", light_now=True), light, Candidate(CODER))
    assert (choice.model, choice.better) == ("qwen2.5-coder-7b", "")


def test_nothing_lighter_is_wanted_where_the_best_one_is_loaded() -> None:
    choice = chosen(Wish("code", light_now=True), loaded(GENERAL), loaded(CODER, Readiness.BUSY))
    assert (choice.model, choice.better) == ("qwen2.5-coder-7b", "")


def test_embeddings_always_come_from_the_same_model() -> None:
    other = model("small-reader", 0.1, shape=Shape(pooling=1))
    wish = Wish("embedding", light_now=True)
    assert chosen(wish, loaded(VECTORS), Candidate(other)).model == "reader"
    assert chosen(wish, Candidate(VECTORS, fit=Fit.AFTER_OTHERS), loaded(other)).model == "reader"


def test_a_model_for_embeddings_does_not_talk() -> None:
    choice = chosen(Wish("dialogue"), loaded(VECTORS), Candidate(model("base", chats=False)))
    assert choice.model == "base"
    assert (choice.considered[0].score, choice.considered[0].why_not) == (0, "it is for embedding only")


def test_one_that_talks_embeds_nothing() -> None:
    assert chosen(Wish("embedding"), loaded(GENERAL), Candidate(VECTORS)).model == "reader"
    assert chosen(Wish("code", vectors=True), loaded(CODER), Candidate(VECTORS)).model == "reader"
    others = loaded(replace(VECTORS, id="z-reader"))
    assert chosen(Wish("code", vectors=True), others, Candidate(VECTORS)).model == "reader", "always the same one"
    refused = choose([loaded(GENERAL)], Wish("embedding"))
    assert isinstance(refused, Refusal)
    assert "it gives text, and no embeddings" in refused.message


def test_a_context_that_is_too_short_serves_nobody() -> None:
    short, long = replace(loaded(CODER), context_tokens=4096), Candidate(GENERAL, context_tokens=32768)
    choice = chosen(Wish("code", context_tokens=16384), short, long)
    assert choice.model == "general"
    assert choice.considered[0].why_not == "its context has 4096 tokens, 16384 are needed"
    assert chosen(Wish("code", context_tokens=4096), short, long).model == "qwen2.5-coder-7b"


def test_an_unknown_task_is_for_the_general_models() -> None:
    choice = chosen(Wish("star gazing"), Candidate(CODER), Candidate(GENERAL))
    assert choice.model == "general"
    assert choice.reasons[0] == "nothing is known of a task 'star_gazing': it is taken as dialogue"


def test_an_unknown_task_is_what_the_role_does() -> None:
    choice = chosen(Wish("star gazing", role="developer"), Candidate(CODER), Candidate(GENERAL))
    assert choice.model == "qwen2.5-coder-7b"
    assert choice.reasons[0].endswith("it is taken as code")


def test_a_task_that_the_configuration_names_is_known() -> None:
    gazer = Candidate(model("gazer", tasks=("star gazing",)))
    choice = chosen(Wish("Star-Gazing"), gazer, loaded(GENERAL))
    assert choice.model == "gazer"
    assert choice.reasons[0] == "made for star_gazing: the configuration says so"


def test_an_unknown_role_changes_nothing_and_is_told() -> None:
    plain, asked = (chosen(Wish("code", role=role), Candidate(CODER)) for role in ("", "gardener"))
    assert asked.score == plain.score
    assert asked.reasons == ("nothing is known of a role 'gardener': it changes nothing", *plain.reasons)


@pytest.mark.parametrize(
    ("candidates", "words"),
    [
        ((), "vramd knows no model"),
        ((Candidate(VECTORS),), "reader: it is for embedding only"),
        ((Candidate(GENERAL, hindrance="its file is damaged"),), "general: its file is damaged"),
    ],
)
def test_where_no_model_serves_that_is_refused(candidates: tuple[Candidate, ...], words: str) -> None:
    found = choose(candidates, Wish("dialogue"))
    assert isinstance(found, Refusal)
    assert (found.reason, found.metadata) == (Reason.MODEL_NOT_FOUND, {"model": "task:dialogue"})
    assert words in found.message
