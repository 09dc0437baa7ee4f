"""However a program leaves an answer, the call ends at once: not when the collector comes, which is off here."""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import vramd
from support.fake_answers import held, waiting
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer
from vramd_common.reasons import Reason
from vramd_proto.v1 import supervisor_pb2

SOON_S = BOUND_S / 2
"""The fake supervisor gives a stream up by itself after the bound."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


class Alarm(Exception):
    """What a program may raise in a handler of a signal."""


READERS: dict[str, Callable[[vramd.Client], object]] = {
    "loop": lambda client: list(client.chat("talker", "Hi")),
    "next": lambda client: next(client.chat("talker", "Hi")),
    "text": lambda client: client.chat("talker", "Hi").text,
    "finish": lambda client: client.chat("talker", "Hi").finish,
    "with": lambda client: list(client.chat("talker", "Hi").__enter__()),
}


@posix
@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit, Alarm])
@pytest.mark.parametrize("how", READERS)
def test_an_exception_in_the_midst_of_waiting(
    fake: FakeSupervisor, client: vramd.Client, how: str, leave: type[BaseException]
) -> None:
    crashed = Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5)
    wait = Wait()
    fake.script("Chat", crashed)  # the second attempt ends as the first would
    fake.script("Chat", wait)
    with raising_when(wait, leave), pytest.raises(leave):
        READERS[how](client)
    assert wait.left.wait(SOON_S)


@posix
def test_a_stream_with_a_name_ends_too_and_tells_what_came(fake: FakeSupervisor, client: vramd.Client) -> None:
    wait = Wait()
    fake.script("Chat", *answer("Hel")[:1], wait)
    stream = client.chat("talker", "Hi")
    assert next(stream) == "Hel"
    with raising_when(wait, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        _ = stream.text
    assert wait.left.wait(SOON_S)
    assert (stream.text, stream.finish.reason) == ("Hel", "CANCELLED")


@posix
@pytest.mark.parametrize("method", ["HoldModel", "TailLogs", "LoadModel", "WatchEvents", "Embed", "ReserveMemory"])
def test_what_is_no_answer_ends_too(fake: FakeSupervisor, client: vramd.Client, method: str) -> None:
    wait = Wait()
    fake.script(method, *(held()[:1] if method == "HoldModel" else ()), wait)
    calls: dict[str, Callable[[], object]] = {
        "HoldModel": client.hold("talker").ready,
        "TailLogs": lambda: list(client.logs("talker")),
        "LoadModel": lambda: client.load("talker"),
        "WatchEvents": lambda: list(client.watch()),
        "Embed": lambda: client.embed("talker", "text"),
        "ReserveMemory": lambda: client.reserve("1GiB"),
    }
    with raising_when(wait, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        calls[method]()
    assert wait.left.wait(SOON_S)


def until(true: Callable[[], object]) -> None:
    look = threading.Event()
    end_s = time.monotonic() + BOUND_S
    while not true():
        assert not look.wait(0.002)
        assert time.monotonic() < end_s


def main_thread_waits() -> bool:
    """Whether it is inside gRPC's own wait: before, it may not hold the call in its hands yet."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    names = set()
    while frame is not None:
        names.add((Path(frame.f_code.co_filename).name, frame.f_code.co_name))
        frame = frame.f_back
    return bool(names & {("_common.py", "wait"), ("_channel.py", "_blocking")})


class raising_when:
    """Raises in the main thread when that waits for a message that the fake supervisor does not send."""

    def __init__(self, wait: Wait, kind: type[BaseException]) -> None:
        self._wait = wait
        self._kind = kind
        self._thread = threading.Thread(target=self._interrupt)

    def _interrupt(self) -> None:
        assert self._wait.reached.wait(BOUND_S)
        until(main_thread_waits)
        os.kill(os.getpid(), signal.SIGINT)

    def _raise(self, *_: object) -> None:
        raise self._kind

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._raise)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(BOUND_S)
        signal.signal(signal.SIGINT, self._before)


def broken_off(client: vramd.Client, wait: Wait) -> None:
    for _ in client.chat("talker", "Hi"):
        assert wait.reached.wait(BOUND_S)
        break


def returned_from(client: vramd.Client, wait: Wait) -> str:
    stream = client.chat("talker", "Hi")
    for text in stream:
        assert wait.reached.wait(BOUND_S)
        return text
    raise AssertionError("it said nothing")


def raised_in(client: vramd.Client, wait: Wait) -> None:
    with pytest.raises(LookupError):
        for _ in client.chat("talker", "Hi"):
            assert wait.reached.wait(BOUND_S)
            raise LookupError("of the program")


def not_read_at_all(client: vramd.Client, wait: Wait) -> None:
    stream = client.chat("talker", "Hi")
    assert wait.reached.wait(BOUND_S)
    assert stream.received == ""


@pytest.mark.parametrize("leave", [broken_off, returned_from, raised_in, not_read_at_all])
def test_a_loop_that_is_left(
    fake: FakeSupervisor, client: vramd.Client, leave: Callable[[vramd.Client, Wait], object]
) -> None:
    wait = Wait()
    fake.script("Chat", *answer("Hel")[:1], wait)
    leave(client, wait)
    assert wait.left.wait(SOON_S)


def test_an_answer_with_a_name_may_be_read_on(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", *answer("Hel", "lo"))
    stream = either.chat("talker", "Hi")
    for _ in stream:
        break
    assert (stream.text, stream.finish.reason) == ("Hello", "STOP")


def test_close_is_cancel(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    fake.script("Chat", *answer("Hel")[:1], wait)
    stream = either.chat("talker", "Hi")
    assert next(stream) == "Hel"
    assert wait.reached.wait(BOUND_S)
    stream.close()
    assert wait.left.wait(SOON_S)
    assert (stream.text, repr(stream)) == ("Hel", "<vramd.Stream of talker: 1 tokens, CANCELLED>")


@pytest.mark.parametrize("steps", [1, 2])
def test_a_listener_that_fails_ends_the_call(fake: FakeSupervisor, either: vramd.Client, steps: int) -> None:
    wait = Wait()
    fake.script("Chat", waiting(1, "two is DRAINING"), waiting(0, "talker is LOADING"), wait)
    told: list[int] = []

    def fail(step: vramd.Waiting) -> None:
        told.append(step.ahead)
        if len(told) == steps:
            raise LookupError("of the program")

    stream = either.chat("talker", "Hi", on_waiting=fail)
    with pytest.raises(LookupError):
        _ = stream.text
    assert stream.text == ""
    assert len(fake.requests("Chat")) == 1


def test_a_failed_call_keeps_nothing_alive(fake: FakeSupervisor, client: vramd.Client) -> None:
    """The error has the caller's frames in its traceback: whatever kept it would keep the caller's other streams."""
    wait = Wait()
    fake.script("Generate", wait)
    fake.script("Chat", Refusal(Reason.MODEL_NOT_FOUND))
    fake.script("GetStatus", Refusal(Reason.INTERNAL))

    def caller() -> None:
        other = client.generate("talker", "Hi")
        assert wait.reached.wait(BOUND_S)
        for fail in (lambda: client.chat("nobody", "Hi").text, client.status):
            with pytest.raises(vramd.VramdError):
                fail()
        assert next(iter([other])) is other

    caller()
    assert wait.left.wait(SOON_S)


async def async_broken_off(client: vramd.AsyncClient, reached: Awaitable[object]) -> None:
    async for _ in client.chat("talker", "Hi"):
        await reached
        break


async def async_returned_from(client: vramd.AsyncClient, reached: Awaitable[object]) -> str:
    stream = client.chat("talker", "Hi")
    async for text in stream:
        await reached
        return text
    raise AssertionError("it said nothing")


async def async_raised_in(client: vramd.AsyncClient, reached: Awaitable[object]) -> None:
    with pytest.raises(LookupError):
        async for _ in client.chat("talker", "Hi"):
            await reached
            raise LookupError("of the program")


async def async_timed_out(client: vramd.AsyncClient, reached: Awaitable[object]) -> None:
    stream = client.chat("talker", "Hi")
    assert await stream.__anext__() == "Hel"
    await reached
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(stream.text, 0.01)
    assert (await stream, (await stream.finish).reason) == ("Hel", "CANCELLED")


async def async_coroutine_closed(client: vramd.AsyncClient, reached: Awaitable[object]) -> None:
    stream = client.chat("talker", "Hi")
    await stream.__anext__()
    await reached
    reading = stream.text
    reading.send(None)
    reading.close()
    assert stream.received == "Hel"


async def async_dropped_by_another_thread(client: vramd.AsyncClient, reached: Awaitable[object]) -> None:
    streams = [client.chat("talker", "Hi")]
    await streams[0].__anext__()
    await reached
    await asyncio.to_thread(streams.clear)


@pytest.mark.parametrize(
    "leave",
    [
        async_broken_off,
        async_returned_from,
        async_raised_in,
        async_timed_out,
        async_coroutine_closed,
        async_dropped_by_another_thread,
    ],
)
async def test_an_answer_in_an_event_loop(
    fake: FakeSupervisor, leave: Callable[[vramd.AsyncClient, Awaitable[object]], Awaitable[object]]
) -> None:
    wait = Wait()
    fake.script("Chat", *answer("Hel")[:1], wait)
    async with vramd.AsyncClient(fake.folder.path) as client:
        await leave(client, asyncio.to_thread(wait.reached.wait, BOUND_S))
        assert await asyncio.to_thread(wait.left.wait, SOON_S)


def test_cancel_wins_over_the_next_attempt(fake: FakeSupervisor) -> None:
    fake.script("Chat", Refusal(Reason.WORKER_CRASHED, retry_after_s=2 * BOUND_S))
    with vramd.Client(fake.folder.path) as client:
        stream = client.chat("talker", "Hi")
        texts: list[str] = []
        reader = threading.Thread(target=lambda: texts.append(stream.text))
        reader.start()
        until(lambda: client._connection._delays)
        stream.cancel()
        reader.join(BOUND_S)
    assert texts == [""]
    assert len(fake.requests("Chat")) == 1


def test_cancel_while_the_programs_own_sleep_waits(fake: FakeSupervisor) -> None:
    fake.script("Chat", Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5))
    streams: list[vramd.Stream] = []
    with vramd.Client(fake.folder.path, sleep=lambda _: streams[0].cancel()) as client:
        streams.append(client.chat("talker", "Hi"))
        assert streams[0].text == ""
    assert len(fake.requests("Chat")) == 1


async def test_cancel_wins_in_an_event_loop(fake: FakeSupervisor) -> None:
    fake.script("Chat", Refusal(Reason.WORKER_CRASHED, retry_after_s=2 * BOUND_S))
    fake.script("HoldModel", Refusal(Reason.WORKER_CRASHED, retry_after_s=2 * BOUND_S))
    async with vramd.AsyncClient(fake.folder.path) as client:
        stream, hold = client.chat("talker", "Hi"), client.hold("talker")
        tasks = [asyncio.ensure_future(stream.text), asyncio.ensure_future(hold.ready())]
        while len(client._connection._delays) < 2:
            await asyncio.sleep(0)
        stream.cancel()
        hold.cancel()
        assert await tasks[0] == ""
        with pytest.raises(vramd.Cancelled):
            await tasks[1]
    assert len(fake.calls) == 2


def test_an_answer_that_has_begun_is_never_asked_for_again(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", *answer("Hel")[:1], Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5))
    wait = Wait()
    fake.script("WatchEvents", wait, Refusal(Reason.SHUTTING_DOWN, retry_after_s=0.5))
    with pytest.raises(vramd.WorkerCrashed):
        _ = either.chat("talker", "Hi").text
    with either.watch() as events, pytest.raises(vramd.ShuttingDown):
        wait.go()
        next(events)  # the header was there: what happened in between would be missed in silence
    assert [call.method for call in fake.calls] == ["Chat", "WatchEvents"]
    assert supervisor_pb2.WatchEventsRequest() in fake.requests("WatchEvents")
