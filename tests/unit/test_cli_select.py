"""`vramd select`, and what `run`, `chat` and `embed` do with a task in the place of a model."""

import json
from pathlib import Path

import pytest
from support.command_line import Shell
from support.fake_answers import selection
from support.fake_supervisor import FakeSupervisor, Refusal, answer, known, resident
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2

LIGHT = load_pb2.Scheduling(prefer=load_pb2.PREFER_LIGHT_NOW, priority=load_pb2.PRIORITY_BATCH)
FLAGS = ("--prefer", "light_now", "--priority", "batch")


@pytest.fixture
def fake(fake: FakeSupervisor) -> FakeSupervisor:
    fake.script("SelectModel", selection())
    return fake


def test_the_document_has_the_keys_that_programs_rely_on(fake: FakeSupervisor, shell: Shell) -> None:
    done = shell("select", "--task", "code_generation", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    document = {
        "model": "coder",
        "score": 87.5,
        "loaded": False,
        "fits": True,
        "reasons": ["made for code: its name says so", "there is room for it"],
        "considered": [{"model": "talker", "score": 61.0, "why_not": "a general model, not made for code"}],
    }
    told = json.loads(done.stdout)
    assert told == document
    assert list(told) == list(document)


def test_it_says_why(fake: FakeSupervisor, shell: Shell) -> None:
    assert shell("select", "--task", "code").stdout.splitlines() == [
        "coder (not loaded), score 87.5",
        "  made for code: its name says so",
        "  there is room for it",
        "",
        "OTHERS  SCORE  WHY NOT",
        "talker   61.0  a general model, not made for code",
    ]


@pytest.mark.parametrize(
    ("loaded", "fits", "words"), [(True, True, "loaded"), (False, True, "not loaded"), (False, False, "does not fit")]
)
def test_how_it_stands_with_the_model(tmp_path: Path, shell: Shell, loaded: bool, fits: bool, words: str) -> None:
    with FakeSupervisor(tmp_path / "run") as fake:
        fake.script("SelectModel", model_pb2.SelectModelResponse(model="coder", score=1, loaded=loaded, fits=fits))
        assert shell("select", "--task", "code").stdout == f"coder ({words}), score 1.0\n"


def test_flags_arrive(fake: FakeSupervisor, shell: Shell) -> None:
    shell("select", "--task", "code", "--role", "architect", "--context", "8192", "--prefer", "light_now")
    assert fake.requests("SelectModel") == [
        model_pb2.SelectModelRequest(
            task="code", role="architect", context_tokens=8192, prefer=load_pb2.PREFER_LIGHT_NOW
        )
    ]


@pytest.mark.parametrize(
    "arguments", [(), ("--task", "code", "--prefer", "soon"), ("--task", "code", "--context", "-1")]
)
def test_wrong_usage(fake: FakeSupervisor, shell: Shell, arguments: tuple[str, ...]) -> None:
    assert shell("select", *arguments).exit_code == 2
    assert fake.calls == []


def test_where_no_model_serves(tmp_path: Path, shell: Shell) -> None:
    with FakeSupervisor(tmp_path / "run") as fake:
        fake.script("SelectModel", Refusal(Reason.MODEL_NOT_FOUND, message="no model serves 'code'"))
        done = shell("select", "--task", "code")
    assert (done.exit_code, done.stderr) == (1, "vramd: no model serves 'code' (MODEL_NOT_FOUND)\n")


@pytest.mark.parametrize("chats", [True, False])
def test_run_is_given_a_task(fake: FakeSupervisor, shell: Shell, chats: bool) -> None:
    """The model is looked at before, for its chat template; the call itself goes to whoever is best by then."""
    fake.script("GetModel", model_pb2.GetModelResponse(model=known("coder", chats=chats)))
    fake.script("Chat", *answer("x"))
    finish = inference_pb2.Finish(reason=inference_pb2.FINISH_REASON_STOP)
    fake.script("Generate", inference_pb2.GenerateResponse(text="x", finish=finish))
    assert shell("run", "task:code", "Hello", "--context", "4096", *FLAGS).stdout == "x\n"
    assert fake.requests("SelectModel") == [
        model_pb2.SelectModelRequest(task="code", context_tokens=4096, prefer=load_pb2.PREFER_LIGHT_NOW)
    ]
    assert fake.requests("GetModel") == [model_pb2.GetModelRequest(model="coder")]
    (request,) = fake.requests("Chat" if chats else "Generate")
    assert isinstance(request, inference_pb2.ChatRequest | inference_pb2.GenerateRequest)
    assert (request.model, request.scheduling) == ("task:code", LIGHT)


def test_a_talk_stays_with_the_model_it_began_with(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetModel", model_pb2.GetModelResponse(model=known("coder")))
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident("coder")))
    fake.script("Tokenize", inference_pb2.TokenizeResponse(token_ids=[1]))
    fake.script("Chat", *answer("x"))
    assert shell("chat", "task:code", *FLAGS, stdin="Hello\nAgain\n").stdout == "x\nx\n"
    assert len(fake.requests("SelectModel")) == 1
    talks = [request for request in fake.requests("Chat") if isinstance(request, inference_pb2.ChatRequest)]
    assert [(talk.model, talk.scheduling) for talk in talks] == [("coder", LIGHT)] * 2


def test_embed_is_given_a_task(fake: FakeSupervisor, shell: Shell) -> None:
    vector = inference_pb2.Embedding(index=0, values=[1, 0])
    fake.script("Embed", inference_pb2.EmbedResponse(model="reader", dimensions=2, embeddings=[vector]))
    assert shell("embed", "task:embedding", "a cat", *FLAGS).stdout == "1.0000 0.0000\n"
    request = fake.request(inference_pb2.EmbedRequest)
    assert (request.model, request.scheduling) == ("task:embedding", LIGHT)


def test_a_model_is_not_looked_up_as_a_task(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetModel", model_pb2.GetModelResponse(model=known()))
    fake.script("Chat", *answer("x"))
    assert shell("run", "talker", "Hello").stdout == "x\n"
    assert fake.requests("SelectModel") == []
