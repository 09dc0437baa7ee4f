"""The command line as people type it: names of other tools, files for ids, durations, what is piped in."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.command_line import LIMIT_S, Shell, started
from support.fake_supervisor import FakeSupervisor, Refusal, answer, known, receipt, resident
from vramd_cli.main import vramd
from vramd_cli.parameters import Duration
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2


@pytest.mark.parametrize("habit", ["list", "ls", "models"])
def test_the_list_of_models_has_several_names(fake: FakeSupervisor, shell: Shell, habit: str) -> None:
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[known()]))
    assert "talker" in shell(habit).stdout


@pytest.mark.parametrize("habit", ["stop", "unload"])
def test_a_model_is_unloaded_by_several_names(fake: FakeSupervisor, shell: Shell, habit: str) -> None:
    fake.script("UnloadModel", model_pb2.UnloadModelResponse(receipt=receipt()))
    assert "talker is unloaded" in shell(habit, "talker").stdout


def test_all_are_unloaded_one_after_the_other(fake: FakeSupervisor, shell: Shell) -> None:
    first, second = resident(), resident()
    second.model = "reader"
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse(models=[first, second]))
    fake.script("UnloadModel", model_pb2.UnloadModelResponse(receipt=receipt()))
    fake.script("UnloadModel", Refusal(Reason.MODEL_NOT_LOADED, message="it has left"))
    done = shell("unload", "--all")
    assert (done.exit_code, done.stdout.count("is unloaded")) == (0, 1)
    assert [getattr(request, "model", "") for request in fake.requests("UnloadModel")] == ["talker", "reader"]


@pytest.mark.parametrize("arguments", [("unload",), ("unload", "talker", "--all")])
def test_what_to_unload_has_to_be_said_once(fake: FakeSupervisor, shell: Shell, arguments: tuple[str, ...]) -> None:
    done = shell(*arguments)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "vramd: give MODEL or --all.")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("modles", "did you mean models"),
        ("unlod", "did you mean unload"),
        ("staus", "did you mean status"),
        ("pull", "put a .gguf file into a folder"),
        ("rm", "put a .gguf file into a folder"),
        ("xyzzy", "`vramd --help` lists all"),
    ],
)
def test_a_wrong_command_names_what_is_near(shell: Shell, typed: str, told: str) -> None:
    done = shell(typed)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr.splitlines()[-1]


def test_show_tells_all_of_a_model(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("GetModel", model_pb2.GetModelResponse(model=known(), resident=resident()))
    lines = dict(line.split(maxsplit=1) for line in shell("show", "talker").stdout.splitlines())
    assert lines["model"] == "talker"
    assert lines["file"] == known().path
    assert "pid" in lines["process"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("5min", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("250ms", 0.25),
        ("0", 0),
        ("forever", -1),
        ("-1", -1),
    ],
)
def test_a_duration(text: str, seconds: float) -> None:
    assert Duration(stays=True).convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5 m", "m", "1h 30m", "-5", "5x", "1,5h", "٣s", "forever"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration; for example 90s"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize("option", ["--keep-alive", "--timeout"])
def test_durations_are_the_same_everywhere(fake: FakeSupervisor, shell: Shell, option: str) -> None:
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "Hel", "--raw", option, "5m").exit_code == 0
    wrong = shell("run", "talker", "Hel", "--raw", option, "5x")
    assert (wrong.exit_code, "is no duration" in wrong.stderr) == (2, True)


def prompt_of(fake: FakeSupervisor) -> str:
    request = fake.request(inference_pb2.GenerateRequest)
    return request.prompt[0].text


def test_what_is_piped_in_follows_the_prompt(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "Sum up:", "--raw", stdin=b"one\ntwo\n").exit_code == 0
    assert prompt_of(fake) == "Sum up:\n\none\ntwo"


def test_what_is_piped_in_is_the_prompt_if_there_is_none(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "--raw", stdin=b"Hel\n").exit_code == 0
    assert prompt_of(fake) == "Hel"


def test_neither_prompt_nor_anything_piped_in_is_wrong_usage(fake: FakeSupervisor, shell: Shell) -> None:
    done = shell("run", "talker", stdin=b"")
    assert (done.exit_code, "there is no PROMPT" in done.stderr) == (2, True)


@pytest.mark.parametrize("data", [b"", b"more"])
def test_a_pipe_that_ends_is_read_to_its_end(fake: FakeSupervisor, data: bytes) -> None:
    fake.script("Generate", *answer("lo"))
    read, write = os.pipe()
    os.write(write, data)  # before the command begins: it waits for a moment only
    os.close(write)
    try:
        assert piped(fake, read) == (0, b"")
    finally:
        os.close(read)
    assert prompt_of(fake) == ("Hel\n\nmore" if data else "Hel")


def test_a_pipe_that_nobody_writes_to_holds_nothing_up(fake: FakeSupervisor) -> None:
    fake.script("Generate", *answer("lo"))
    read, write = os.pipe()
    try:
        code, errors = piped(fake, read)
    finally:
        os.close(read)
        os.close(write)
    assert (code, b"nothing came from stdin" in errors) == (0, True)
    assert prompt_of(fake) == "Hel"


def piped(fake: FakeSupervisor, stdin: int) -> tuple[int, bytes]:
    """Exit code, and what it printed on stderr."""
    with started(fake.folder.path, "run", "talker", "Hel", "--raw", stdin=stdin) as process:
        _, errors = process.communicate(timeout=LIMIT_S)
    return process.returncode, errors


def test_a_file_is_taken_for_its_id(fake: FakeSupervisor, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "Some Name.GGUF"
    file.touch()
    listed = known()
    listed.id, listed.path = "some", str(file)
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[known(), listed]))
    fake.script("Generate", *answer("lo"))
    assert shell("run", str(file), "Hel", "--raw").exit_code == 0
    request = fake.request(inference_pb2.GenerateRequest)
    assert request.model == "some"


def test_start_without_folders_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    done = shell("run", "talker", "hello", "--start")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "give --models DIR" in done.stderr
    assert not (tmp_path / "run").exists()


def test_models_without_start_are_wrong_usage(shell: Shell, tmp_path: Path) -> None:
    done = shell("run", "talker", "hello", "--models", str(tmp_path))
    assert (done.exit_code, "--models is for a supervisor that --start starts" in done.stderr) == (2, True)


def test_start_beside_a_running_one_says_so(fake: FakeSupervisor, shell: Shell, tmp_path: Path) -> None:
    fake.script("Generate", Refusal(Reason.MODEL_NOT_FOUND, message="no model is called so"))
    done = shell("run", "talker", "Hel", "--raw", "--start", "--models", str(tmp_path))
    assert done.exit_code == 1
    assert "one runs already" in done.stderr
    assert f'vramd shutdown --runtime-dir "{fake.folder.path}"' in done.stderr


@pytest.mark.parametrize("reason", [Reason.MODEL_NOT_FOUND, Reason.MODEL_FILE_MISSING])
def test_what_was_started_for_a_model_that_it_does_not_know_is_ended(
    fake: FakeSupervisor, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr("vramd_cli.connection.ensure_running", lambda *_: started)
    fake.script("Generate", Refusal(reason, message="there is no such model"))
    done = shell("run", "talker", "Hel", "--raw", "--start", "--models", str(tmp_path))
    ended = started.poll() is not None
    started.kill()
    started.wait()
    assert (done.exit_code, ended) == (1, reason is Reason.MODEL_NOT_FOUND)
    assert ("what was started for it is ended" in done.stderr) == ended


def test_shells_complete_ids(fake: FakeSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VRAMD_RUNTIME_DIR", str(fake.folder.path))
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[known("talker"), known("tiny"), known("reader")]))
    completing = click.Context(vramd.get_command(click.Context(vramd), "load") or vramd)
    parameter = completing.command.params[0]
    assert [item.value for item in parameter.shell_complete(completing, "t")] == ["talker", "tiny"]
    monkeypatch.setenv("VRAMD_RUNTIME_DIR", str(tmp_path / "nobody"))
    assert parameter.shell_complete(completing, "t") == []


@pytest.mark.parametrize("command", ["unload", "pin", "logs", "events", "why", "shutdown", "release"])
def test_what_only_looks_or_ends_starts_nothing(shell: Shell, command: str) -> None:
    done = shell(command, "--start")
    assert (done.exit_code, "No such option" in done.stderr) == (2, True)


@pytest.mark.parametrize("number", ["xyz", "0", "-1", "1.5", "99999999999999999999"])
def test_what_is_no_number_of_a_reservation(shell: Shell, number: str) -> None:
    done = shell("release", "--", number)
    assert (done.exit_code, "is no number of a reservation" in done.stderr) == (2, True)


def test_the_options_of_run_stand_under_headings(shell: Shell) -> None:
    text = shell("run", "--help").stdout
    places = [text.index(f"\n{heading}:\n") for heading in ("Options", "Answer", "Loading", "Connection")]
    assert places == sorted(places)
    assert "Default: 0.8" in " ".join(text[places[1] : places[2]].split())
    assert "PROMPT" not in text[places[0] : places[1]]


def test_an_empty_log_is_said_to_be_empty(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("TailLogs")
    done = shell("logs", "talker")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "the process of talker has printed nothing\n")


@pytest.mark.parametrize(("after", "sent"), [((), None), (("--after", "0"), 0), (("--after", "7"), 7)])
def test_the_beginning_is_an_event_too(
    fake: FakeSupervisor, shell: Shell, after: tuple[str, ...], sent: int | None
) -> None:
    fake.script("WatchEvents")
    assert shell("events", *after).exit_code == 0
    request = fake.request(supervisor_pb2.WatchEventsRequest)
    assert (request.after_sequence if request.HasField("after_sequence") else None) == sent


@pytest.mark.parametrize("command", [("run", "talker", "Hel", "--raw"), ("load", "talker")])
def test_other_settings_are_told_how_to_get(fake: FakeSupervisor, shell: Shell, command: tuple[str, ...]) -> None:
    for method in ("Generate", "LoadModel"):
        fake.script(method, Refusal(Reason.MODEL_LOADED_DIFFERENTLY, message="context is 80, asked for 4096"))
    done = shell(*command, "--context", "4096")
    assert done.exit_code == 1
    assert "context is 80, asked for 4096\n  --reload gives it a new process with these settings" in done.stderr


def test_a_reload_that_a_hold_withstands_is_not_advised(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("LoadModel", Refusal(Reason.MODEL_LOADED_DIFFERENTLY, message="held by game"))
    done = shell("load", "talker", "--reload", "--context", "4096")
    assert (done.exit_code, done.stderr) == (1, "vramd: held by game (MODEL_LOADED_DIFFERENTLY)\n")


def test_an_answer_may_be_asked_of_a_new_process(fake: FakeSupervisor, shell: Shell) -> None:
    fake.script("LoadModel", model_pb2.LoadModelResponse(resident=resident(), state=model_pb2.MODEL_STATE_READY))
    fake.script("Generate", *answer("lo"))
    assert shell("run", "talker", "Hel", "--raw", "--reload", "--context", "4096").exit_code == 0
    request = fake.request(model_pb2.LoadModelRequest)
    assert (request.reload, request.load.context_tokens) == (True, 4096)


@pytest.mark.parametrize(("model", "file"), [("", "supervisor.log"), ("talker", "models/talker.log")])
def test_the_log_of_a_supervisor_that_is_gone_can_be_read(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, file: str
) -> None:
    monkeypatch.delenv("VRAMD_ADDRESS", raising=False)
    log = tmp_path / "run" / "logs" / file
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo \x1b[31m\nthree\n", "utf-8")
    done = shell("logs", "-n", "2", *([model] if model else []))
    assert (done.exit_code, done.stdout) == (0, "two \\x1b[31m\nthree\n")
    first, second = done.stderr.splitlines()
    assert "no supervisor runs" in first
    assert second.endswith(f"{file}:")


def test_no_supervisor_and_no_log_is_a_failure(shell: Shell) -> None:
    done = shell("logs")
    assert (done.exit_code, "SUPERVISOR_NOT_FOUND" in done.stderr) == (1, True)


def test_a_log_below_a_folder_of_somebody_else_is_a_failure(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Path:
        raise PermissionError("it belongs to somebody else")

    monkeypatch.delenv("VRAMD_ADDRESS", raising=False)
    monkeypatch.setattr("vramd.finding.default_runtime_dir", refused)
    done = shell("logs")
    assert (done.exit_code, "SUPERVISOR_NOT_FOUND" in done.stderr) == (1, True)
