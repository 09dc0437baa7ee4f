"""One text from a real llama.cpp: what comes, how it ends, and what is refused."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.gguf_models import EOS, FIRST_BYTE, FIRST_WORD, SPACE, random_llama, reciting_llama
from support.llama_engines import LIMIT_S, ask, detokenize, embed, loaded, spec, start, tokenize
from vramd_common.reasons import Reason
from vramd_common.sampling import Sampling
from vramd_worker.engine import EngineError, FinishReason, Job, Piece
from vramd_worker.llama import LlamaEngine
from vramd_worker.llama.generation import Generation

pytest.importorskip("llama_cpp")

GREEDY = Sampling(temperature=0)
SCRIPT = ("hello", "big", *"€ß".encode(), "world")


@pytest.fixture(scope="module")
def rambler(folder: Path) -> Iterator[LlamaEngine]:
    with loaded(spec(random_llama(folder / "rambler.gguf"))) as engine:
        yield engine


@pytest.fixture(scope="module")
def reciter(folder: Path) -> Iterator[LlamaEngine]:
    with loaded(spec(reciting_llama(folder / "reciter.gguf", SCRIPT))) as engine:
        yield engine


def test_each_token_comes_by_itself_and_characters_come_whole(reciter: LlamaEngine) -> None:
    answer = ask(reciter, Job("say it", GREEDY))
    assert [piece.text for piece in answer.pieces] == [" hello", " big", "", "", "€", "", "ß", " world", ""]
    assert [len(piece.token_ids) for piece in answer.pieces] == [1] * 9
    assert answer.token_ids[-1] == EOS


def test_it_says_how_it_ended_and_what_it_took(reciter: LlamaEngine) -> None:
    finish = ask(reciter, Job("a", GREEDY)).finish
    assert finish.reason is FinishReason.STOP
    assert finish.prompt_tokens == len(tokenize(reciter, "a", add_special=True)) == 3
    assert finish.completion_tokens == 9
    assert 0 < finish.prompt_s < LIMIT_S
    assert 0 < finish.generation_s < LIMIT_S


def test_the_first_piece_leaves_before_the_second_token_is_computed(reciter: LlamaEngine) -> None:
    computed: list[int] = []
    started = threading.Event()

    def look(_piece: Piece) -> None:
        assert started.wait(LIMIT_S)
        assert isinstance(task, Generation)
        computed.append(task.completion_tokens)

    answer, task = start(reciter, Job("a", GREEDY), look)
    started.set()
    answer.wait()
    assert computed == list(range(1, 10))


def test_the_answer_ends_before_a_stop_string(reciter: LlamaEngine) -> None:
    answer = ask(reciter, Job("a", GREEDY, stop=("€ß w",)))
    assert answer.text == " hello big"
    assert answer.finish.reason is FinishReason.STOP
    assert answer.finish.completion_tokens == 8


def test_the_answer_ends_at_max_tokens_and_an_open_character_is_replaced(reciter: LlamaEngine) -> None:
    answer = ask(reciter, Job("a", GREEDY, max_tokens=3))
    assert answer.text == " hello big\ufffd"
    assert answer.finish.reason is FinishReason.LENGTH
    assert answer.finish.completion_tokens == 3


def test_text_held_back_for_a_stop_string_is_given_at_the_end(reciter: LlamaEngine) -> None:
    answer = ask(reciter, Job("a", GREEDY, max_tokens=2, stop=("big boss",)))
    assert [piece.text for piece in answer.pieces] == [" hello", " big"]


def test_greedy_is_the_same_each_time(rambler: LlamaEngine) -> None:
    job = Job("the one that is", GREEDY, max_tokens=40)
    assert ask(rambler, job).token_ids == ask(rambler, job).token_ids


def test_a_seed_gives_the_same_text_again_and_no_seed_another(rambler: LlamaEngine) -> None:
    def tokens(seed: int | None) -> list[int]:
        return ask(rambler, Job("the", Sampling(temperature=1.5, seed=seed), max_tokens=30)).token_ids

    assert tokens(7) == tokens(7)
    assert tokens(7) != tokens(8)
    assert tokens(None) != tokens(None)
    assert tokens(2**32 - 1) == tokens(2**32 - 1)


def test_the_candidates_are_cut_by_each_sampler(rambler: LlamaEngine) -> None:
    greedy = ask(rambler, Job("the", GREEDY, max_tokens=20)).token_ids
    for one_left in (Sampling(top_k=1), Sampling(top_p=0.0), Sampling(min_p=1.0)):
        assert ask(rambler, Job("the", one_left, max_tokens=20)).token_ids == greedy


@pytest.mark.parametrize("temperature", [1e-38, 1e-45, 1e-6])
def test_next_to_no_temperature_takes_the_likeliest(rambler: LlamaEngine, temperature: float) -> None:
    greedy = ask(rambler, Job("the", GREEDY, max_tokens=20)).token_ids
    unfiltered = Sampling(temperature, top_p=1.0, top_k=0, min_p=0.0, seed=1)
    assert ask(rambler, Job("the", unfiltered, max_tokens=20)).token_ids == greedy


def test_penalties_look_back_no_further_than_the_context(rambler: LlamaEngine) -> None:
    def told(last_tokens: int) -> list[int]:
        sampling = Sampling(temperature=0, presence_penalty=1.0, penalty_last_tokens=last_tokens)
        return ask(rambler, Job("the", sampling, max_tokens=20)).token_ids

    before_bytes = psutil.Process().memory_info().rss
    jobs = [start(rambler, Job("a", Sampling(presence_penalty=1.0, penalty_last_tokens=1 << 24), 2)) for _ in range(8)]
    assert all(answer.wait().finish for answer, _ in jobs)
    assert told(1 << 24) == told(1024)
    assert psutil.Process().memory_info().rss - before_bytes < 64 << 20


def test_penalties_see_prompt_and_answer(reciter: LlamaEngine) -> None:
    hello = detokenize(reciter, [FIRST_WORD])
    assert hello == b"hello"
    forbidden = Sampling(temperature=0, presence_penalty=2.0, frequency_penalty=2.0, repeat_penalty=100.0)
    free = ask(reciter, Job("a", GREEDY, max_tokens=1)).token_ids
    penalised = ask(reciter, Job("ab<s>", forbidden, max_tokens=60)).token_ids
    assert free == [FIRST_WORD]
    assert penalised[0] == FIRST_WORD
    assert len(set(penalised[:9])) == len(penalised[:9])


def test_control_tokens_in_a_prompt_are_read_as_such_and_bos_is_not_doubled(rambler: LlamaEngine) -> None:
    plain = ask(rambler, Job("a b", GREEDY, max_tokens=5))
    named = ask(rambler, Job("<s>a b", GREEDY, max_tokens=5))
    assert named.finish.prompt_tokens == plain.finish.prompt_tokens == 4


def test_an_empty_prompt_begins_with_bos(rambler: LlamaEngine) -> None:
    assert ask(rambler, Job("", GREEDY, max_tokens=2)).finish.prompt_tokens == 1


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(rambler: LlamaEngine) -> None:
    error = ask(rambler, Job("b" * 2000, GREEDY)).error
    assert error is not None
    assert error.reason is Reason.CONTEXT_OVERFLOW
    assert error.metadata == {"promptTokens": "2002", "contextTokens": "1024"}


def test_an_answer_ends_with_the_context(rambler: LlamaEngine) -> None:
    answer = ask(rambler, Job("b" * 1000, GREEDY))
    assert answer.finish.reason is FinishReason.LENGTH
    assert answer.finish.prompt_tokens == 1002
    assert answer.finish.prompt_tokens + answer.finish.completion_tokens == 1024


def test_a_model_that_generates_gives_no_embeddings(rambler: LlamaEngine) -> None:
    answer = embed(rambler, ["a"])
    assert isinstance(answer, EngineError)
    assert answer.reason is Reason.EMBEDDING_UNSUPPORTED


def test_tokens_and_text(reciter: LlamaEngine) -> None:
    tokens = tokenize(reciter, "<s>é", parse_special=True)
    assert tokens == [1, SPACE, FIRST_BYTE + 0xC3, FIRST_BYTE + 0xA9]
    assert detokenize(reciter, tokens) == "<s> é".encode()
    assert detokenize(reciter, [FIRST_BYTE + 0xFF]) == b"\xff"
    assert tokenize(reciter, "") == []
    assert detokenize(reciter, []) == b""


@pytest.mark.parametrize("token", [-1, 10_000_000])
def test_an_id_that_is_no_token_is_refused(reciter: LlamaEngine, token: int) -> None:
    with pytest.raises(EngineError) as caught:
        detokenize(reciter, [token])
    assert caught.value.reason is Reason.FIELD_INVALID


@pytest.mark.parametrize("kv_type", ["f32", "bf16", "q8_0", "q4_0", "iq4_nl"])
def test_every_kind_of_kv_cache_works(tmp_path: Path, kv_type: str) -> None:
    with loaded(spec(reciting_llama(tmp_path / "model.gguf", SCRIPT), kv_type=kv_type)) as engine:
        assert ask(engine, Job("a", GREEDY)).text == " hello big€ß world"
