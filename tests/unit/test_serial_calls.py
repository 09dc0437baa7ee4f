"""Blocking calls are waited for within a bound, and one that hangs costs one thread and its own thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine

import pytest
from support.supervisor_process import until
from vramd_supervisor.threads.serial_calls import NoAnswerError, SerialCalls, SerialCallsByName

BOUND_S = 30.0


class Hanging:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.begun, self.goes_on, self.calls = threading.Semaphore(0), threading.Event(), 0

    def __call__(self) -> int:
        self.calls += 1
        self.begun.release()
        assert self.goes_on.wait(BOUND_S)
        return self.calls

    async def outlasts(self, limit_s: float) -> None:
        """The limit passes, by the clock of the event loop, once it hangs: however late a thread gets its turn."""
        assert await asyncio.to_thread(self.begun.acquire, timeout=BOUND_S)
        event_loop = asyncio.get_running_loop()
        now_s = event_loop.time
        event_loop.time = lambda: now_s() + limit_s  # type: ignore[method-assign]


async def given_up(asking: Coroutine[object, object, int], hanging: Hanging) -> str:
    """What is said of a call that hangs when its limit has passed."""
    waits = asyncio.ensure_future(asking)
    await hanging.outlasts(BOUND_S)
    with pytest.raises(NoAnswerError) as refusal:
        await waits
    return str(refusal.value)


async def test_one_that_hangs_is_not_asked_again_until_it_answers() -> None:
    hanging, calls = Hanging(), SerialCalls("the drive", BOUND_S)
    assert await given_up(calls.run(hanging), hanging) == "the drive gives no answer within 30 s"
    for _ in range(100):
        with pytest.raises(NoAnswerError, match="has not answered an earlier question"):
            calls.submit(hanging)
    assert hanging.calls == 1
    hanging.goes_on.set()


async def test_answers_and_faults_come_in_the_order_of_the_calls() -> None:
    calls, came = SerialCalls("the book", BOUND_S), list[int]()

    def fails() -> None:
        came.append(1)
        raise TimeoutError(110, "Connection timed out")

    answers = await asyncio.gather(
        calls.run(lambda: came.append(0)), calls.run(fails), calls.run(lambda: came.append(2)), return_exceptions=True
    )
    assert came == [0, 1, 2]
    assert [type(answer) for answer in answers] == [type(None), TimeoutError, type(None)]
    assert await calls.run(lambda: 4) == 4


async def test_what_waits_behind_one_that_hangs_is_never_called() -> None:
    hanging, calls, called = Hanging(), SerialCalls("the drive", BOUND_S), list[int]()
    first = asyncio.ensure_future(calls.run(hanging))
    second = asyncio.ensure_future(calls.run(lambda: called.append(1)))
    await hanging.outlasts(BOUND_S)
    for waits in (first, second):
        with pytest.raises(NoAnswerError):
            await waits
    hanging.goes_on.set()
    patient = SerialCalls("another", BOUND_S)
    assert await patient.run(lambda: 7) == 7
    until("the thread has done what it had to", lambda: not calls.busy, BOUND_S)
    assert called == []


def test_a_thread_that_cannot_be_had_costs_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = SerialCalls("gpu0", BOUND_S)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        with pytest.raises(NoAnswerError, match="gpu0 cannot be asked: can't start new thread"):
            calls.ask(lambda: 1)
    assert calls.ask(lambda: 2) == 2


async def test_the_end_of_an_event_loop_does_not_wait_for_what_hangs() -> None:
    hanging = Hanging()
    with pytest.raises(NoAnswerError):
        await SerialCalls("the drive", 0.01).run(hanging)
    assert not hanging.goes_on.is_set()
    hanging.goes_on.set()


def test_lanes_of_other_names_move_past_one_that_hangs() -> None:
    async def main() -> None:
        hanging, by_name = Hanging(), SerialCallsByName(BOUND_S, at_once=1, most=2)

        async def refused(name: str, call: Callable[[], int]) -> str:
            with pytest.raises(NoAnswerError) as refusal:
                await by_name.run(name, call)
            return str(refusal.value)

        assert "a gives no answer" in await given_up(by_name.run("a", hanging), hanging)
        assert await by_name.run("b", lambda: 1) == 1
        assert "a has not answered" in await refused("a", hanging)
        assert "b gives no answer" in await given_up(by_name.run("b", hanging), hanging)
        assert await refused("c", lambda: 1) == "c is not asked: 2 others give no answer"
        hanging.goes_on.set()

    asyncio.run(main())
