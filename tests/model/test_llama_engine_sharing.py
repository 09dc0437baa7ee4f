"""Many sequences on one real context: sharing, waiting, giving way, leaving."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.gguf_models import Shape, random_llama, reciting_llama
from support.llama_engines import LIMIT_S, Gate, ask, loaded, spec, start
from vramd_common.sampling import Sampling
from vramd_worker.engine import FinishReason, Job, Piece
from vramd_worker.llama import LlamaEngine
from vramd_worker.llama.context import Chunk, NativeContext, Outcome

pytest.importorskip("llama_cpp")

GREEDY = Sampling(temperature=0)
UNENDING = Sampling(seed=5)
SCRIPT = ("one", "two", "three", "four", "five", "six", "seven", "eight")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return random_llama(folder / "rambler.gguf")


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[LlamaEngine]:
    with loaded(spec(model)) as engine:
        yield engine


@pytest.fixture(scope="module")
def slow_engine(folder: Path) -> Iterator[LlamaEngine]:
    """A long prompt keeps it busy for seconds."""
    shape = Shape(embedding=512, layers=4, heads=8, kv_heads=8, feed_forward=1536, context=4096)
    path = random_llama(folder / "slow.gguf", shape)
    with loaded(spec(path, context_tokens=4096, batch_tokens=4096)) as engine:
        yield engine


def test_several_run_at_once_and_all_end(engine: LlamaEngine) -> None:
    jobs = [Job("b" * (10 + 40 * number), GREEDY, max_tokens=30 + number) for number in range(4)]
    answers = [start(engine, job)[0] for job in jobs]
    for number, answer in enumerate(answers):
        assert answer.wait().finish.completion_tokens == 30 + number
        assert answer.finish.prompt_tokens == 12 + 40 * number


def test_sequences_keep_their_own_text(tmp_path: Path) -> None:
    """The reciting model's choice does not hang on the last bits, so that company must not change it."""
    with loaded(spec(reciting_llama(tmp_path / "reciter.gguf", SCRIPT))) as engine:
        alone = ask(engine, Job("a", GREEDY)).token_ids
        company = [start(engine, Job("b" * (100 * number), GREEDY))[0] for number in range(4)]
        assert [answer.wait().token_ids for answer in company] == [alone] * 4


def test_more_jobs_than_sequences_take_turns(engine: LlamaEngine) -> None:
    answers = [start(engine, Job(f"number {number}", UNENDING, max_tokens=12))[0] for number in range(15)]
    for answer in answers:
        assert answer.wait().finish.completion_tokens == 12


def test_a_sequence_that_gave_way_goes_on_where_it_was(model: Path) -> None:
    """Three that fit in the beginning, but not to the end: nothing fails, nothing is lost, nothing comes twice."""
    with loaded(spec(model, context_tokens=256)) as engine:
        jobs = [Job("b" * 60, Sampling(seed=seed)) for seed in (11, 12, 13)]
        answers = [start(engine, job)[0].wait for job in jobs]
        for answer in [wait() for wait in answers]:
            assert answer.finish.reason is FinishReason.LENGTH
            assert answer.finish.prompt_tokens == 62
            assert answer.finish.completion_tokens == 256 - 62 == len(answer.token_ids)


def test_a_sequence_that_gave_way_says_what_it_would_have_said(tmp_path: Path) -> None:
    with loaded(spec(reciting_llama(tmp_path / "reciter.gguf", SCRIPT), context_tokens=256)) as engine:
        alone = ask(engine, Job("a", GREEDY)).token_ids
        answers = [start(engine, Job("b" * 82, GREEDY))[0] for _ in range(3)]
        assert [answer.wait().token_ids for answer in answers] == [alone] * 3


def test_a_text_flows_on_while_a_long_prompt_is_computed(model: Path) -> None:
    with loaded(spec(model, batch_tokens=512)) as engine:
        gate = Gate()
        text, task = start(engine, Job("a", UNENDING), gate)
        gate.wait()
        long, long_task = start(engine, Job("b" * 640, GREEDY, max_tokens=1))
        gate.open(engine, long_task)
        long.wait()
        assert len(text.pieces) - 1 >= 640 // 64
        task.cancel()


def test_a_short_prompt_is_not_behind_a_long_one(model: Path) -> None:
    ended: list[str] = []
    with loaded(spec(model, batch_tokens=512)) as engine:
        gate = Gate()
        _, task = start(engine, Job("a", UNENDING), gate)
        gate.wait()
        long, long_task = start(engine, Job("b" * 800, GREEDY, max_tokens=1), lambda _: ended.append("long"))
        short, short_task = start(engine, Job("c" * 20, GREEDY, max_tokens=1), lambda _: ended.append("short"))
        gate.open(engine, long_task, short_task)
        long.wait()
        short.wait()
        task.cancel()
    assert ended == ["short", "long"]


def test_a_cancelled_job_is_silent_and_leaves_its_place(model: Path) -> None:
    with loaded(spec(model), parallel=1) as engine:
        running, task = start(engine, Job("a", UNENDING, max_tokens_per_s=20))
        waiting, waiting_task = start(engine, Job("a", UNENDING))
        running.wait_for_pieces(2)
        waiting_task.cancel()
        task.cancel()
        task.cancel()
        heard = len(running.pieces)
        assert ask(engine, Job("a", GREEDY, max_tokens=5)).finish.completion_tokens == 5
        assert len(running.pieces) <= heard + 1
        assert not waiting.pieces
        assert running.error is waiting.error is None


def test_a_prompt_that_is_being_computed_can_be_cancelled(
    slow_engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch of thousands of tokens ends at the next operation."""
    begun, cancelled, outcomes = threading.Event(), threading.Event(), list[Outcome]()
    compute = NativeContext.compute

    def until_cancelled(self: NativeContext, chunks: Sequence[Chunk]) -> tuple[Outcome, list[int]]:
        begun.set()
        assert cancelled.wait(LIMIT_S)
        outcome, ends = compute(self, chunks)
        outcomes.append(outcome)
        return outcome, ends

    monkeypatch.setattr(NativeContext, "compute", until_cancelled)
    answer, task = start(slow_engine, Job("b" * 3000, GREEDY, max_tokens=1))
    assert begun.wait(LIMIT_S)
    task.cancel()
    cancelled.set()
    assert ask(slow_engine, Job("a", GREEDY, max_tokens=1)).finish.completion_tokens == 1
    assert outcomes == [Outcome.ABORTED, Outcome.DONE]
    assert not answer.pieces


def test_a_rate_is_kept_and_holds_nobody_else_up(engine: LlamaEngine) -> None:
    began_s = time.monotonic()
    slow, slow_task = start(engine, Job("a", UNENDING, max_tokens=400, max_tokens_per_s=20))
    slow.wait_for_pieces(1)
    slow_pieces: list[int] = []

    def count(_piece: Piece) -> None:
        slow_pieces.append(len(slow.pieces))

    quick = start(engine, Job("a", UNENDING, max_tokens=200), count)[0].wait()
    assert quick.finish.completion_tokens > slow_pieces[-1]
    slow.wait_for_pieces(9)
    took_s = time.monotonic() - began_s
    slow_task.cancel()
    assert took_s >= 8 / 20


def test_a_rate_does_not_spin(engine: LlamaEngine) -> None:
    slow, task = start(engine, Job("a", UNENDING, max_tokens_per_s=20))
    slow.wait_for_pieces(1)
    cpu_s = time.process_time()
    slow.wait_for_pieces(7)
    task.cancel()
    assert time.process_time() - cpu_s < 0.15


def test_threads_change_between_two_steps(engine: LlamaEngine) -> None:
    before = ask(engine, Job("the", GREEDY, max_tokens=10)).token_ids
    running, task = start(engine, Job("a", UNENDING, max_tokens_per_s=50))
    for threads in (2, 1, 0, 100_000, 1):
        seen = len(running.pieces)
        engine.set_threads(threads)
        running.wait_for_pieces(seen + 2)
    task.cancel()
    assert ask(engine, Job("the", GREEDY, max_tokens=10)).token_ids == before
