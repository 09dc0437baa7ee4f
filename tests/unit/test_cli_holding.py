"""`hold`, `load --reload`, and what a terminal sees of a call that waits, against scripted answers."""

import json
import signal
import subprocess

import pytest
from support.command_line import CONSOLE, LIMIT_S, TERMINAL, Shell, posix, run, started
from support.fake_answers import held, waiting
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer, known, resident
from vramd import Waiting
from vramd_cli import output
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

LINES = "talker LOADING: talker is LOADING\ntalker READY: it is kept warm\n"


def held_by_process(fake: FakeSupervisor, stdin: int) -> subprocess.Popen[bytes]:
    """`vramd hold` as a process, after its two lines."""
    process = started(fake.folder.path, "hold", "talker", stdin=stdin)
    assert two_lines(process) == LINES.splitlines()
    return process


def two_lines(process: subprocess.Popen[bytes]) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().decode().rstrip() for _ in range(2)]


def test_hold_prints_what_changes(fake: FakeSupervisor, shell: Shell) -> None:
    loading, ready = held()
    fake.script("HoldModel", loading, loading, ready, Refusal(Reason.MODEL_UNLOADED, message="it was unloaded"))
    done = shell("hold", "talker", "--context", "4096", "--label", "game")
    assert (done.exit_code, done.stdout) == (1, LINES)
    assert done.stderr == "vramd: it was unloaded (MODEL_UNLOADED)\n"
    load = load_pb2.LoadOptions(context_tokens=4096)
    assert fake.requests("HoldModel") == [supervisor_pb2.HoldModelRequest(model="talker", load=load, label="game")]
    keys = ("state", "message", "model", "cause", "awaited")
    lines = [json.loads(line) for line in shell("hold", "talker", "--json").stdout.splitlines()]
    assert lines == [
        dict(zip(keys, ("LOADING", "talker is LOADING", "talker", "loading", "weights"), strict=True)),
        dict(zip(keys, ("READY", "it is kept warm", "talker", "unspecified", "unspecified"), strict=True)),
    ]


def test_hold_ends_with_the_pipe_that_is_its_stdin(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("HoldModel", *held(), wait)
    process = held_by_process(fake, subprocess.PIPE)
    assert wait.reached.wait(BOUND_S)
    assert process.stdin is not None
    process.stdin.write(b"nobody reads this\n")
    assert process.communicate(timeout=LIMIT_S) == (b"", b"")
    assert process.returncode == 0
    assert wait.left.wait(BOUND_S)


@posix
@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, subprocess.PIPE])
def test_hold_lasts_until_ctrl_c(fake: FakeSupervisor, stdin: int) -> None:
    """What a shell starts in the background has no stdin, and is held nevertheless."""
    wait = Wait()
    fake.script("HoldModel", *held(), wait, *held(), Wait())
    process = held_by_process(fake, stdin)
    assert wait.reached.wait(BOUND_S)
    wait.go()
    assert two_lines(process) == LINES.splitlines()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=LIMIT_S) == (b"", b"")
    assert process.returncode == 130


def test_load_reload(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident()))
    assert shell("load", "talker", "--reload", "--parallel", "2").exit_code == 0
    assert shell("load", "talker").exit_code == 0
    assert fake.requests("LoadModel") == [
        model_pb2.LoadModelRequest(model="talker", load=load_pb2.LoadOptions(parallel=2), reload=True),
        model_pb2.LoadModelRequest(model="talker"),
    ]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Waiting(3, "two is DRAINING", None), "waits: 3 ahead; two is DRAINING"),
        (Waiting(0, "two is DRAINING", 0.5), "waits: two is DRAINING"),
        (Waiting(1, "", None), "waits: 1 ahead"),
        (Waiting(0, "", None), "waits"),
    ],
)
def test_what_is_waited_for_in_words(step: Waiting, words: str) -> None:
    assert output.waiting_words(step) == words


def test_in_a_pipe_nobody_asks_what_is_waited_for(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "Hel", "--raw").stdout == "lo\n"
    request = fake.request(inference_pb2.GenerateRequest)
    assert not request.HasField("scheduling")


@posix
@pytest.mark.parametrize("command", [("run", "talker", "Hi"), ("chat", "talker")])
def test_a_person_sees_what_is_waited_for_until_the_answer_begins(
    fake: FakeSupervisor, command: tuple[str, ...]
) -> None:
    fake.script("GetModel", model_pb2.GetModelResponse(model=known()))
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident()))
    fake.script("Tokenize", inference_pb2.TokenizeResponse(token_ids=[1]))
    fake.script("Chat", waiting(3, "two is DRAINING"), waiting(0, "talker is LOADING", 0.5), *answer("Hel", "lo"))
    typed = "Hi\n/exit\n" if command[0] == "chat" else ""
    done = run(fake.folder.path, *TERMINAL, *CONSOLE, *command, stdin=typed)
    seen = done.stdout
    assert done.returncode == 0, seen
    first, second, text = map(seen.index, ("waits: 3 ahead; two is DRAINING", "talker is LOADING", "Hello"))
    assert first < second < text
    assert "\x1b[2K" in seen[second:text]  # the line is gone before the answer begins
    assert "50%" in seen[second:text]
