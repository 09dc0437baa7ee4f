"""What a supervisor leaves on the disk: for its user only, and without a word of any prompt."""

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import vramd
from support.supervisor_process import SupervisorProcess, simulated, until

MARKER = "a-word-of-a-prompt-that-nobody-else-says"
FAULTS = ("bug", "exit-in-prompt", "exit-in-decode", "exit-in-load")
CONFIGURATION = "".join(
    simulated(name, card="", manners=list(manners), expendable=True)
    for name, manners in {"sound": (), **{fault: (fault,) for fault in FAULTS}}.items()
)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    usual = os.umask(mask)
    try:
        yield
    finally:
        os.umask(usual)


def files_below(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*")]


def open_to_others(*folders: Path) -> list[str]:
    modes: dict[Path, int] = {}
    for path in (*folders, *files_below(*folders)):
        with contextlib.suppress(FileNotFoundError):  # a socket of a process that has ended, a journal of SQLite's
            modes[path] = path.lstat().st_mode
    return [f"{stat.filemode(mode)} {path}" for path, mode in modes.items() if mode & 0o077 and not stat.S_ISLNK(mode)]


@pytest.mark.unprivileged
@pytest.mark.skipif(os.name != "posix", reason="modes are Unix's")
def test_no_other_user_reads_what_a_supervisor_writes(tmp_path: Path) -> None:
    run, state, recording = tmp_path / "run", tmp_path / "state", tmp_path / "recording"
    with umask(0):
        # As an earlier version has left them.
        for folder in (run, state, run / "logs" / "models"):
            folder.mkdir(parents=True)
        for file in (run / "logs" / "supervisor.log", run / "logs" / "models" / "sound.log", recording):
            file.touch()
        arguments = ("--port", "0", "--record", str(recording))
        for name in ("decisions.sqlite3", "memory.sqlite3"):
            (state / name).touch()
        assert len(open_to_others(run, state)) == 8
        with SupervisorProcess(
            CONFIGURATION, runtime_dir=run, environment={"VRAMD_STATE_DIR": str(state)}, arguments=arguments
        ) as supervisor:
            client = supervisor.client()
            list(client.generate("sound", "x", max_tokens=2))
            client.unload("sound")
            until("a decision", client.decisions)
            assert not open_to_others(run, *files_below(state))
        assert not open_to_others(run, *files_below(state))
        assert stat.S_IMODE(recording.stat().st_mode) == 0o600
        assert (state / "decisions.sqlite3").stat().st_size


def test_no_prompt_is_written_anywhere(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    arguments = ("--port", "0", "--record", str(recording), "--log-level", "debug")
    with SupervisorProcess(CONFIGURATION, arguments=arguments) as supervisor:
        client = supervisor.client()
        for model in ("sound", *FAULTS):
            failures: tuple[type[BaseException], ...] = () if model == "sound" else (vramd.VramdError,)
            with contextlib.suppress(*failures):
                list(client.generate(model, MARKER, max_tokens=3, stop=[MARKER[:20]]))
            with contextlib.suppress(*failures):
                list(client.chat(model, [{"role": "user", "content": MARKER}], max_tokens=3))
        for call in (
            lambda: client.embed("sound", [MARKER]),
            lambda: client.tokenize("sound", MARKER),
            lambda: list(client.generate("sound", MARKER, max_tokens=3, temperature=-1.0)),
            lambda: list(client.chat("sound", [{"role": MARKER * 9, "content": MARKER}])),
        ):
            with contextlib.suppress(vramd.VramdError):
                call()
        until("the crashes are known", lambda: "exit-in-decode" in supervisor.log)
        supervisor.end()
        written = [path for path in (recording, *files_below(supervisor.own)) if path.is_file()]
        texts = {path: path.read_bytes() for path in written}
        assert {path.name for path, text in texts.items() if MARKER[:20].encode() in text} == set()
        # The same look finds what is there: names of models.
        assert {"recording", "supervisor.log"} <= {
            path.name for path, text in texts.items() if b"exit-in-decode" in text
        }
        assert any(path.suffix == ".sqlite3" for path in texts)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_environment_of_a_worker_is_the_list_and_what_is_named() -> None:
    given = {"LD_AUDIT": "", "GGML_BACKEND_PATH": "/none.so", "CUDA_VISIBLE_DEVICES": "", "SECRET": "s", "NAMED": "n"}
    configuration = f'[server]\nworker_environment = ["NAMED"]\n{CONFIGURATION}'
    with SupervisorProcess(configuration, environment=given) as supervisor:
        loaded = supervisor.client().load("sound").pid
        # What was forked to be the next spare has the supervisor's environment until its program has begun.
        workers = [worker for worker in supervisor.workers() if "vramd_worker" in worker.cmdline()]
        assert loaded in [worker.pid for worker in workers]
        for worker in workers:
            seen = worker.environ()
            assert seen["NAMED"] == "n"
            assert "CUDA_VISIBLE_DEVICES" in seen
            assert not {"LD_AUDIT", "GGML_BACKEND_PATH", "SECRET", "VRAMD_STATE_DIR"} & seen.keys()
