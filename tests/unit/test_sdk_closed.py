"""A client that cannot be used says so with an error of vramd's: closed, in a forked child, in another event loop."""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable

import pytest
import vramd
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer
from vramd_common.reasons import Reason
from vramd_proto.v1 import supervisor_pb2

CRASHED = Refusal(Reason.WORKER_CRASHED, retry_after_s=2 * BOUND_S)
forks = pytest.mark.skipif(sys.platform != "linux", reason="forks with threads")


CALLS: dict[str, Callable[[vramd.Client], object]] = {
    "status": lambda client: client.status(),
    "chat": lambda client: client.chat("talker", "Hi"),
    "load": lambda client: client.load("talker"),
    "hold": lambda client: client.hold("talker"),
    "watch": lambda client: client.watch(),
    "on": lambda client: client.on("model", print),
    "reserve": lambda client: client.reserve("1GiB"),
    "plan": lambda client: client.plan("talker"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_calls_of_a_closed_client(fake: FakeSupervisor, name: str) -> None:
    client = vramd.Client(fake.folder.path)
    client.close()
    client.close()
    with pytest.raises(vramd.ClientClosed, match="closed"):
        CALLS[name](client)
    assert repr(client) == f"<vramd.Client of {fake.address}, closed>"
    other = vramd.AsyncClient(fake.folder.path)
    await other.close()
    with pytest.raises(vramd.ClientClosed):
        await awaited(getattr(other, name), *arguments(name))
    assert "closed" in repr(other)
    assert fake.calls == []


def arguments(name: str) -> tuple[object, ...]:
    return {"chat": ("m", "Hi"), "on": ("model", print), "reserve": (1,), "status": (), "watch": ()}.get(name, ("m",))


async def awaited(call: Callable[..., object], *given: object) -> object:
    made = call(*given)
    return await made if isinstance(made, Awaitable) else made


@pytest.mark.parametrize("asleep", [False, True])
def test_calls_that_a_close_ends(fake: FakeSupervisor, asleep: bool) -> None:
    """Asleep, they wait for their next attempt."""
    client = vramd.Client(fake.folder.path)
    methods = {
        "Chat": lambda: client.chat("talker", "Hi").text,
        "Embed": lambda: client.embed("talker", "Hi"),
        "HoldModel": lambda: client.hold("talker").ready(),
        "TailLogs": lambda: list(client.logs("talker")),
    }
    waits = [Wait() for _ in methods]
    for method, wait in zip(methods, waits, strict=True):
        fake.script(method, CRASHED if asleep else wait)
    ends: list[str] = []

    def note(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # of whatever kind: that is the question
            ends.append(type(error).__name__)

    threads = [threading.Thread(target=note, args=(call,)) for call in methods.values()]
    for thread in threads:
        thread.start()
    if asleep:
        while len(client._connection._delays) < len(methods):
            threading.Event().wait(0.005)
    else:
        assert all(wait.reached.wait(BOUND_S) for wait in waits)
    client.close()
    for thread in threads:
        thread.join(BOUND_S)
    assert ends == ["ClientClosed"] * len(methods)


async def test_tasks_that_a_close_ends(fake: FakeSupervisor) -> None:
    fake.script("Chat", CRASHED)
    fake.script("GetStatus", CRASHED)
    wait = Wait()
    fake.script("Embed", wait)
    client = vramd.AsyncClient(fake.folder.path)
    calls = (client.chat("talker", "Hi").text, client.status(), client.embed("talker", "Hi"))
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(call) for call in calls]
    while len(client._connection._delays) < 2:
        await asyncio.sleep(0)
    assert await asyncio.to_thread(wait.reached.wait, BOUND_S)
    await client.close()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(ended, vramd.ClientClosed)


def test_a_client_for_two_event_loops_in_turn(fake: FakeSupervisor) -> None:
    fake.script("Chat", *answer("Hello"))
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    fake.script("WatchEvents", Wait())
    client = vramd.AsyncClient(fake.folder.path)

    async def use() -> None:
        await client.on("model", print)
        await client.status()
        assert await client.chat("talker", "Hi") == "Hello"

    async def last() -> None:
        await use()
        await client.close()

    asyncio.run(asyncio.wait_for(use(), BOUND_S))
    asyncio.run(asyncio.wait_for(use(), BOUND_S))
    asyncio.run(asyncio.wait_for(last(), BOUND_S))


async def test_a_client_for_two_event_loops_at_once(fake: FakeSupervisor) -> None:
    fake.script("Chat", *answer("Hel")[:1], Wait())
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    async with vramd.AsyncClient(fake.folder.path) as client:
        stream = client.chat("talker", "Hi")
        await stream.__anext__()

        async def elsewhere() -> None:
            for call in (client.status(), stream.text, client.on("model", print)):
                with pytest.raises(vramd.WrongContext, match="another event loop"):
                    await call

        await asyncio.to_thread(asyncio.run, elsewhere())
        await client.status()


def test_a_stream_behind_its_event_loop(fake: FakeSupervisor) -> None:
    fake.script("Chat", *answer("Hel")[:1], Wait())
    client = vramd.AsyncClient(fake.folder.path)

    async def begin() -> vramd.AsyncStream:
        stream = client.chat("talker", "Hi")
        await stream.__anext__()
        return stream

    async def go_on(stream: vramd.AsyncStream) -> None:
        with pytest.raises(vramd.WrongContext):
            await stream
        stream.cancel()

    asyncio.run(go_on(asyncio.run(begin())))


def test_outside_of_any_event_loop(fake: FakeSupervisor) -> None:
    client = vramd.AsyncClient(fake.folder.path)
    with pytest.raises(vramd.WrongContext, match=r"asyncio\.run"):
        client.chat("talker", "Hi")


def in_a_child(work: Callable[[], object]) -> str:
    """What the work comes to in a forked child, which then ends as Python does."""
    if sys.platform != "win32":
        read, write = os.pipe()
        if not (child := os.fork()):
            try:
                told = str(work())
            except BaseException as error:  # of whatever kind: that is the question
                told = f"{type(error).__name__}: {error}"
            os.write(write, told.encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as told_file:
            told = told_file.read().decode()
        os.waitpid(child, 0)
        return told
    raise NotImplementedError


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_to_make_a_client_of_its_own(fake: FakeSupervisor) -> None:
    wait, held = Wait(), Wait()
    first, second, end = answer("Hel", "lo")
    fake.script("Chat", first, wait, second, end)
    fake.script("HoldModel", held)
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    fake.script("WatchEvents", Wait())
    with vramd.Client(fake.folder.path) as client:
        client.on("model", print)
        stream, hold = client.chat("talker", "Hi"), client.hold("talker")
        assert next(stream) == "Hel"
        assert held.reached.wait(BOUND_S)
        for call in (client.status, lambda: next(stream), lambda: client.chat("talker", "Hi"), hold.ready):
            assert in_a_child(call).startswith("WrongContext: this client belongs to process ")
        for end_of_it in (client.close, stream.cancel, hold.cancel, stream.close):
            assert in_a_child(end_of_it) == "None"  # and nothing happens to the parent's
        client.status()
        wait.go()
        assert list(stream) == ["lo"]
        assert not held.left.is_set()
