"""What the threads of a worker say of themselves: that they move, stand still or rest."""

import math
import threading
from collections import deque
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from support.supervisor_process import until
from vramd_common.reasons import Reason
from vramd_worker.engine import EngineError
from vramd_worker.llama import context
from vramd_worker.llama.context import Chunk, NativeContext, Outcome, Pace
from vramd_worker.llama.decode_loop import DecodeLoop, Interrupt
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.prompt_thread import PromptThread
from vramd_worker.llama.tasks import LlamaTask, Question

BOUND_S = 60.0


class Steps:
    """Work of which a test ends each step."""

    def __init__(self) -> None:
        self.begun, self.goes_on = threading.Semaphore(0), threading.Semaphore(0)
        self.due_s: deque[float] = deque()

    def add(self, item: LlamaTask) -> None:
        """Items are nothing here."""

    def step(self) -> float:
        self.begun.release()
        assert self.goes_on.acquire(timeout=BOUND_S)
        return self.due_s.popleft()

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def pace() -> Pace:
    return Pace()


@pytest.fixture
def loop(steps: Steps, pace: Pace) -> Iterator[DecodeLoop[Any]]:
    of_pace = cast(NativeContext, SimpleNamespace(pace=pace))
    interrupt = cast(Interrupt, SimpleNamespace(look=lambda: None))
    loop = DecodeLoop[Any](of_pace, interrupt, steps, 1)
    yield loop
    steps.due_s.extend([math.inf] * 2)
    steps.goes_on.release(2)
    loop.stop()


def test_a_decode_thread_is_at_work_in_a_step_and_rests_until_one_is_due(loop: DecodeLoop[Any], steps: Steps) -> None:
    assert not loop.activity().at_work
    loop.add(Question[None](lambda _: None))
    assert steps.begun.acquire(timeout=BOUND_S)
    stuck = loop.activity()
    assert stuck.at_work
    assert loop.activity() == stuck, "it stands still as long as the step does not end"
    steps.due_s.append(0.0)
    steps.goes_on.release()
    assert steps.begun.acquire(timeout=BOUND_S)
    assert loop.activity().steps > stuck.steps
    steps.due_s.append(math.inf)
    steps.goes_on.release()
    until("it rests", lambda: not loop.activity().at_work, BOUND_S)
    assert loop.activity().steps == stuck.steps + 2


def test_a_decode_thread_moves_with_each_batch_of_a_long_step(loop: DecodeLoop[Any], steps: Steps, pace: Pace) -> None:
    loop.add(Question[None](lambda _: None))
    assert steps.begun.acquire(timeout=BOUND_S)
    first = loop.activity()
    pace.end(512, pace.begin(512))
    assert loop.activity().steps == first.steps + 1, "a text of many batches is one step"


def test_a_prompt_thread_moves_with_each_step_and_within_long_ones() -> None:
    prompts = PromptThread()
    begun, goes_on = threading.Semaphore(0), threading.Semaphore(0)
    ended = threading.Event()

    def work() -> Iterator[None]:
        for _ in range(2):
            begun.release()
            assert goes_on.acquire(timeout=BOUND_S)
            yield
        ended.set()

    assert not prompts.activity().at_work
    prompts.add(Question[None](lambda _: None), work())
    assert begun.acquire(timeout=BOUND_S)
    first = prompts.activity()
    assert first.at_work
    prompts.goes_on()
    assert prompts.activity().steps == first.steps + 1, "a template that takes long says so"
    goes_on.release()
    assert begun.acquire(timeout=BOUND_S)
    assert prompts.activity().steps == first.steps + 2
    goes_on.release()
    assert ended.wait(BOUND_S)
    prompts.close()
    assert not prompts.activity().at_work


def test_a_prompt_that_fails_leaves_its_thread_at_rest() -> None:
    prompts = PromptThread()

    def work() -> Iterator[None]:
        yield
        raise EngineError(Reason.FIELD_INVALID, "no", field="prompt")

    prompts.add(Question[None](lambda _: None), work())
    prompts.close()
    assert not prompts.activity().at_work


def test_a_batch_is_expected_to_take_what_batches_of_its_size_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "time", SimpleNamespace(monotonic=lambda: 100.0))
    pace = Pace()
    pace.begin(1)
    assert pace.batch_s == 0.0, "nothing is known"
    now_s = pace.begin(512)
    pace.end(1, now_s - 0.5)
    pace.begin(512)
    assert pace.batch_s == pytest.approx(256.0, rel=0.01), "each token costs at most what it costs alone"
    pace.end(512, pace.begin(512) - 8.0)
    pace.begin(400)
    assert pace.batch_s == pytest.approx(400 * 8.0 / 512, rel=0.01)
    pace.begin(1)
    assert pace.batch_s == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_batch_that_was_computed_teaches_the_pace(outcome: Outcome) -> None:
    library = SimpleNamespace(
        llama_n_batch=lambda _: 8,
        llama_n_ctx=lambda _: 8,
        llama_n_ctx_seq=lambda _: 8,
        llama_n_seq_max=lambda _: 1,
        llama_model_n_swa=lambda _: 0,
        llama_get_memory=lambda _: 1,
        llama_batch=lambda **fields: fields,
        llama_encode=None,
        llama_decode=lambda *_: outcome.value,
    )
    model = SimpleNamespace(handle=1, vocabulary_tokens=4)
    native = NativeContext(cast(ModuleType, library), cast(NativeModel, model), 1, embeds=False)
    assert native.compute([Chunk(0, [1, 2, 3], 0, True)]) == (outcome, [2])
    native.pace.begin(8)
    done = outcome is Outcome.DONE
    assert (native.pace.batches, native.pace.batch_s > 0.0) == (int(done), done)
