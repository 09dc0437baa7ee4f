"""Callbacks over the events of a supervisor, in both clients."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest
import vramd
from support.driven_client import Connect
from support.fake_answers import queue_changed, thrashing
from support.fake_supervisor import BOUND_S, FakeSupervisor, Part, Wait, receipt
from vramd import callbacks
from vramd_proto.v1 import model_pb2, supervisor_pb2


def evicted(model: str) -> supervisor_pb2.WatchEventsResponse:
    gone = supervisor_pb2.Evicted(model=model, for_model="talker", message="least recently used")
    return supervisor_pb2.WatchEventsResponse(kind=supervisor_pb2.EVENT_KIND_EVICTION, evicted=gone)


def changed(model: str) -> supervisor_pb2.WatchEventsResponse:
    ready = supervisor_pb2.ModelChanged(model=model, after=model_pb2.MODEL_STATE_READY)
    return supervisor_pb2.WatchEventsResponse(kind=supervisor_pb2.EVENT_KIND_MODEL, model_changed=ready)


RELEASED = supervisor_pb2.WatchEventsResponse(kind=supervisor_pb2.EVENT_KIND_RELEASE, released=receipt())
LEDGER = supervisor_pb2.WatchEventsResponse(
    kind=supervisor_pb2.EVENT_KIND_LEDGER, ledger_changed=supervisor_pb2.LedgerChanged(message="it was loaded")
)


class Told:
    """What was called back, and where."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.threads: set[str] = set()
        self.enough = threading.Event()

    def __call__(self, word: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.words.append(word)
        if word == "enough":
            self.enough.set()


def held(fake: FakeSupervisor, *parts: Part) -> tuple[Wait, Wait]:
    """Events that come when the first of these is let go; the second holds the stream then."""
    before, after = Wait(), Wait()
    fake.script("WatchEvents", before, *parts, after)
    return before, after


def test_one_feed_serves_all_topics(fake: FakeSupervisor, connect: Connect) -> None:
    before, after = held(
        fake, changed("a"), evicted("b"), RELEASED, LEDGER, queue_changed(), thrashing(), changed("enough")
    )
    told = Told()
    with connect(fake.folder.path) as client:
        client.on("eviction", lambda gone: told(f"{gone.model} for {gone.for_model}"))
        client.on("release", lambda given: told(given.exit))
        client.on("memory", lambda change: told(change.message))
        client.on("queue", lambda change: told(f"{change.queued} of {change.queued_in_all}"))
        client.on("thrash", lambda found: told(" and ".join(found.models)))
        client.on("model", lambda change: told(change.model))
        before.go()
        assert told.enough.wait(BOUND_S)
        assert after.reached.wait(BOUND_S)
    words = ["a", "b for talker", "ended", "it was loaded", "3 of 5", "reader and talker", "enough"]
    assert told.words == words
    assert told.threads == {"vramd"} or connect is not vramd.Client
    assert len(fake.requests("WatchEvents")) == 1
    assert after.left.wait(BOUND_S)


def test_a_closed_subscription_is_quiet(fake: FakeSupervisor, connect: Connect) -> None:
    before, _ = held(fake, changed("a"), changed("enough"))
    told = Told()
    with connect(fake.folder.path) as client:
        subscription = client.on("model", lambda change: told("never"))
        client.on("model", lambda change: told(change.model))
        subscription.close()
        subscription.close()
        before.go()
        assert told.enough.wait(BOUND_S)
    assert told.words == ["a", "enough"]


def test_a_callback_that_raises_does_not_end_the_others(
    fake: FakeSupervisor, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    before, _ = held(fake, changed("a"), changed("enough"))
    told = Told()

    def fails(change: vramd.ModelChanged) -> None:
        raise LookupError(f"a bug with {change.model}")

    with connect(fake.folder.path) as client:
        client.on("model", fails)
        client.on("model", lambda change: told(change.model))
        before.go()
        assert told.enough.wait(BOUND_S)
    assert told.words == ["a", "enough"]
    assert "a bug with a" in caplog.text
    assert "a bug with enough" in caplog.text


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Those of what the SDK has logged; gRPC's event loops of other tests log too."""
    return [record.levelname for record in caplog.records if record.name == "vramd"]


def test_a_feed_that_ends_is_told_and_watched_again(
    fake: FakeSupervisor, connect: Connect, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "LOOK_EVERY_S", 0.01)
    told = Told()
    fake.script("WatchEvents", changed("a"))
    held(fake, changed("enough"))[0].go()
    with connect(fake.folder.path) as client, caplog.at_level(logging.WARNING, "vramd"):
        client.on("model", lambda change: told(change.model))
        assert told.enough.wait(BOUND_S)
        assert levels(caplog) == ["WARNING"]
        client.on("eviction", print)
    assert told.words == ["a", "enough"]
    assert told.threads == {"vramd"} or connect is not vramd.Client
    assert levels(caplog) == ["WARNING"]  # closing is no news
    assert len(fake.requests("WatchEvents")) == 2


def test_a_client_may_be_closed_by_its_own_callback(fake: FakeSupervisor) -> None:
    before, _ = held(fake, changed("a"))
    client = vramd.Client(fake.folder.path)
    client.on("model", lambda change: client.close())
    thread = next(thread for thread in threading.enumerate() if thread.name == "vramd")
    before.go()
    thread.join(BOUND_S)
    assert not thread.is_alive()


def test_what_cannot_be_listened_to(fake: FakeSupervisor, tmp_path: Path) -> None:
    with vramd.Client(fake.folder.path) as client:
        with pytest.raises(vramd.InvalidRequest, match="memory, model, eviction, release"):
            client.on("noise", print)  # type: ignore[call-overload]  # no such topic
        with pytest.raises(vramd.Unimplemented):
            client.on("model", print)
    with FakeSupervisor(tmp_path / "other") as other:
        client = vramd.Client(other.folder.path)
    with client, pytest.raises(vramd.SupervisorUnreachable):
        client.on("model", print)


async def test_coroutines_are_awaited_in_turn(fake: FakeSupervisor, caplog: pytest.LogCaptureFixture) -> None:
    before, after = held(fake, changed("a"), evicted("b"), changed("enough"))
    words: list[str] = []
    enough = asyncio.Event()

    async def slow(change: vramd.ModelChanged) -> None:
        await asyncio.sleep(0)
        words.append(change.model)
        if change.model == "enough":
            enough.set()

    def fails(gone: vramd.Evicted) -> None:
        raise LookupError("a bug")

    async with vramd.AsyncClient(fake.folder.path) as client:
        await client.on("model", slow)
        await client.on("eviction", fails)
        await client.on("eviction", lambda gone: words.append(gone.model))
        before.go()
        await asyncio.wait_for(enough.wait(), BOUND_S)
        assert await asyncio.to_thread(after.reached.wait, BOUND_S)
    assert words == ["a", "b", "enough"]
    assert [record.levelname for record in caplog.records if record.name == "vramd"] == ["ERROR"]
    assert after.left.wait(BOUND_S)
