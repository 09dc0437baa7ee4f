"""The client for event loops over a real channel, against scripted answers: where it could differ from the other."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import vramd
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer, resident
from vramd_common.reasons import Reason
from vramd_proto.v1 import model_pb2, supervisor_pb2

CRASHED = Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5)


def using(
    fake: FakeSupervisor,
    work: Callable[[vramd.AsyncClient], Coroutine[None, None, None]],
    naps: list[float] | None = None,
) -> None:
    """Runs a test's work with a client, within the bound."""
    seconds = [] if naps is None else naps

    async def sleep(wait_s: float) -> None:
        seconds.append(wait_s)

    async def main() -> None:
        async with vramd.AsyncClient(fake.folder.path, sleep=sleep) as client:
            await asyncio.wait_for(work(client), BOUND_S)

    asyncio.run(main())


async def reached(event: Callable[[float], bool]) -> None:
    """Waits in a thread until the fake supervisor has come there."""
    assert await asyncio.to_thread(event, BOUND_S)


def test_both_clients_have_the_same_surface() -> None:
    pairs = (
        (vramd.Client, vramd.AsyncClient),
        (vramd.Stream, vramd.AsyncStream),
        (vramd.Feed, vramd.AsyncFeed),
        (vramd.Hold, vramd.AsyncHold),
    )
    for plain, awaited in pairs:
        names = [name for name in dir(plain) if not name.startswith("_")]
        assert names == [name for name in dir(awaited) if not name.startswith("_")]
        for name in names:
            if inspect.isfunction(getattr(plain, name)):
                here, there = (inspect.signature(getattr(kind, name)).parameters for kind in (plain, awaited))
                assert list(here) == list(there)
                assert [one.default for one in here.values()] == [one.default for one in there.values()]


def test_an_answer_comes_piece_by_piece(fake: FakeSupervisor) -> None:
    wait = Wait()
    first, second, end = answer("Hel", "lo")
    fake.script("Chat", first, wait, second, end)

    async def work(client: vramd.AsyncClient) -> None:
        async with client.chat("talker", "Hi") as stream:
            assert await stream.__anext__() == "Hel"
            wait.go()
            assert [text async for text in stream] == ["lo"]
        assert (await stream.text, stream.token_ids) == ("Hello", (0, 1))
        assert await stream.finish == vramd.Finish("STOP", vramd.Usage(5, 2, 0.5, 1.5))

    using(fake, work)


def test_leaving_the_block_ends_the_answer(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("Chat", answer("Hel")[0], wait)

    async def work(client: vramd.AsyncClient) -> None:
        async with client.chat("talker", "Hi") as stream:
            await stream.__anext__()
            await reached(wait.reached.wait)
        await reached(wait.left.wait)
        assert (await stream.text, (await stream.finish).reason) == ("Hel", "CANCELLED")

    using(fake, work)


def test_cancelling_the_task_ends_the_call(fake: FakeSupervisor) -> None:
    waits = {"Chat": Wait(), "LoadModel": Wait(), "Embed": Wait()}
    for method, wait in waits.items():
        fake.script(method, wait)

    async def work(client: vramd.AsyncClient) -> None:
        calls = {
            "Chat": client.chat("talker", "Hi").text,
            "LoadModel": client.load("talker"),
            "Embed": client.embed("talker", "text"),
        }
        for method, call in calls.items():
            task: asyncio.Task[object] = asyncio.create_task(call)
            await reached(waits[method].reached.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await reached(waits[method].left.wait)

    using(fake, work)


def test_a_closed_client_does_not_look_like_a_cancelled_task(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("Chat", wait)
    fake.script("Embed", wait)

    async def work(client: vramd.AsyncClient) -> None:
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(client.chat("talker", "Hi").text),
            asyncio.create_task(client.embed("talker", "text")),
        ]
        await reached(wait.reached.wait)
        await client.close()
        for task in tasks:
            with pytest.raises(vramd.Cancelled):
                await task

    using(fake, work)


def test_cancel_ends_the_wait_of_another_task(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("Chat", wait)

    async def work(client: vramd.AsyncClient) -> None:
        stream = client.chat("talker", "Hi")
        task = asyncio.create_task(stream.text)
        await reached(wait.reached.wait)
        stream.cancel()
        assert await task == ""

    using(fake, work)


def test_calls_are_made_again_as_the_supervisor_advises(fake: FakeSupervisor) -> None:
    for method in ("Chat", "GetStatus"):
        fake.script(method, CRASHED)
    fake.script("Chat", *answer("Hello"))
    fake.script("GetStatus", CRASHED)
    naps: list[float] = []

    async def work(client: vramd.AsyncClient) -> None:
        assert await client.chat("talker", "Hi").text == "Hello"
        with pytest.raises(vramd.WorkerCrashed) as caught:
            await client.status()
        assert caught.value.retry_after_s == 0.5

    using(fake, work, naps)
    assert len(naps) == 1 + 2
    assert len(fake.requests("GetStatus")) == 3


def test_an_error_in_the_middle_keeps_what_came(fake: FakeSupervisor) -> None:
    fake.script("Chat", answer("Hel")[0], Refusal(Reason.SHUTTING_DOWN, retry_after_s=2))

    async def work(client: vramd.AsyncClient) -> None:
        stream = client.chat("talker", "Hi")
        for _ in range(2):
            with pytest.raises(vramd.ShuttingDown):
                _ = await stream.text
        assert stream.received == "Hel"

    using(fake, work)


def test_refusals_carry_their_details(fake: FakeSupervisor) -> None:
    fake.script("RestartModel", Refusal(Reason.MODEL_NOT_FOUND, metadata={"model": "nobody"}))

    async def work(client: vramd.AsyncClient) -> None:
        with pytest.raises(vramd.NotFound) as caught:
            await client.restart("nobody")
        assert caught.value.metadata == {"model": "nobody"}
        with pytest.raises(vramd.Unimplemented):
            await client.models()

    using(fake, work)


def test_the_timeout_of_the_client_is_that_of_its_calls(fake: FakeSupervisor) -> None:
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    wait = Wait()
    fake.script("Chat", wait)

    async def main() -> None:
        async with vramd.AsyncClient(fake.folder.path, timeout_s=50) as client:
            await client.status()
            with pytest.raises(vramd.DeadlinePassed):
                _ = await client.chat("talker", "Hi", timeout_s=0.2).text

    asyncio.run(main())
    left_s = fake.calls[0].left_s
    assert left_s is not None
    assert 0 < left_s < 52


def test_a_supervisor_that_is_gone(tmp_path: Path) -> None:
    async def main(client: vramd.AsyncClient) -> None:
        async with client:
            with pytest.raises(vramd.SupervisorUnreachable, match="vramd serve"):
                await client.status()
            with pytest.raises(vramd.SupervisorUnreachable):
                await client.on("memory", print)

    with FakeSupervisor(tmp_path / "run") as fake:
        client = vramd.AsyncClient(fake.folder.path)  # no event loop is needed here
    asyncio.run(main(client))


def test_a_load_without_an_end_is_a_fault(fake: FakeSupervisor) -> None:
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_LOADING))
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident()))

    async def work(client: vramd.AsyncClient) -> None:
        with pytest.raises(vramd.Internal):
            await client.load("talker")
        assert (await client.load("talker")).pid == 4711

    using(fake, work)
