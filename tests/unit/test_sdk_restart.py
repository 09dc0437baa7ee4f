"""A client outlives its supervisor: calls go to the next one in the same folder, on whatever port, with its token."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import vramd
from support.driven_client import Connect
from support.fake_answers import held
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer
from vramd import callbacks
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(params=["another port", "the same port"])
def port(request: pytest.FixtureRequest) -> Callable[[FakeSupervisor], int]:
    """The port of the next supervisor, by the one before."""
    same = request.param == "the same port"
    return lambda before: int(before.address.rpartition(":")[2]) if same else 0


def scripted(fake: FakeSupervisor) -> None:
    vector = inference_pb2.Embedding(index=0, values=[1.0])
    fake.script("Chat", *answer("Hello"))
    fake.script("Embed", inference_pb2.EmbedResponse(model="m", dimensions=1, embeddings=[vector]))
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    fake.script("ReserveMemory", supervisor_pb2.ReserveMemoryResponse(reservation=1))
    fake.script("HoldModel", *held(), Wait())
    fake.script("TailLogs", supervisor_pb2.TailLogsResponse(line="one"))


CALLS: dict[str, tuple[Callable[[vramd.Client], object], object]] = {
    "chat": (lambda client: client.chat("talker", "Hi").text, "Hello"),
    "embed": (lambda client: [list(vector) for vector in client.embed("m", "a")], [[1.0]]),
    "status": (lambda client: client.status().models, ()),
    "reserve": (lambda client: client.reserve("1GiB").id, 1),
    "hold": (lambda client: client.hold("talker").ready(), None),
    "logs": (lambda client: list(client.logs("talker")), ["one"]),
    "watch": (lambda client: client.watch().__enter__().cancel(), None),
}
"""Each call, and what of its answer is looked at."""


@pytest.mark.parametrize("name", CALLS)
def test_the_first_call_afterwards_is_answered(
    folder: Path, connect: Connect, port: Callable[[FakeSupervisor], int], name: str
) -> None:
    with FakeSupervisor(folder, token="of the first") as first:
        first.script("GetStatus", supervisor_pb2.GetStatusResponse())
        client = connect(folder)
        client.status()
    with client, FakeSupervisor(folder, token="of the second", port=port(first)) as second:
        scripted(second)
        second.script("WatchEvents", Wait())
        call, said = CALLS[name]
        assert call(client) == said
        assert client.address == second.address
        assert call(client) == said


def test_many_calls_find_it_together(folder: Path, connect: Connect) -> None:
    with FakeSupervisor(folder, token="of the first"):
        client = connect(folder)
    told: list[str] = []

    def call() -> None:
        client.status()
        told.append(client.chat("talker", "Hi").text)

    with client, FakeSupervisor(folder, token="of the second") as second:
        scripted(second)
        threads = [threading.Thread(target=call) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND_S)
    assert told == ["Hello"] * 6


def test_while_none_runs_calls_fail_and_afterwards_they_do_not(folder: Path, connect: Connect) -> None:
    with FakeSupervisor(folder):
        client = connect(folder)
    for leftover in (None, "{", '{"address": "127.0.0.1:1", "pid": 1, "version": "0"}'):
        if leftover is not None:
            (folder / "supervisor.json").write_text(leftover)
        with pytest.raises(vramd.SupervisorUnreachable, match="vramd serve"):
            client.status()
    with client, FakeSupervisor(folder) as second:
        second.script("GetStatus", supervisor_pb2.GetStatusResponse())
        client.status()


def test_an_answer_that_has_begun_is_not_asked_for_again(folder: Path, connect: Connect) -> None:
    wait = Wait()
    with FakeSupervisor(folder) as first:
        first.script("Chat", *answer("Hel")[:1], wait)
        client = connect(folder)
        stream = client.chat("talker", "Hi")
        assert next(stream) == "Hel"
        assert wait.reached.wait(BOUND_S)
    with client, FakeSupervisor(folder) as second:
        with pytest.raises(vramd.VramdError):
            _ = stream.text
        assert (stream.received, second.calls) == ("Hel", [])


def test_who_gave_address_and_token_meant_them(folder: Path, connect: Connect) -> None:
    with FakeSupervisor(folder, token="of the first") as first:
        client = connect(address=first.address, token="of the first")
    port = int(first.address.rpartition(":")[2])
    with client, FakeSupervisor(folder, token="of the second", port=port) as second:
        with pytest.raises(vramd.TokenRefused):
            client.status()
        assert len(second.calls) == 1


def test_a_wrong_token_is_refused_once(folder: Path, connect: Connect) -> None:
    with FakeSupervisor(folder) as fake, connect(folder, token="wrong") as client:
        with pytest.raises(vramd.TokenRefused):
            _ = client.chat("talker", "Hi").text
        assert len(fake.calls) == 1


def test_a_hold_that_is_lost_says_so_each_time(folder: Path, connect: Connect) -> None:
    with FakeSupervisor(folder) as fake, connect(folder) as client:
        for refusal, state in ((Reason.MODEL_UNLOADED, "UNLOADED"), (Reason.MODEL_LOADED_DIFFERENTLY, "UNSPECIFIED")):
            lost = Wait()
            fake.script("HoldModel", *held(), lost, Refusal(refusal))
            hold = client.hold("talker")
            hold.ready()
            assert (hold.state, repr(hold)) == ("READY", "<vramd.Hold of talker: READY>")
            lost.go()
            while not hold._steps.is_over:
                threading.Event().wait(0.005)
            for _ in range(2):
                with pytest.raises(vramd.VramdError) as caught:
                    hold.ready()
                assert (caught.value.reason, hold.state) == (refusal.name, state)
            fake._scripts["HoldModel"].clear()


def changed(model: str) -> supervisor_pb2.WatchEventsResponse:
    ready = supervisor_pb2.ModelChanged(model=model, after=model_pb2.MODEL_STATE_READY)
    return supervisor_pb2.WatchEventsResponse(kind=supervisor_pb2.EVENT_KIND_MODEL, model_changed=ready)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "LOOK_EVERY_S", 0.01)


@pytest.mark.usefixtures("soon")
def test_callbacks_go_on_with_the_next_supervisor(
    folder: Path, connect: Connect, port: Callable[[FakeSupervisor], int], caplog: pytest.LogCaptureFixture
) -> None:
    told, wait = [threading.Event(), threading.Event()], Wait()
    with FakeSupervisor(folder, token="of the first") as first:
        first.script("WatchEvents", changed("0"), wait)
        client = connect(folder)
        client.on("model", lambda change: told[int(change.model)].set())
        assert told[0].wait(BOUND_S)
        assert wait.reached.wait(BOUND_S)
    with client, FakeSupervisor(folder, token="of the second", port=port(first)) as second:
        second.script("WatchEvents", changed("1"), Wait())
        assert told[1].wait(BOUND_S)
        assert [record.levelname for record in caplog.records if record.name == "vramd"] == ["WARNING"]


@pytest.mark.usefixtures("soon")
def test_callbacks_end_where_the_next_supervisor_is_not_ours(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FakeSupervisor(folder, token="of the first") as first:
        first.script("WatchEvents", changed("0"))
        client = vramd.Client(address=first.address, token="of the first")
        before = {*threading.enumerate()}
        client.on("model", print)
        port = int(first.address.rpartition(":")[2])
    (thread,) = (new for new in {*threading.enumerate()} - before if new.name == "vramd")
    with client, FakeSupervisor(folder, token="of the second", port=port):
        thread.join(BOUND_S)
        assert not thread.is_alive()
    told = [record.getMessage() for record in caplog.records if record.name == "vramd"]
    assert "callbacks are not called any more" in told[-1]
