"""`vramd run`, in this process, against scripted answers."""

import contextlib
import json

import pytest
from support.command_line import Shell
from support.fake_supervisor import FakeSupervisor, Refusal, answer, known
from vramd.values.answers import Waiting
from vramd_cli import output
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, model_pb2


def asked(fake: FakeSupervisor) -> inference_pb2.GenerateRequest:
    return fake.request(inference_pb2.GenerateRequest)


def test_a_model_with_a_template_gets_a_message(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetModel", model_pb2.GetModelResponse(model=known()))
    fake.script("Chat", *answer("Hel", "lo\n", "you"))
    done = shell("run", "talker", "Hi")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "Hello\nyou\n", "")
    request = fake.request(inference_pb2.ChatRequest)
    assert [(turn.role, turn.parts[0].text) for turn in request.messages] == [("user", "Hi")]


def test_a_model_without_one_goes_on_with_the_prompt(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetModel", model_pb2.GetModelResponse(model=known(chats=False)))
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "Hel").stdout == "lo\n"


def test_raw_goes_on_with_the_prompt(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "Hel", "--raw").stdout == "lo\n"
    assert [call.method for call in fake.calls] == ["Generate"]


def test_every_flag_arrives(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("lo"))
    sampling = ["--temperature", "0.5", "--top-p", "0.25", "--top-k", "5", "--min-p", "0.125"]
    penalties = ["--repeat-penalty", "1.5", "--frequency-penalty", "-1", "--presence-penalty", "2", "--seed", "42"]
    limits = ["--max-tokens", "9", "--max-tokens-per-s", "30", "--stop", "\n", "--stop", "END"]
    load = ["--context", "512", "--keep-alive", "0"]
    cache = ["--session", "tea", "--cache", "shared"]
    assert shell("run", "talker", "Hel", "--raw", *sampling, *penalties, *limits, *load, *cache).exit_code == 0
    request = asked(fake)
    assert request.sampling == inference_pb2.Sampling(
        temperature=0.5,
        top_p=0.25,
        top_k=5,
        min_p=0.125,
        repeat_penalty=1.5,
        frequency_penalty=-1,
        presence_penalty=2,
        seed=42,
    )
    assert request.limits == inference_pb2.Limits(max_tokens=9, max_tokens_per_s=30, stop=["\n", "END"])
    assert (request.load.context_tokens, request.load.keep_alive_s) == (512, 0)
    assert (request.session, request.cache) == ("tea", inference_pb2.PROMPT_CACHE_SHARED)


@pytest.mark.parametrize(
    ("stdin", "prompt"), [(b"two\nlines\n", "two\nlines"), (b"one\r\n", "one"), ("é".encode(), "é"), (b"\n\n", "\n")]
)
def test_the_prompt_from_stdin(fake: FakeSupervisor, shell: Shell, stdin: bytes, prompt: str) -> None:
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "-", "--raw", stdin=stdin).exit_code == 0
    assert asked(fake).prompt[0].text == prompt


def test_a_prompt_that_is_no_text(fake: FakeSupervisor, shell: Shell) -> None:
    from_stdin = shell("run", "talker", "-", "--raw", stdin=b"\xff")
    from_arguments = shell("run", "talker", "\udcff", "--raw")
    for done in (from_stdin, from_arguments):
        assert (done.exit_code, done.stdout) == (2, "")
        assert "UTF-8" in done.stderr


def test_json_is_one_object(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("Hel", "lo"))
    assert json.loads(shell("run", "talker", "x", "--raw", "--json").stdout) == {
        "model": "talker",
        "text": "Hello",
        "token_ids": [0, 1],
        "finish": "STOP",
        "usage": {
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "prompt_s": 0.5,
            "generation_s": 1.5,
            "cached_prompt_tokens": 0,
        },
    }


def test_an_error_in_the_middle_is_exit_1(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", answer("Hel")[0], Refusal(Reason.WORKER_CRASHED_MID_STREAM, message="it was killed"))
    done = shell("run", "talker", "x", "--raw")
    assert (done.exit_code, done.stdout) == (1, "Hel\n")
    assert done.stderr == "vramd: it was killed (WORKER_CRASHED_MID_STREAM)\n"


def test_a_number_that_cannot_travel_is_wrong_usage(fake: FakeSupervisor, shell: Shell) -> None:
    done = shell("run", "talker", "x", "--raw", "--top-k", "-5")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Invalid value for '--top-k'" in done.stderr
    assert fake.calls == []


@pytest.mark.parametrize(
    ("field", "flag"),
    [("sampling.top_p", "--top-p"), ("load.context_tokens", "--context"), ("load.keep_alive_s", "--keep-alive")],
)
def test_what_the_supervisor_says_of_a_field_is_said_of_the_flag(
    fake: FakeSupervisor, shell: Shell, field: str, flag: str
) -> None:
    why = Refusal(Reason.FIELD_INVALID, message=f"{field}: 0 is not from 1 to 9", metadata={"field": field})
    fake.script("Generate", why)
    done = shell("run", "talker", "x", "--raw")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"vramd: Invalid value for '{flag}': 0 is not from 1 to 9\n")


def test_a_field_that_no_flag_is_made_to_is_exit_1(fake: FakeSupervisor, shell: Shell) -> None:
    why = Refusal(Reason.FIELD_INVALID, message="grammar: it is empty", metadata={"field": "grammar"})
    fake.script("Generate", why)
    done = shell("run", "talker", "x", "--raw")
    assert (done.exit_code, done.stderr) == (1, "vramd: grammar: it is empty (FIELD_INVALID)\n")


def test_not_a_number_goes_to_the_supervisor_that_judges_it(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", Refusal(Reason.FIELD_INVALID, message="temperature is no number"))
    assert shell("run", "talker", "x", "--raw", "--temperature", "nan").exit_code == 1
    assert asked(fake).sampling.HasField("temperature")


def test_a_pause_of_an_answer_moves_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Bar(output.Progress):
        def show(self, words: str, share: float | None) -> None:
            shown.append(f"{words} {share}")

    monkeypatch.setattr(output, "is_watched", lambda: True)
    monkeypatch.setattr(output, "progress", lambda _: contextlib.nullcontext(Bar()))
    step = Waiting(3, "talker is LOADING", 0.5)
    with output.waiting("talker") as show:
        assert show
        show(step)
    show(step)
    assert shown == ["waits None", "waits: 3 ahead; talker is LOADING 0.5"]
