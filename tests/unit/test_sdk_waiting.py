"""What a call waits for is told before its answer, in both clients, against scripted answers."""

import pytest
import vramd
from support.fake_answers import waiting
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, load_pb2

STEPS = (waiting(3, "two is DRAINING"), waiting(0, "talker is LOADING", 0.5))
TOLD = [vramd.Waiting(3, "two is DRAINING", None), vramd.Waiting(0, "talker is LOADING", 0.5)]
CRASHED = Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5)


def asked(fake: FakeSupervisor, method: str) -> list[load_pb2.Scheduling]:
    requests = fake.requests(method)
    kinds = (inference_pb2.ChatRequest, inference_pb2.GenerateRequest)
    return [request.scheduling for request in requests if isinstance(request, kinds)]


@pytest.mark.parametrize("method", ["Chat", "Generate"])
def test_it_is_told_in_order_and_is_no_part_of_the_answer(
    fake: FakeSupervisor, either: vramd.Client, method: str
) -> None:
    fake.script(method, *STEPS, *answer("Hel", "lo"))
    call = either.chat if method == "Chat" else either.generate
    told: list[vramd.Waiting] = []
    stream = call("talker", "Hi", on_waiting=told.append, priority="batch")
    assert next(stream) == "Hel"
    assert told == TOLD
    assert (stream.text, stream.token_ids) == ("Hello", (0, 1))
    call("talker", "Hi", priority="batch").cancel()
    batch = load_pb2.PRIORITY_BATCH
    assert asked(fake, method)[0] == load_pb2.Scheduling(priority=batch, progress=True)


def test_who_does_not_listen_does_not_ask(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", *STEPS, *answer("Hello"))
    assert either.chat("talker", "Hi").text == "Hello"
    assert asked(fake, "Chat") == [load_pb2.Scheduling()]


def test_a_call_that_only_waited_is_made_again(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", STEPS[0], CRASHED)
    fake.script("Chat", STEPS[1], *answer("Hello"))
    told: list[vramd.Waiting] = []
    assert either.chat("talker", "Hi", on_waiting=told.append).text == "Hello"
    assert told == TOLD


def test_waiting_does_not_make_a_call_be_made_for_ever(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", STEPS[0], CRASHED)
    told: list[vramd.Waiting] = []
    with pytest.raises(vramd.WorkerCrashed):
        _ = either.chat("talker", "Hi", on_waiting=told.append).text
    assert told == [TOLD[0]] * 3
    assert len(fake.requests("Chat")) == 3


def test_leaving_while_it_waits_ends_the_call(fake: FakeSupervisor, client: vramd.Client) -> None:
    wait = Wait()
    fake.script("Chat", STEPS[0], wait)

    def stop(step: vramd.Waiting) -> None:
        assert wait.reached.wait(BOUND_S)
        stream.cancel()

    with client.chat("talker", "Hi", on_waiting=stop) as stream:
        assert list(stream) == []
    assert wait.left.wait(BOUND_S)
    assert (stream.text, stream.finish.reason) == ("", "CANCELLED")
