"""What is in the memory of a real llama.cpp is not computed again."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.gguf_models import Shape, random_llama
from support.gguf_shapes import gemma3, lfm2, mamba
from support.llama_engines import LIMIT_S, Answer, ask, loaded, spec, start
from vramd_common.reasons import Reason
from vramd_common.sampling import Sampling
from vramd_worker.engine import EngineError, Job, Message
from vramd_worker.llama import LlamaEngine
from vramd_worker.llama.context import Chunk, NativeContext, Outcome

pytest.importorskip("llama_cpp")

GREEDY = Sampling(temperature=0)
HISTORY = "one two three four five six seven eight nine ten " * 6
"""Longer than a batch."""


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return random_llama(folder / "rambler.gguf", Shape(embedding=256, layers=3, feed_forward=512))


@pytest.fixture
def engine(path: Path) -> Iterator[LlamaEngine]:
    with loaded(spec(path)) as engine:
        yield engine


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    """What any context computes, in order."""
    chunks: list[Chunk] = []
    compute = NativeContext.compute

    def seen(self: NativeContext, batch: Sequence[Chunk]) -> tuple[Outcome, list[int]]:
        listed = list(batch)
        chunks.extend(listed)
        return compute(self, listed)

    monkeypatch.setattr(NativeContext, "compute", seen)
    return chunks


def job(prompt: str, tokens: int = 8, *, scope: str = "", session: str = "", shared: bool = False) -> Job:
    return Job(prompt, GREEDY, max_tokens=tokens, scope=scope, session=session, shared=shared)


def cached(answer: Answer) -> int:
    return answer.wait().finish.cached_prompt_tokens


def test_the_next_turn_computes_only_what_is_new(engine: LlamaEngine, computed: list[Chunk]) -> None:
    first = ask(engine, job(HISTORY))
    assert cached(first) == 0
    prompt = first.finish.prompt_tokens
    computed.clear()
    again = ask(engine, job(HISTORY + "eleven"))
    assert cached(again) >= prompt
    assert sum(len(chunk.tokens) for chunk in computed if chunk.position < again.finish.prompt_tokens) <= 10


def test_a_known_prompt_computes_its_last_token_for_what_comes_next(engine: LlamaEngine) -> None:
    first = ask(engine, job(HISTORY))
    again = ask(engine, job(HISTORY))
    assert again.token_ids == first.token_ids
    assert cached(again) == first.finish.prompt_tokens - 1


def test_branches_are_kept_beside_each_other(engine: LlamaEngine) -> None:
    texts = [f"{HISTORY}branch {number}" for number in range(6)]
    first = [ask(engine, job(text)) for text in texts]
    again = [ask(engine, job(text)) for text in texts]
    assert [cached(answer) for answer in again] == [answer.finish.prompt_tokens - 1 for answer in first]
    assert [answer.token_ids for answer in again] == [answer.token_ids for answer in first]


def test_a_running_text_gives_its_beginning_too(engine: LlamaEngine, computed: list[Chunk]) -> None:
    running, task = start(engine, Job(HISTORY, Sampling(seed=5), max_tokens_per_s=20))
    running.wait_for_pieces(1)
    other = ask(engine, job(HISTORY + "eleven"))
    assert cached(other) > 200
    assert not any(piece.finish for piece in running.pieces)
    task.cancel()


def test_twins_wait_for_the_first_to_compute_what_they_share(engine: LlamaEngine, computed: list[Chunk]) -> None:
    answers = [start(engine, job(f"{HISTORY}{number}"))[0] for number in range(4)]
    prompts = [answer.wait().finish.prompt_tokens for answer in answers]
    computed_prompt_tokens = sum(
        len(chunk.tokens) for chunk in computed if chunk.position + len(chunk.tokens) <= max(prompts)
    )
    assert computed_prompt_tokens < max(prompts) + 4 * 20
    assert sorted(map(cached, answers))[1] > 200


def test_what_was_computed_of_a_cancelled_prompt_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second, cancelled = threading.Event(), threading.Event()
    compute = NativeContext.compute

    def until_cancelled(self: NativeContext, batch: Sequence[Chunk]) -> tuple[Outcome, list[int]]:
        if any(chunk.position for chunk in batch):
            second.set()
            assert cancelled.wait(LIMIT_S)
        return compute(self, batch)

    monkeypatch.setattr(NativeContext, "compute", until_cancelled)
    with loaded(spec(path, context_tokens=2048)) as engine:
        first, task = start(engine, job(HISTORY * 4, 1))
        assert second.wait(LIMIT_S)
        task.cancel()
        cancelled.set()
        again = ask(engine, job(HISTORY * 4, 1))
        assert cached(again) >= 64
        assert not first.pieces


@pytest.mark.parametrize("kv_split", [False, True], ids=["one memory", "one for each"])
def test_kept_texts_make_room(path: Path, kv_split: bool) -> None:
    """What would have been answered with an empty memory is answered with a full one."""
    with loaded(spec(path, context_tokens=1024, kv_split=kv_split), parallel=2) as engine:
        for number in range(12):
            answer = ask(engine, job(f"number {number} " + "b" * 300, 100))
            assert answer.finish.completion_tokens == 100
        whole = ask(engine, Job("c" * 20, GREEDY))
        tokens = whole.finish.prompt_tokens + whole.finish.completion_tokens
        assert tokens == (512 if kv_split else 1024)
        pair = [start(engine, job(letter * 400, 90))[0] for letter in "de"]
        assert [answer.wait().finish.completion_tokens for answer in pair] == [90, 90]


def test_what_was_used_last_is_kept_longest(path: Path) -> None:
    with loaded(spec(path, context_tokens=1024)) as engine:
        for letter in "abc":
            ask(engine, job(letter * 250, 1))
        assert cached(ask(engine, job("a" * 250 + "!", 1))) > 200
        ask(engine, job("d" * 400, 1))
        assert cached(ask(engine, job("a" * 250 + "!", 1))) > 200
        assert cached(ask(engine, job("b" * 250 + "!", 1))) < 200


def test_split_sequences_are_copied_and_gone_on_with(path: Path) -> None:
    with loaded(spec(path, context_tokens=2048, kv_split=True), parallel=3) as engine:
        first = [ask(engine, job(f"{HISTORY}{number}")) for number in range(2)]
        assert cached(first[1]) > 200
        again = [ask(engine, job(f"{HISTORY}{number}")) for number in range(2)]
        assert [answer.token_ids for answer in again] == [answer.token_ids for answer in first]
        assert [cached(answer) for answer in again] == [answer.finish.prompt_tokens - 1 for answer in first]


def test_one_scope_has_nothing_of_what_another_computed(engine: LlamaEngine) -> None:
    ask(engine, job(HISTORY, scope="first"))
    assert cached(ask(engine, job(HISTORY, scope="second"))) == 0
    assert cached(ask(engine, job(HISTORY, scope="first"))) > 200
    ask(engine, job(HISTORY + "eleven", scope="second", shared=True))
    assert cached(ask(engine, job(HISTORY + "eleven", scope="third"))) > 200
    assert cached(ask(engine, job(HISTORY + "eleven", scope="first"))) > 200


def test_of_a_shared_text_only_the_prompt_is_shared(engine: LlamaEngine) -> None:
    answer = ask(engine, job(HISTORY, 40, scope="first", shared=True))
    prompt = answer.finish.prompt_tokens
    for scope, most in (("second", prompt), ("first", prompt + 39)):
        resumed = HISTORY + answer.text
        assert prompt - 3 <= cached(ask(engine, job(resumed, 1, scope=scope))) <= most


def test_a_warm_prompt_is_there_before_the_first_request(path: Path) -> None:
    """As the system message of any conversation, for any caller, and when much else has been computed since."""
    with loaded(spec(path, warm_prompt=HISTORY)) as engine:
        for turn in range(6):
            talk = (Message("system", HISTORY), Message("user", f"what is {turn}?"))
            answer = ask(engine, Job(talk, GREEDY, max_tokens=200, scope=f"{turn}"))
            assert cached(answer) > 200
        other = (Message("system", HISTORY.upper()), Message("user", "what?"))
        assert cached(ask(engine, Job(other, GREEDY, max_tokens=1))) < 20


def test_a_warm_prompt_without_a_template_is_the_beginning_of_prompts(folder: Path) -> None:
    bare = random_llama(folder / "bare.gguf", chat_template=None)
    with loaded(spec(bare, warm_prompt=HISTORY)) as engine:
        answer = ask(engine, job(HISTORY + "eleven"))
        assert cached(answer) > 200


def test_a_warm_prompt_that_is_too_long_ends_the_load(path: Path) -> None:
    with pytest.raises(EngineError) as refused, loaded(spec(path, warm_prompt=HISTORY * 10)):
        pass
    assert refused.value.reason is Reason.CONTEXT_OVERFLOW


@pytest.mark.parametrize("make", [gemma3, mamba, lfm2])
def test_a_memory_that_cannot_go_back_goes_on_from_whole_texts(make: Callable[..., Path], tmp_path: Path) -> None:
    """What is answered is what a memory answers that held nothing before."""
    path = make(tmp_path / "model.gguf", speaks=True)
    turns = [HISTORY, HISTORY + "eleven", HISTORY + "eleven twelve"]
    with loaded(spec(path, context_tokens=2048), parallel=2) as engine:
        talk = [ask(engine, job(turn, 1)) for turn in turns]
        branch = ask(engine, job(HISTORY[:60] + "else", 6))
        again = ask(engine, job(turns[-1] + "thirteen", 6))
    assert [cached(answer) > 250 for answer in (*talk, again)] == [False, True, True, True]
    assert cached(branch) == 0, "the middle of a text is not there any more"
    with loaded(spec(path, context_tokens=2048), parallel=2) as engine:
        assert ask(engine, job(HISTORY[:60] + "else", 6)).token_ids == branch.token_ids
        assert ask(engine, job(turns[-1] + "thirteen", 6, scope="alone")).token_ids == again.token_ids


@pytest.mark.parametrize("make", [gemma3, mamba, lfm2])
def test_a_memory_that_cannot_go_back_has_kept_the_end_of_the_prompt(make: Callable[..., Path], tmp_path: Path) -> None:
    """Of an answer that the next prompt writes otherwise, as a template may that leaves thoughts out."""
    path = make(tmp_path / "model.gguf", speaks=True)
    with loaded(spec(path, context_tokens=2048), parallel=3) as engine:
        first = ask(engine, job(HISTORY, 20))
        again = ask(engine, job(HISTORY + "something else", 6))
    assert cached(again) == first.finish.prompt_tokens
    with loaded(spec(path, context_tokens=2048), parallel=3) as engine:
        assert ask(engine, job(HISTORY + "something else", 6)).token_ids == again.token_ids


def test_windows_of_kept_texts_leave_room(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Cells for windows suffice for as many sequences as run: no more are kept there."""
    with loaded(spec(gemma3(tmp_path / "model.gguf", speaks=True), context_tokens=4096), parallel=2) as engine:
        for number in range(8):
            ask(engine, job(f"{number} " + "b" * 250, 30))
        pair = [start(engine, job(f"{letter} " + "b" * 250, 30, scope=letter))[0] for letter in "cd"]
        assert [answer.wait().finish.completion_tokens for answer in pair] == [30, 30]
    assert "failed to find a memory slot" not in capfd.readouterr().err
