"""An answer of llama.cpp that another process has begun goes on as if nothing had happened."""

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.gguf_models import Shape, random_llama
from support.llama_engines import Answer, Gate, ask, drop, loaded, spec, start, start_together
from vramd_common.reasons import Reason
from vramd_common.replay import MOST_REPLAYED_TOKENS
from vramd_common.sampling import Sampling
from vramd_worker.engine import Cut, EngineError, Job, Piece
from vramd_worker.llama import LlamaEngine, generation
from vramd_worker.llama.context import Chunk, NativeContext, Outcome
from vramd_worker.llama.tiles import TILE_TOKENS

pytest.importorskip("llama_cpp")

TOKENS = 90
PROMPT = "one two three four five six seven eight nine ten " * 8
"""Longer than a batch: it is computed in pieces."""
SCOPES = itertools.count()
SAMPLINGS = {
    "greedy": Sampling(temperature=0),
    "sampled": Sampling(temperature=0.8, seed=5),
    "any token": Sampling(temperature=1.5, top_k=0, top_p=1, min_p=0, seed=6),
    "penalised": Sampling(temperature=0.8, seed=7, repeat_penalty=1.3, frequency_penalty=0.5, presence_penalty=0.5),
    "greedy and penalised": Sampling(temperature=0, repeat_penalty=1.3, penalty_last_tokens=200),
}


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return random_llama(folder / "rambler.gguf", Shape(embedding=256, layers=4, feed_forward=512))


@pytest.fixture(scope="module")
def first(path: Path) -> Iterator[LlamaEngine]:
    # Each sequence has cells of its own: those of others, kept ones too, have no part in how sums are rounded.
    with loaded(spec(path, context_tokens=4096, kv_split=True)) as engine:
        yield engine


@pytest.fixture(scope="module")
def second(path: Path) -> Iterator[LlamaEngine]:
    with loaded(spec(path, context_tokens=4096, kv_split=True)) as engine:
        yield engine


def ask_anew(engine: LlamaEngine, job: Job) -> Answer:
    """Asks for an answer of which nothing is computed yet."""
    return ask(engine, replace(job, scope=f"{next(SCOPES)}"))


def rest(answer: Answer, given: int) -> list[Piece]:
    """Pieces behind the first ones, without what the end says of seconds, and the first of chunks."""
    return [replace(piece, finish=None, cuts=None) for piece in answer.pieces[given:]]


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_it_goes_on_exactly_behind_what_was_given(first: LlamaEngine, second: LlamaEngine, sampling: Sampling) -> None:
    dice = random.Random(1)
    job = Job(PROMPT, sampling, max_tokens=TOKENS)
    whole = ask_anew(first, job)
    for given in [0, 1, TOKENS - 1, *(dice.randrange(TOKENS) for _ in range(5))]:
        again = ask_anew(second, replace(job, resume=tuple(whole.token_ids[:given])))
        assert rest(again, 0) == rest(whole, given), f"behind {given} tokens"
        finish, expected = again.finish, whole.finish
        assert (finish.reason, finish.prompt_tokens, finish.completion_tokens) == (
            expected.reason,
            expected.prompt_tokens,
            expected.completion_tokens,
        )


def test_behind_a_prompt_whose_last_tile_was_filled_up_it_goes_on_exactly(
    first: LlamaEngine, second: LlamaEngine
) -> None:
    owner = f"{next(SCOPES)}"
    begun = ask(first, Job(PROMPT, SAMPLINGS["greedy"], max_tokens=1, scope=owner))
    job = Job(PROMPT + PROMPT[:56], SAMPLINGS["greedy"], max_tokens=TOKENS, scope=owner)
    whole = ask(first, job)
    cuts = whole.pieces[0].cuts
    assert cuts
    assert cuts[-1].tokens < cuts[-1].computed == TILE_TOKENS
    assert whole.finish.cached_prompt_tokens == begun.finish.prompt_tokens
    given = TOKENS // 2
    again = ask_anew(second, replace(job, resume=tuple(whole.token_ids[:given]), resume_cuts=cuts))
    assert rest(again, 0) == rest(whole, given)


def test_behind_a_prompt_that_was_there_in_part_it_goes_on_exactly(
    first: LlamaEngine, second: LlamaEngine, computed: list[Chunk]
) -> None:
    greedy = SAMPLINGS["greedy"]
    before = ask(first, Job(PROMPT, greedy, max_tokens=20, scope="a"))
    # Within a chunk of the other prompt, and behind single tokens of its answer.
    for prompt in (PROMPT[:150] + "and something else", PROMPT + before.text + "and something else"):
        job = Job(prompt, greedy, max_tokens=TOKENS, scope="a")
        computed.clear()
        whole = ask(first, job)
        assert whole.finish.cached_prompt_tokens > 70, "a part was there"
        cuts = whole.pieces[0].cuts
        assert cuts
        for given in (1, 30):
            computed.clear()
            resumed = replace(
                job, scope=f"{len(prompt)} {given}", resume=tuple(whole.token_ids[:given]), resume_cuts=cuts
            )
            again = ask(second, resumed)
            assert rest(again, 0) == rest(whole, given)
            assert again.pieces[0].cuts == cuts, "another process could go on from it as well"
            chunks = [chunk for chunk in computed if chunk.position < again.finish.prompt_tokens]
            assert [len(chunk.tokens) for chunk in chunks] == [cut.computed for cut in cuts for _ in range(cut.times)]


def test_a_prompt_is_computed_again_in_its_chunks_whatever_runs_beside_it(
    path: Path, second: LlamaEngine, computed: list[Chunk]
) -> None:
    with loaded(spec(path, batch_tokens=512)) as wide:
        gate = Gate()
        _, task = start(wide, Job("a", Sampling(seed=1)), gate)
        gate.wait()
        answer, answer_task = start(wide, Job(PROMPT, SAMPLINGS["greedy"], max_tokens=30))
        gate.open(wide, answer_task)
        cuts = answer.wait().pieces[0].cuts
        assert cuts is not None
        tokens = [cut.computed for cut in cuts for _ in range(cut.times)]
        assert tokens[0] == 63, "beside a text"
        drop(wide, task)
        computed.clear()
        resumed = tuple(answer.token_ids[:9])
        job = Job(PROMPT, SAMPLINGS["greedy"], max_tokens=30, scope="b", resume=resumed, resume_cuts=cuts)
        again = ask(wide, job)
    prompt = again.finish.prompt_tokens
    assert [len(chunk.tokens) for chunk in computed if chunk.position < prompt] == tokens


def test_a_prompt_of_more_chunks_than_are_computed_again_says_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "MOST_REPLAYED_CHUNKS", 6)
    with loaded(spec(path)) as engine:
        assert ask(engine, Job(PROMPT[:380], SAMPLINGS["greedy"], max_tokens=2)).pieces[0].cuts
        assert ask(engine, Job(PROMPT, SAMPLINGS["greedy"], max_tokens=2)).pieces[0].cuts is None


@pytest.mark.parametrize("cuts", [(Cut(64, 64),), (Cut(1024, 1024),), (Cut(0, 64),)])
def test_chunks_that_are_no_prompts_are_refused(second: LlamaEngine, cuts: tuple[Cut, ...]) -> None:
    answer, _ = start(second, Job(PROMPT, resume=(3,), resume_cuts=cuts))
    answer.wait()
    assert isinstance(answer.error, EngineError)
    assert answer.error.reason is Reason.FIELD_INVALID


def test_a_seed_that_was_drawn_for_a_job_without_one_is_used(first: LlamaEngine, second: LlamaEngine) -> None:
    job = Job(PROMPT, Sampling(temperature=1.5), max_tokens=20, drawn_seed=4)
    whole = ask_anew(first, job)
    again = ask_anew(second, replace(job, resume=tuple(whole.token_ids[:9])))
    assert again.token_ids == whole.token_ids[9:]
    assert ask_anew(second, replace(job, sampling=Sampling(temperature=1.5, seed=4), drawn_seed=5)).text == whole.text


def test_a_stop_string_that_began_before_ends_it(first: LlamaEngine, second: LlamaEngine) -> None:
    job = Job(PROMPT, SAMPLINGS["sampled"], max_tokens=TOKENS)
    first_time = ask_anew(first, job)
    text, pieces = first_time.text, first_time.pieces
    before = "".join(piece.text for piece in pieces[:20])
    stop = text[len(before) - 2 : len(before) + 2]
    assert text.index(stop) == len(before) - 2, "it comes there first"
    whole = ask_anew(first, replace(job, stop=(stop,)))
    for given in (18, 19, 20):
        again = ask_anew(second, replace(job, stop=(stop,), resume=tuple(whole.token_ids[:given])))
        assert rest(again, 0) == rest(whole, given)
    assert whole.text == text[: len(before) - 2]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    """What any context computes, in order."""
    chunks: list[Chunk] = []
    compute = NativeContext.compute

    def seen(self: NativeContext, batch: Iterable[Chunk]) -> tuple[Outcome, list[int]]:
        listed = list(batch)
        chunks.extend(listed)
        return compute(self, listed)

    monkeypatch.setattr(NativeContext, "compute", seen)
    return chunks


def test_of_a_long_answer_only_the_last_tokens_are_computed_one_by_one(
    first: LlamaEngine, second: LlamaEngine, computed: list[Chunk]
) -> None:
    job = Job(PROMPT, SAMPLINGS["sampled"], max_tokens=600)
    whole = ask_anew(first, job)
    computed.clear()
    again = ask_anew(second, replace(job, resume=tuple(whole.token_ids[:500])))
    assert again.finish.completion_tokens == 600
    prompt = again.finish.prompt_tokens
    one_by_one = [chunk.position for chunk in computed if chunk.position >= prompt + 500 - MOST_REPLAYED_TOKENS]
    assert one_by_one == list(range(prompt + 500 - MOST_REPLAYED_TOKENS, prompt + 599))
    assert prompt in [chunk.position for chunk in computed], "the prompt ends with a piece, as it did the first time"
    assert len(computed) < len(one_by_one) + 20


@pytest.mark.parametrize(
    ("resume", "reason"), [((3, 1 << 23), Reason.FIELD_INVALID), ((3,) * 1024, Reason.CONTEXT_OVERFLOW)]
)
def test_an_answer_that_cannot_be_its_own_is_refused(
    second: LlamaEngine, resume: tuple[int, ...], reason: Reason
) -> None:
    answer, _ = start(second, Job("one", resume=resume))
    answer.wait()
    assert isinstance(answer.error, EngineError)
    assert answer.error.reason is reason


def test_one_that_gave_way_for_room_is_computed_again_as_it_was(path: Path, computed: list[Chunk]) -> None:
    job = Job("", SAMPLINGS["greedy"], max_tokens=140)
    with loaded(spec(path, context_tokens=256, batch_tokens=256)) as small:
        computed.clear()
        prompts = [f"{name} {PROMPT[:98]}" for name in "abc"]
        answers = start_together(small, [replace(job, prompt=prompt) for prompt in prompts])
        prompt = answers[0].wait().finish.prompt_tokens
        assert {answer.wait().finish.completion_tokens for answer in answers} == {140}
    begun: dict[int, list[int]] = {}
    cuts: dict[int, list[list[int]]] = {}
    for chunk in computed[1:]:  # behind the one that has them start together
        if chunk.position == 0:
            begun[chunk.slot] = []
            cuts.setdefault(chunk.tokens[2], []).append(begun[chunk.slot])
        if chunk.position < prompt:
            begun[chunk.slot].append(len(chunk.tokens))
    assert sum(map(len, cuts.values())) > 3, "one had to give way"
    for first, *again in cuts.values():
        assert all(each == first for each in again), cuts
    assert {len(chunk.tokens) for chunk in computed if chunk.position >= prompt} == {1}
