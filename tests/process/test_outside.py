"""The supervisor never waits for what is outside: whatever hangs, fails or is gone, everybody else is served."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import vramd
from click.testing import CliRunner
from support.gguf_bytes import llama
from support.supervisor_process import BOUND_S, SupervisorProcess, simulated, until
from vramd_cli.main import vramd as command_line
from vramd_common.reasons import Reason
from vramd_supervisor import main as serving

OUTSIDE = Path(__file__).parents[1] / "support" / "outside"
MODELS = "[server]\nspare = false\n" + simulated("a", card="", tokens_per_s=50) + simulated("b", card="")


class Switches:
    """What fails outside, switched by files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PYTHONPATH": str(OUTSIDE), "VRAMD_TEST_OUTSIDE": str(folder)}

    def drive(self, *, gone: bool) -> None:
        """Whether what lies in the folder `dead` answers."""
        switch = self.folder / "drive"
        switch.touch() if gone else switch.unlink()

    def spawn(self, fault: str) -> None:
        """What fails when a process is started; empty: nothing."""
        (self.folder / "new").write_text(fault, "utf-8")
        (self.folder / "new").replace(self.folder / "spawn")


@pytest.fixture(scope="module")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Switches:
    return Switches(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="module")
def supervisor(switches: Switches) -> Iterator[SupervisorProcess]:
    with SupervisorProcess(MODELS, environment=switches.environment) as one:
        yield one


@pytest.mark.parametrize("fault", ["process", "memory", "_wait", "thread"])
def test_a_spawn_that_fails_is_told_and_everybody_else_is_served(
    fault: str, switches: Switches, supervisor: SupervisorProcess
) -> None:
    client = supervisor.client()
    with client.generate("a", "x", max_tokens=2000) as answer:
        next(answer)
        switches.spawn(fault)
        kind, told = (
            (vramd.WorkerCrashed, "could not be started")
            if fault == "memory"
            else (vramd.Exhausted, "no more processes")
        )
        with pytest.raises(kind, match=told):
            client.load("b")
        next(answer)
        assert "a" in [model.model for model in client.resident()]
        switches.spawn("")
        until("it is loaded", lambda: _loaded(client, "b"))
        next(answer)
    client.unload("b")
    assert supervisor.process.poll() is None


def test_a_spawn_that_hangs_costs_its_own_model_only(switches: Switches, supervisor: SupervisorProcess) -> None:
    client = supervisor.client()
    with client.generate("a", "x", max_tokens=2000) as answer:
        next(answer)
        switches.spawn("hang")
        with pytest.raises(vramd.DeadlinePassed):
            client.load("b", timeout_s=0.5)
        next(answer)
        assert "a" in [model.model for model in client.resident()]
        switches.spawn("")
        until("it is loaded", lambda: _loaded(client, "b"))
        next(answer)
    client.unload("b")
    switches.spawn("hang")
    with client.generate("b", "x"):
        until("it is started", lambda: client.model("b").state == "STARTING")
        client.unload("b")
    switches.spawn("")
    until("none is left", lambda: len(supervisor.workers()) == 1)


def test_an_end_needs_no_more_threads(switches: Switches) -> None:
    with SupervisorProcess(MODELS, environment=switches.environment) as supervisor:
        supervisor.client().load("a")
        workers = supervisor.workers()
        switches.spawn("thread")
        assert supervisor.end() == 0
        switches.spawn("")
        assert [worker for worker in workers if worker.is_running()] == []
        assert sorted(path.name for path in supervisor.folder.path.iterdir()) == ["lock", "logs"]


def _decided(client: vramd.Client) -> set[str]:
    try:
        return {decision.kind for decision in client.decisions(timeout_s=5)}
    except (vramd.Unavailable, vramd.DeadlinePassed):  # it has not answered yet
        return set()


def _loaded(client: vramd.Client, model: str) -> bool:
    try:
        return bool(client.load(model))
    except (vramd.WorkerCrashed, vramd.Exhausted):  # it is tried again in a while
        return False


def test_loads_need_neither_the_folder_of_the_start_nor_that_of_its_state(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    with SupervisorProcess(MODELS, cwd=here, environment={"VRAMD_STATE_DIR": "state"}) as supervisor:
        client = supervisor.client()
        client.load("a")
        shutil.rmtree(here)
        client.load("b")
        client.unload("a")
        client.load("a")
        assert [decision.kind for decision in client.decisions()]
        assert "ERROR" not in supervisor.printed


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody remove what is locked")
def test_a_runtime_folder_that_is_removed_costs_nobody_anything() -> None:
    with SupervisorProcess(MODELS) as supervisor:
        client = supervisor.client()
        with client.generate("a", "x", max_tokens=2000) as answer:
            next(answer)
            shutil.rmtree(supervisor.folder.path)
            client.load("b")
            next(answer)
        supervisor.heard("it is restored")
        with vramd.Client(supervisor.folder.path) as another:
            assert another.generate("b", "x", max_tokens=2).text
        with SupervisorProcess(MODELS, runtime_dir=supervisor.folder.path) as second:
            assert second.exit_code() == 69
        client.unload("a")
        client.load("a")
        assert supervisor.end() == 0
        assert sorted(path.name for path in supervisor.folder.path.iterdir()) == ["lock", "logs"]


@pytest.mark.skipif(sys.platform == "win32", reason="its drives are other ones")
def test_a_drive_that_is_gone_costs_its_own_models_only(switches: Switches, tmp_path: Path) -> None:
    near, far = tmp_path / "near", switches.folder / "dead"
    for folder in (near, far):
        folder.mkdir()
        (folder / f"{folder.name}.gguf").write_bytes(llama())
    models = f'[server]\nmodels = ["{far}", "{near}"]\n[models.set]\npath = "{far}/dead.gguf"\n' + simulated(
        "b", card=""
    )
    switches.drive(gone=True)
    state = {"VRAMD_STATE_DIR": str(far / "state")}
    with SupervisorProcess(models, environment=switches.environment | state) as supervisor:
        client = supervisor.client()
        client.load("b")
        with pytest.raises((vramd.Unavailable, vramd.DeadlinePassed)):
            client.decisions(timeout_s=1)
        assert not client.model("near").problem
        with pytest.raises(vramd.Unavailable, match="is its drive there") as refused:
            client.load("set")
        assert refused.value.reason == Reason.FILE_UNANSWERED.name
        assert {model.id for model in client.models()} == {"b", "near", "set"}
        client.unload("b")
        switches.drive(gone=False)
        until("what was decided meanwhile is written", lambda: _decided(client) >= {"load", "unload"})
        until("it is found", lambda: not client.model("set").problem)
        switches.drive(gone=True)
        with pytest.raises(vramd.DeadlinePassed):
            client.plan("set", timeout_s=1)
        assert supervisor.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="FIFOs of POSIX")
def test_a_configuration_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "win32":
        monkeypatch.setattr(serving, "START_S", 0.05)
        os.mkfifo(tmp_path / "vramd.toml")
        done = CliRunner().invoke(command_line, ["serve", "--config", str(tmp_path / "vramd.toml")])
        assert done.exit_code == 2
        assert f"{tmp_path / 'vramd.toml'} gives no answer within 0.05 s; is its drive there?" in done.output


def filled_pipe() -> tuple[int, int]:
    """A pipe that nobody reads and that holds nothing more."""
    read_fd, write_fd = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(write_fd, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write_fd, b"x" * 4096)
        os.set_blocking(write_fd, True)
    return read_fd, write_fd


def stopped_terminal() -> tuple[int, int]:
    """One in which somebody has pressed Ctrl-S."""
    if sys.platform != "win32":
        import termios

        controller, terminal = os.openpty()
        termios.tcflow(terminal, termios.TCOOFF)
        return controller, terminal
    raise NotImplementedError


@pytest.mark.skipif(sys.platform == "win32", reason="pipes, FIFOs and terminals of POSIX")
@pytest.mark.parametrize("output", [filled_pipe, stopped_terminal])
def test_what_nobody_takes_stops_nobody(output: Callable[[], tuple[int, int]], tmp_path: Path) -> None:
    """Neither stdout nor stderr, nor a log, nor a recording is taken by anybody."""
    if sys.platform != "win32":
        other_end, full = output()
        run, recording = tmp_path / "run", tmp_path / "recording"
        (run / "logs").mkdir(parents=True)
        os.mkfifo(run / "logs" / "supervisor.log")
        os.mkfifo(recording)
        opened = os.open(recording, os.O_RDONLY | os.O_NONBLOCK)
        (tmp_path / "vramd.toml").write_text(MODELS, "utf-8")
        files = ["--runtime-dir", str(run), "--config", str(tmp_path / "vramd.toml"), "--record", str(recording)]
        process = subprocess.Popen(
            [sys.executable, "-m", "vramd", "serve", "--port", "0", *files],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=full,
        )
        try:
            until("it listens", (run / "supervisor.json").exists)
            with vramd.Client(run) as client:
                client.load("a")
                client.unload("a")
                assert client.generate("b", "x", max_tokens=2).text
            process.terminate()
            assert process.wait(BOUND_S) == 0
        finally:
            process.kill()
            process.wait(BOUND_S)
            for fd in (other_end, full, opened):
                os.close(fd)
