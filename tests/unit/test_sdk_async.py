"""The client for event loops, where it differs from the other; what both do is tested with both in test_sdk_client."""

import asyncio
import inspect
from collections.abc import Callable

import pytest
import vramd
from support.fake_supervisor import BOUND_S, FakeSupervisor, Wait


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


async def test_cancelling_the_task_ends_the_call(fake: FakeSupervisor) -> None:
    waits = {"Chat": Wait(), "LoadModel": Wait(), "Embed": Wait()}
    for method, wait in waits.items():
        fake.script(method, wait)

    async with vramd.AsyncClient(fake.folder.path) as client:
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


async def test_a_closed_client_does_not_look_like_a_cancelled_task(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("Chat", wait)
    fake.script("Embed", wait)

    async with vramd.AsyncClient(fake.folder.path) as client:
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(client.chat("talker", "Hi").text),
            asyncio.create_task(client.embed("talker", "text")),
        ]
        await reached(wait.reached.wait)
        await client.close()
        for task in tasks:
            with pytest.raises(vramd.Cancelled):
                await task


async def test_cancel_ends_the_wait_of_another_task(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("Chat", wait)

    async with vramd.AsyncClient(fake.folder.path) as client:
        stream = client.chat("talker", "Hi")
        task = asyncio.create_task(stream.text)
        await reached(wait.reached.wait)
        stream.cancel()
        assert await task == ""
