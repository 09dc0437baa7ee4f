"""The prompt thread takes turns, ends what is cancelled, and has room for recursion."""

import threading
from collections.abc import Iterator

import pytest
from vramd_worker.llama.prompt_thread import STACK_BYTES, PromptThread
from vramd_worker.llama.tasks import Question

LIMIT_S = 30.0


def task() -> Question[None]:
    return Question(lambda _: None)


@pytest.fixture
def prompts() -> Iterator[PromptThread]:
    prompts = PromptThread()
    yield prompts
    prompts.close()


def test_what_is_short_does_not_wait_for_what_is_long(prompts: PromptThread) -> None:
    ended, busy = threading.Event(), threading.Event()
    long = task()

    def without_end() -> Iterator[None]:
        while True:
            busy.set()
            yield

    def short() -> Iterator[None]:
        yield
        ended.set()

    prompts.add(long, without_end())
    assert busy.wait(LIMIT_S)
    prompts.add(task(), short())
    assert ended.wait(LIMIT_S)
    long.cancel()


def test_they_take_turns_in_the_order_in_which_they_came(prompts: PromptThread) -> None:
    told: list[str] = []
    began, ended = threading.Event(), threading.Event()

    def first() -> Iterator[None]:
        began.wait(LIMIT_S)
        yield

    def work(name: str, steps: int) -> Iterator[None]:
        for step in range(steps):
            told.append(f"{name}{step}")
            yield
        if name == "a":
            ended.set()

    prompts.add(task(), first())
    prompts.add(task(), work("a", 3))
    prompts.add(task(), work("b", 2))
    began.set()
    assert ended.wait(LIMIT_S)
    assert told == ["a0", "b0", "a1", "b1", "a2"]


def test_what_is_cancelled_does_no_further_step() -> None:
    prompts, wanted, steps = PromptThread(), task(), []

    def work() -> Iterator[None]:
        while True:
            steps.append(1)
            wanted.cancel()
            yield

    prompts.add(wanted, work())
    prompts.close()
    assert steps == [1]


def test_other_threads_have_the_stack_that_they_had() -> None:
    before = threading.stack_size()
    PromptThread().close()
    assert threading.stack_size() == before < STACK_BYTES
