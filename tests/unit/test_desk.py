"""The desk takes turns, ends what is cancelled, and has room for recursion."""

import threading
from collections.abc import Iterator

import pytest
from vramd_worker.llama.desk import STACK_BYTES, Desk
from vramd_worker.llama.loop import Cancellable

LIMIT_S = 30.0


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def test_what_is_short_does_not_wait_for_what_is_long(desk: Desk) -> None:
    ended, busy = threading.Event(), threading.Event()
    long = Cancellable()

    def without_end() -> Iterator[None]:
        while True:
            busy.set()
            yield

    def short() -> Iterator[None]:
        yield
        ended.set()

    desk.add(long, without_end())
    assert busy.wait(LIMIT_S)
    desk.add(Cancellable(), short())
    assert ended.wait(LIMIT_S)
    long.cancel()


def test_they_take_turns_in_the_order_in_which_they_came(desk: Desk) -> None:
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

    desk.add(Cancellable(), first())
    desk.add(Cancellable(), work("a", 3))
    desk.add(Cancellable(), work("b", 2))
    began.set()
    assert ended.wait(LIMIT_S)
    assert told == ["a0", "b0", "a1", "b1", "a2"]


def test_what_is_cancelled_does_no_further_step() -> None:
    desk, task, steps = Desk(), Cancellable(), []

    def work() -> Iterator[None]:
        while True:
            steps.append(1)
            task.cancel()
            yield

    desk.add(task, work())
    desk.close()
    assert steps == [1]


def test_other_threads_have_the_stack_that_they_had() -> None:
    before = threading.stack_size()
    Desk().close()
    assert threading.stack_size() == before < STACK_BYTES
