"""Which model serves a task: how it is asked, and every word of the answer."""

import pytest
import vramd
from support.fake_answers import selection
from support.fake_supervisor import FakeSupervisor, Refusal
from vramd_common.reasons import Reason
from vramd_proto.v1 import load_pb2, model_pb2

SELECTION = vramd.Selection(
    model="coder",
    score=87.5,
    loaded=False,
    fits=True,
    reasons=("made for code: its name says so", "there is room for it"),
    considered=(vramd.Considered("talker", 61, "a general model, not made for code"),),
)


@pytest.fixture
def fake(fake: FakeSupervisor) -> FakeSupervisor:
    fake.script("SelectModel", selection())
    return fake


def test_a_selection_has_every_word_of_the_answer(fake: FakeSupervisor, either: vramd.Client) -> None:
    assert either.select("code_generation") == SELECTION


def test_what_is_asked_travels(fake: FakeSupervisor, either: vramd.Client) -> None:
    either.select("code", role="architect", context=8192, prefer="light_now", timeout_s=30)
    either.select("code")
    prefer = load_pb2.PREFER_LIGHT_NOW
    assert fake.requests("SelectModel") == [
        model_pb2.SelectModelRequest(task="code", role="architect", context_tokens=8192, prefer=prefer),
        model_pb2.SelectModelRequest(task="code"),
    ]
    assert 0 < (fake.calls[0].left_s or 0) < 32


def test_what_cannot_be_asked(fake: FakeSupervisor, either: vramd.Client) -> None:
    with pytest.raises(vramd.InvalidRequest, match="prefer: 'soon' is not one of light_now"):
        either.select("code", prefer="soon")  # type: ignore[arg-type]  # no such word
    with pytest.raises(vramd.InvalidRequest, match="context_tokens"):
        either.select("code", context=-1)
    with pytest.raises(vramd.InvalidRequest, match="task") as caught:
        either.select("\ud800")
    assert caught.value.metadata == {"field": "task"}
    assert fake.calls == []


def test_where_no_model_serves(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("SelectModel", Refusal(Reason.MODEL_NOT_FOUND))
    either.select("code")
    with pytest.raises(vramd.NotFound):
        either.select("code")
