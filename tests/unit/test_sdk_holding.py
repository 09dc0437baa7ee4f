"""Models that are kept warm, reloads and priorities, in both clients, against scripted answers."""

import threading
from collections.abc import Iterator

import pytest
import vramd
from support.driven_client import Connect, Naps
from support.fake_answers import held
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, known, resident
from vramd_common.reasons import Reason
from vramd_proto.v1 import load_pb2, model_pb2, supervisor_pb2

LOADING = vramd.Held("LOADING", "talker is LOADING", "talker", "loading", "weights")
READY = vramd.Held("READY", "it is kept warm", "talker", "unspecified", "unspecified")


@pytest.fixture
def either(connect: Connect, fake: FakeSupervisor, naps: Naps) -> Iterator[vramd.Client]:
    with connect(fake.folder.path, timeout_s=50, sleep=naps) as connected:
        yield connected


def test_a_hold_lasts_until_its_block_is_left(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    fake.script("HoldModel", *held(), wait)
    with either.hold("talker", context=4096) as hold:
        assert (hold.model, hold.state) == ("talker", "UNSPECIFIED")
        hold.ready()
        assert hold.state == "READY"
        hold.ready()
        assert wait.reached.wait(BOUND_S)
        assert not wait.left.is_set()
    assert wait.left.wait(BOUND_S)
    assert list(hold) == []
    load = load_pb2.LoadOptions(context_tokens=4096)
    assert fake.requests("HoldModel") == [supervisor_pb2.HoldModelRequest(model="talker", load=load)]
    left_s = fake.calls[0].left_s
    assert left_s is None or left_s > 1e6  # the timeout of the client is one of calls that end


def test_a_hold_tells_what_the_model_does(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("HoldModel", *held(), *held())
    with either.hold("talker") as hold:
        assert [(step, hold.state) for step in hold] == [
            (LOADING, "LOADING"),
            (READY, "READY"),
            (LOADING, "LOADING"),
            (READY, "READY"),
        ]


def test_ready_waits_for_a_model_that_is_loaded_anew(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("HoldModel", *held(), *held(), Refusal(Reason.MODEL_UNLOADED))
    with either.hold("talker") as hold:
        hold.ready()
        assert next(hold) == LOADING
        hold.ready()
        assert hold.state == "READY"
        with pytest.raises(vramd.Unloaded):
            next(hold)


def test_a_hold_that_is_refused(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("HoldModel", Refusal(Reason.MODEL_NOT_FOUND))
    with either.hold("nobody") as hold, pytest.raises(vramd.NotFound):
        hold.ready()


def test_a_hold_is_asked_for_again_as_the_supervisor_advises(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("HoldModel", Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5))
    fake.script("HoldModel", *held())
    with either.hold("talker") as hold:
        hold.ready()
    assert len(fake.requests("HoldModel")) == 2


def test_a_hold_that_ends_without_a_word_is_a_fault(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("HoldModel", held()[0])
    with either.hold("talker") as hold, pytest.raises(vramd.Internal, match="talker"):
        hold.ready()


def test_cancel_from_another_thread_ends_the_wait(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    fake.script("HoldModel", held()[0], wait)
    hold = either.hold("talker")

    def cancel() -> None:
        assert wait.reached.wait(BOUND_S)
        hold.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(vramd.Cancelled, match="from here"):
        hold.ready()
    thread.join(BOUND_S)
    assert wait.left.wait(BOUND_S)


def test_a_load_with_other_settings_on_request(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident()))
    either.load("talker", context=4096, reload=True)
    either.load("talker")
    options = load_pb2.LoadOptions(context_tokens=4096)
    assert fake.requests("LoadModel") == [
        model_pb2.LoadModelRequest(model="talker", load=options, reload=True),
        model_pb2.LoadModelRequest(model="talker"),
    ]


def test_the_priority_of_a_model(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("UpdateModel", model_pb2.UpdateModelResponse(model=known()))
    either.update("talker", priority="batch")
    either.update("talker", priority="normal")
    wanted = (load_pb2.PRIORITY_BATCH, load_pb2.PRIORITY_NORMAL)
    assert fake.requests("UpdateModel") == [
        model_pb2.UpdateModelRequest(model="talker", priority=priority) for priority in wanted
    ]
