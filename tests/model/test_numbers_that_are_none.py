"""What a model computes that is no number fails the request that it was computed for, and nobody else's."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support.gguf_models import FIRST_BYTE, WORDS, Spoilt, random_bert, random_llama
from support.llama_engines import Answer, ask, embed, loaded, spec, start
from vramd_common.reasons import Reason
from vramd_common.sampling import Sampling
from vramd_worker.engine import EngineError, Job, Vectors
from vramd_worker.llama import LlamaEngine

pytest.importorskip("llama_cpp")

from support.logits import Logits

GREEDY = Sampling(temperature=0)
POISON = {FIRST_BYTE + ord("Q"): math.nan}
"""A token whose embedding is no number."""
EMBEDDED = "token_embd.weight"


def failed(answer: Answer) -> bool:
    return answer.error is not None and answer.error.reason is Reason.OUTPUT_NOT_FINITE


BROKEN: Mapping[str, Spoilt] = {
    "no number in what a prompt begins with": {EMBEDDED: POISON},
    "no number anywhere": {"blk.0.attn_q.weight": dict.fromkeys(range(128), math.nan)},
    "endless weights": {"blk.1.ffn_up.weight": dict.fromkeys(range(256), math.inf)},
    "no number for any token": {"output.weight": dict.fromkeys(range(512), math.nan)},
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(seed=1), Sampling(seed=1, top_k=0, top_p=1, min_p=0)])
def test_an_answer_without_numbers_is_an_error(tmp_path: Path, name: str, sampling: Sampling) -> None:
    with loaded(spec(random_llama(tmp_path / "m.gguf", spoilt=BROKEN[name]))) as engine:
        for _ in range(2):
            answer = ask(engine, Job("Q", sampling, max_tokens=8))
            assert failed(answer)
            assert not answer.pieces


@pytest.mark.parametrize("rows", [[0], [30], [FIRST_BYTE + 65, 511], list(range(256))], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tokens_that_never_have_a_number_are_never_chosen(tmp_path: Path, rows: list[int], value: float) -> None:
    path = random_llama(tmp_path / "m.gguf", spoilt={"output.weight": dict.fromkeys(rows, value)})
    with loaded(spec(path)) as engine:
        for sampling in (GREEDY, Sampling(seed=3), Sampling(seed=3, top_k=0, top_p=1, min_p=0)):
            answer = ask(engine, Job("a", sampling, max_tokens=20))
            assert answer.finish.completion_tokens == 20
            assert not set(answer.token_ids) & set(rows)


@pytest.mark.parametrize("flash_attention", ["off", "on"])
def test_others_of_the_batch_get_what_they_get_alone(tmp_path: Path, flash_attention: str) -> None:
    path = random_llama(tmp_path / "m.gguf", spoilt={EMBEDDED: POISON})
    with loaded(spec(path, flash_attention=flash_attention)) as engine:
        jobs = [Job(prompt, GREEDY, max_tokens=30) for prompt in ("abc", "the fox", "hello " * 30)]
        alone = [ask(engine, job).token_ids for job in jobs]
        model = Logits(path)
        poison: list[Answer] = []

        def join_in(_piece: object) -> None:
            # Again and again, at another token of the others each time.
            if len(poison) < 4:
                poison.append(start(engine, Job("abcQ" * (len(poison) + 1), GREEDY, max_tokens=300))[0])

        beside = [start(engine, job, join_in)[0] for job in jobs]
        for job, answer, expected in zip(jobs, beside, alone, strict=True):
            assert isinstance(job.prompt, str)
            model.same_or_nearly(engine, job.prompt, answer.wait().token_ids, expected)
        assert len(poison) == 4
        assert all(failed(answer.wait()) for answer in poison)
        model.same_or_nearly(engine, "abc", ask(engine, jobs[0]).token_ids, alone[0])


def test_a_text_that_says_itself_what_is_no_number_ends_there_as_any_other(tmp_path: Path) -> None:
    """It was computed alone, and gave numbers, up to there: that must not begin again for ever."""
    job = Job("abc", GREEDY, max_tokens=8)
    with loaded(spec(random_llama(tmp_path / "whole.gguf"))) as engine:
        said = ask(engine, job).token_ids
    *before, last = said[: next(place for place in range(4, 8) if said[place] not in said[:place]) + 1]
    path = random_llama(tmp_path / "m.gguf", spoilt={EMBEDDED: {last: math.nan}})
    with loaded(spec(path)) as engine:
        answer = ask(engine, job)
        assert failed(answer)
        assert answer.token_ids == [*before, last]
        assert ask(engine, Job("the", GREEDY, max_tokens=1)).finish.completion_tokens == 1


def test_one_that_is_cancelled_in_its_prompt_leaves_nothing_behind(tmp_path: Path) -> None:
    path = random_llama(tmp_path / "m.gguf", spoilt={EMBEDDED: POISON})
    with loaded(spec(path, flash_attention="off", batch_tokens=16)) as engine:
        job = Job("abc", GREEDY, max_tokens=60)
        alone = ask(engine, job).token_ids
        model = Logits(path)
        for _ in range(3):
            answer, task = start(engine, Job("Q" + "a" * 900, GREEDY))
            beside = start(engine, job)[0]
            task.cancel()
            model.same_or_nearly(engine, "abc", beside.wait().token_ids, alone)
            assert not answer.pieces


def encoder(path: Path, spoilt: Spoilt) -> Path:
    return random_bert(path, spoilt=spoilt)


def causal(path: Path, spoilt: Spoilt) -> Path:
    return random_llama(path, pooling=3, spoilt=spoilt)


def vectors(engine: LlamaEngine, *texts: str) -> Vectors:
    answer = embed(engine, texts)
    assert isinstance(answer, Vectors), answer
    return answer


@pytest.mark.parametrize(
    ("make", "token", "bad"), [(encoder, 5 + WORDS.index("he"), "to he"), (causal, FIRST_BYTE + ord("Q"), "to Q")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_text_without_a_vector_is_an_error_and_the_others_have_theirs(
    tmp_path: Path, make: Callable[[Path, Spoilt], Path], token: int, bad: str, value: float
) -> None:
    path = make(tmp_path / "m.gguf", {EMBEDDED: {token: value}})
    with loaded(spec(path, flash_attention="off")) as engine:
        good = vectors(engine, "the a", "to and").values
        answer = embed(engine, ["the a", bad, "to and"])
        assert isinstance(answer, EngineError)
        assert answer.reason is Reason.OUTPUT_NOT_FINITE
        assert "inputs[1]" in str(answer)
        assert vectors(engine, "the a", "to and").values == good
        assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-6) for vector in good)


def test_other_callers_vectors_are_right_in_the_same_batch(tmp_path: Path) -> None:
    spoilt = {EMBEDDED: {5 + WORDS.index("he"): math.nan}}
    with loaded(spec(random_bert(tmp_path / "m.gguf", spoilt=spoilt))) as engine:
        good = vectors(engine, "the a", "to and").values
        answers: list[Vectors | EngineError] = []
        for _ in range(30):
            engine.embed(["the he"], lambda _answer: None)
            engine.embed(["the a", "to and"], answers.append)
        vectors(engine, "the a", "to and")
        assert len(answers) == 30
        for answer in answers:
            assert isinstance(answer, Vectors), answer
            for one, other in zip(answer.values, good, strict=True):
                assert math.fsum(a * b for a, b in zip(one, other, strict=True)) > 0.9999


def test_a_vector_of_zeros_is_none(tmp_path: Path) -> None:
    zeros = {"blk.1.layer_output_norm.weight": dict.fromkeys(range(64), 0.0)}
    path = random_bert(tmp_path / "m.gguf", spoilt=zeros)
    with loaded(spec(path)) as engine:
        answer = embed(engine, ["the a"])
        assert isinstance(answer, EngineError)
        assert answer.reason is Reason.OUTPUT_NOT_FINITE
