"""Decisions and timelines in both clients, over a real channel, against scripted answers."""

import pytest
import vramd
from support.fake_answers import decision, timeline
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Trailer, Wait, answer
from vramd_common.reasons import Reason
from vramd_proto.v1 import supervisor_pb2

TOLD = vramd.Timeline(0.25, None, None, 2.5, 0.5, 1.5, model="talker", worker_id=3)


def test_decisions(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("ListDecisions", supervisor_pb2.ListDecisionsResponse(decisions=[decision(), decision()]))
    first, second = either.decisions("reader", limit=7)
    assert first == second
    assert first == vramd.Decision(
        id=12,
        time_s=1_700_000_000.5,
        kind="evict",
        model="reader",
        worker_id=2,
        for_whom="talker",
        cause="evicted_for_model",
        reason=None,
        message="talker lacks 52.0 MiB on gpu0; reader is the least recently used of the idle",
        numbers={"lacking_bytes": 52 << 20, "idle_s": 12.5, "queued": 3},
        rejected=(vramd.Rejected("evict listener", "it is pinned"),),
    )
    either.decisions()
    assert fake.requests("ListDecisions") == [
        supervisor_pb2.ListDecisionsRequest(model="reader", limit=7),
        supervisor_pb2.ListDecisionsRequest(limit=100),
    ]


@pytest.mark.parametrize("limit", [-1, 1 << 32])
def test_a_limit_that_cannot_travel_is_refused(either: vramd.Client, limit: int) -> None:
    with pytest.raises(vramd.InvalidRequest, match="limit"):
        either.decisions(limit=limit)


def test_the_timeline_comes_with_the_end(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", *answer("Hel", "lo"), timeline())
    stream = either.chat("talker", "Hi")
    assert next(stream) == "Hel"
    assert stream.timeline == TOLD
    assert stream.text == "Hello"


def test_the_timeline_is_that_of_the_call_that_was_answered(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5))
    fake.script("Chat", *answer("Hello"), timeline())
    assert either.chat("talker", "Hi").timeline == TOLD


@pytest.mark.parametrize("trailer", [Trailer(()), Trailer((("vramd-timeline", "not ours"),))])
def test_a_supervisor_that_does_not_say(fake: FakeSupervisor, either: vramd.Client, trailer: Trailer) -> None:
    fake.script("Chat", *answer("Hello"), trailer)
    assert either.chat("talker", "Hi").timeline is None


def test_after_cancel_there_is_no_timeline(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    fake.script("Chat", answer("Hel")[0], wait)
    with either.chat("talker", "Hi") as stream:
        next(stream)
        assert wait.reached.wait(BOUND_S)
    assert stream.timeline is None


def test_a_broken_answer_has_its_error_for_a_timeline(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", answer("Hel")[0], Refusal(Reason.WORKER_CRASHED_MID_STREAM))
    with pytest.raises(vramd.WorkerCrashed):
        _ = either.chat("talker", "Hi").timeline
