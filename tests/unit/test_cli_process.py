"""The command line as a process of its own: how it starts, how it is interrupted, what it draws."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.command_line import CONSOLE, LIMIT_S, TERMINAL, interrupted, posix, run, started
from support.fake_supervisor import FakeSupervisor, Wait, answer, device, known, resident
from vramd.errors import StartFailed
from vramd.launching import _environment
from vramd_cli.console import NEEDS_SERVER, leave_current_folder
from vramd_cli.main import vramd
from vramd_cli.starting import ensure_running
from vramd_common.handshake import Failed, parse
from vramd_common.rendezvous import Address, RuntimeDir
from vramd_proto.v1 import model_pb2, supervisor_pb2
from vramd_supervisor.domain.config import Size
from vramd_supervisor.owner import Lifeline
from vramd_supervisor.settings.settings_file import Flags


@pytest.mark.parametrize("command", [(sys.executable, "-m", "vramd"), CONSOLE])
def test_a_folder_grpc_in_the_current_folder_shadows_nothing(
    fake: FakeSupervisor, tmp_path: Path, command: tuple[str, ...]
) -> None:
    fake.script("ListDevices", supervisor_pb2.ListDevicesResponse(devices=[device()]))
    for name in ("grpc", "click", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('shadowed')")
    done = run(fake.folder.path, *command, "devices", "--json", cwd=tmp_path, PYTHONPATH=os.pathsep)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["id"] == "gpu0"


def test_an_owner_hears_that_the_extra_is_missing() -> None:
    code = "import sys; sys.modules['click'] = None; from vramd_cli.console import main; main()"
    command = [sys.executable, "-c", code, "serve", "--owned"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1
    assert parse(done.stdout) == Failed(1, NEEDS_SERVER)
    assert NEEDS_SERVER in done.stderr


def test_only_what_python_put_there_leaves_the_import_path() -> None:
    standard = str(Path(os.__file__).parent)
    path = ["/here", "", "/elsewhere", "/here", standard, "/here"]
    leave_current_folder(path, Path("/here"))
    assert path == ["/elsewhere", standard, "/here"]


@pytest.mark.parametrize(
    ("module", "command"), [("click", "shutdown"), ("psutil", "shutdown"), ("grpc_health", "serve")]
)
def test_a_missing_extra_is_named(tmp_path: Path, module: str, command: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from vramd_cli.console import main; main()"
    done = run(tmp_path, sys.executable, "-c", code, command)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'vramd[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_runs_the_supervisor_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, ...]] = []

    def run(*given: object, **further: object) -> int:
        seen.append((*given, further))
        return 69

    monkeypatch.setattr("vramd_supervisor.main.run", run)
    folders = ("--models", "a b", "--models", "c", "--budget", "host=1GiB", "--port", "0")
    files = ("--config", str(tmp_path / "v.toml"), "--runtime-dir", str(tmp_path), "--record", "r", "--owned")
    done = CliRunner().invoke(vramd, ["serve", *folders, *files, "--log-level", "DEBUG"])
    assert done.exit_code == 69, done.output
    flags = Flags(("a b", "c"), {"host": Size(1 << 30)}, None, 0)
    options = {
        "log_level": "debug",
        "record": Path("r"),
        "handshake": True,
        "lifeline": Lifeline(),
        "tell_workers": False,
    }
    assert seen == [(tmp_path / "v.toml", flags, tmp_path, options)]


@posix
def test_ctrl_c_ends_the_answer(fake: FakeSupervisor) -> None:
    wait = Wait()
    fake.script("Generate", answer("Hel")[0], wait)
    process = started(fake.folder.path, "run", "talker", "Hi", "--raw")
    assert process.stdout is not None
    assert process.stdout.read(3) == b"Hel"
    assert interrupted(process, wait) == (b"\n", b"")


@posix
@pytest.mark.parametrize("command", [("logs", "--follow"), ("load", "talker"), ("embed", "m", "text")])
def test_ctrl_c_leaves_any_wait(fake: FakeSupervisor, command: tuple[str, ...]) -> None:
    wait = Wait()
    for method in ("TailLogs", "LoadModel", "Embed"):
        fake.script(method, wait)
    assert interrupted(started(fake.folder.path, *command), wait) == (b"", b"")


def test_a_reader_that_leaves_early_is_no_fault(fake: FakeSupervisor) -> None:
    wait = Wait()
    line = supervisor_pb2.TailLogsResponse(line="x" * 1000)
    fake.script("TailLogs", line, wait, *[line] * 1000)
    process = started(fake.folder.path, "logs", "--follow")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    wait.go()
    assert process.wait(LIMIT_S) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_an_answer_with_characters_that_the_terminal_lacks(fake: FakeSupervisor) -> None:
    fake.script("Generate", *answer("a \u2603"))
    done = run(fake.folder.path, *CONSOLE, "run", "talker", "Hi", "--raw", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout) == (0, "a ?\n")


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """What a terminal of 80 columns gets to see, escapes included."""
    done = run(folder, *TERMINAL, *CONSOLE, *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


@posix
def test_a_person_sees_a_table_and_the_progress_of_a_load(fake: FakeSupervisor) -> None:
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[known("a" * 100), known("[b]")]))
    loading = model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_LOADING, progress=0.5)
    fake.script("LoadModel", loading, model_pb2.LoadModelResponse(resident=resident()))
    listed = on_a_terminal(fake.folder.path, "models")
    assert "\x1b[1mMODEL" in listed
    assert "[b]" in listed
    load = on_a_terminal(fake.folder.path, "load", "talker")
    assert "talker: loading" in load
    assert "talker is loaded: pid 4711" in load


STAND_IN = """
    import json, os, pathlib, sys
    folder = sys.argv[sys.argv.index("--runtime-dir") + 1]
    said = {"address": "127.0.0.1:1", "pid": os.getpid(), "version": "0", "runtime_dir": folder, "api": 1}
    print("a wrapper builds something")
    print("VRAMD_READY", json.dumps(said), flush=True)
    print("more than a pipe holds" * 10_000)
    pathlib.Path(folder, "done").touch()
"""


def test_start_waits_for_the_line_of_the_new_supervisor(tmp_path: Path) -> None:
    folder = tmp_path / "run here"
    folder.mkdir(0o700)
    Address("127.0.0.1:1", 1, "stale").write(RuntimeDir(folder).address_file)
    process = ensure_running(folder, (sys.executable, "-c", textwrap.dedent(STAND_IN)))
    assert process is not None
    assert process.wait(LIMIT_S) == 0
    assert (folder / "done").exists()


def test_start_leaves_a_running_supervisor_alone(fake: FakeSupervisor) -> None:
    assert ensure_running(fake.folder.path, ("/nowhere/vramd",)) is None


def test_start_shows_why_it_failed(tmp_path: Path) -> None:
    serve = (sys.executable, "-c", "raise SystemExit('the port is taken')")
    with pytest.raises(StartFailed, match="exit code 1:\nthe port is taken"):
        ensure_running(tmp_path / "run", serve)
    if sys.platform != "win32":
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_relative_folders_are_the_callers(tmp_path: Path) -> None:
    changed = _environment({"VRAMD_MODELS": os.pathsep.join(("models", "/all")), "VRAMD_CONFIG": "v.toml"}, tmp_path)
    assert changed["VRAMD_MODELS"].split(os.pathsep) == [str(tmp_path / "models"), str(Path("/all"))]
    assert changed["VRAMD_CONFIG"] == str(tmp_path / "v.toml")
