"""A supervisor as the child of any program: a line on stdout, no pipe that must be read, and an end with its owner."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import vramd
from support.supervisor_process import BOUND_S, SupervisorProcess, simulated, until
from vramd_cli.starting import ensure_running
from vramd_common.handshake import Failed, Ready, parse
from vramd_common.rendezvous import API, Address, RuntimeDir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, signals and sessions of Linux")

MODELS = simulated("a", card="") + simulated("slow", card="", tokens_per_s=20)
UNREAD_BYTES = 4096
"""The least that a pipe may hold."""
LOG_BYTES = 256 * 1024


def serve(folder: Path, *arguments: str, models: str = MODELS) -> list[str]:
    file = folder / "vramd.toml"
    file.write_text(models, "utf-8")
    files = ("--config", str(file), "--runtime-dir", str(folder / "run"), "--port", "0")
    return [sys.executable, "-m", "vramd", "serve", *files, *arguments]


@contextlib.contextmanager
def child(command: Sequence[str], **given: object) -> Iterator["subprocess.Popen[bytes]"]:
    process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **given
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[bytes]") -> Ready:
    assert process.stdout
    said = parse(process.stdout.readline().decode())
    assert isinstance(said, Ready), said
    return said


def shrink(*pipes: object) -> None:
    """Has a pipe hold no more than a page."""
    for pipe in pipes:
        if sys.platform == "linux":
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, UNREAD_BYTES)  # type: ignore[attr-defined]


def test_one_line_then_silence_until_the_end(tmp_path: Path) -> None:
    with child(serve(tmp_path, "--owned"), stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stdin and process.stderr
        first = process.stdout.readline()
        word, _, rest = first.decode().partition(" ")
        said = json.loads(rest)
        assert (word, said["schema"], said["api"], said["pid"]) == ("VRAMD_READY", 1, API, process.pid)
        folder = RuntimeDir(Path(said["runtime_dir"]))
        with vramd.Client(folder.path) as client:
            assert client.address == said["address"]
            assert client.status().supervisor.version == said["version"]
            assert client.load("a").state == "READY"
        process.stdin.close()
        assert (process.stdout.read(), process.wait(BOUND_S)) == (b"", 0)
        log = (folder.logs / "supervisor.log").read_text("utf-8")
        assert "a (1): READY" in log
        assert b"READY" not in process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--port", "99999"), 2, "99999 is not in the range"),
        (("--budget", "host=much"), 2, "much"),
        (("--config", "/nowhere.toml"), 2, "/nowhere.toml"),
        (("--host", "203.0.113.1"), 1, "203.0.113.1 is no address of this machine"),
        (("--lifeline", "pid:4194305"), 1, "there is no process 4194305: the owner is gone"),
    ],
)
def test_why_it_cannot_start_is_the_line(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    with child(serve(tmp_path, "--handshake", "stdout", *arguments), stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        failed = parse(process.stdout.readline().decode())
        assert isinstance(failed, Failed)
        assert words in failed.message
        assert process.stdout.read() == b""
        assert process.wait(BOUND_S) == failed.code == code


def test_an_owner_that_is_gone_already_is_not_served(tmp_path: Path) -> None:
    with child(serve(tmp_path, "--owned"), stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        said = parse(process.stdout.readline().decode())
        assert process.wait(BOUND_S) in (0, 128 + signal.SIGTERM)  # 0: it was fast, and had listened
        assert isinstance(said, Ready | Failed)
        assert isinstance(said, Ready) or said.code == process.returncode
        assert not RuntimeDir(tmp_path / "run").address_file.exists()


def test_a_host_that_reads_nothing_stops_nothing(tmp_path: Path) -> None:
    """Its pipes are full of log lines long before the log is as long as here, if they get any."""
    name = "x" * 200
    with child(
        serve(tmp_path, "--owned", models=simulated(name, card="", host="4000GiB") + MODELS), stderr=-1
    ) as process:
        shrink(process.stdout, process.stderr)
        folder = RuntimeDir(tmp_path / "run")
        until("it listens", folder.address_file.exists)
        log = folder.logs / "supervisor.log"
        until("a log", log.exists)
        with vramd.Client(folder.path, sleep=lambda _: None) as client:
            while log.stat().st_size < LOG_BYTES:
                with pytest.raises(vramd.VramdError, match=name):
                    client.load(name, timeout_s=BOUND_S)
            assert client.load("a", timeout_s=BOUND_S).state == "READY"
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(BOUND_S) == 0


def test_an_owner_that_is_killed_takes_it_along_whoever_else_calls(tmp_path: Path) -> None:
    """Twice in the same folder, the second one at once after the first."""
    quick = "[server]\nowner_grace_s = 0.3\n" + MODELS
    for _ in range(2):
        with child([sys.executable, "-c", "import sys; sys.stdin.read()"]) as owner:
            command = serve(tmp_path, "--handshake", "stdout", "--lifeline", f"pid:{owner.pid}", models=quick)
            with child(command, stderr=subprocess.DEVNULL) as process:
                line(process)
                with vramd.Client(tmp_path / "run") as client, client.generate("slow", "x", max_tokens=2000) as stream:
                    next(stream)
                    workers = [worker.pid for worker in psutil.Process(process.pid).children(recursive=True)]
                    owner.kill()
                    with pytest.raises(vramd.ShuttingDown):
                        list(stream)
                assert process.wait(BOUND_S) == 0
                assert not any(map(psutil.pid_exists, workers))


HOST = """
    import signal, subprocess, sys
    signal.signal(signal.SIGINT, lambda *_: print("handles it", flush=True))
    supervisor = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, restore_signals=True)
    sys.exit(supervisor.wait())
"""


def test_ctrl_c_in_the_terminal_of_its_host_is_the_hosts_affair(tmp_path: Path) -> None:
    """Which cannot give it a session of its own, as it is written in a language without that."""
    command = [sys.executable, "-c", textwrap.dedent(HOST), *serve(tmp_path, "--owned")]
    with child(command, start_new_session=True) as host:
        assert host.stdout
        said = line(host)
        if sys.platform != "win32":
            os.killpg(host.pid, signal.SIGINT)
        assert host.stdout.readline() == b"handles it\n"
        with vramd.Client(tmp_path / "run") as client:
            assert client.load("a").state == "READY"
            host.kill()
        until("it ends with its host", lambda: not psutil.pid_exists(said.pid))


def test_the_run_file_is_its_users_and_says_which_process_it_is() -> None:
    before = os.umask(0)
    try:
        with SupervisorProcess(MODELS) as supervisor:
            recorded = supervisor.address
            assert supervisor.folder.address_file.stat().st_mode & 0o777 == 0o600
            assert recorded.pid == supervisor.pid
            assert abs(recorded.started_s - psutil.Process(supervisor.pid).create_time()) < 1
    finally:
        os.umask(before)


def test_many_that_start_one_at_once_get_the_same(tmp_path: Path) -> None:
    command = serve(tmp_path)
    began: list[subprocess.Popen[bytes] | None] = []
    threads = [threading.Thread(target=lambda: began.append(ensure_running(tmp_path / "run", command))) for _ in "1234"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * BOUND_S)
    (process,) = [one for one in began if one]
    try:
        assert len(began) == 4
        with vramd.Client(tmp_path / "run") as client:
            assert client.status().supervisor.pid == process.pid
    finally:
        process.terminate()


def test_a_record_whose_process_is_another_one_is_not_believed(tmp_path: Path) -> None:
    """Its supervisor was killed, and both its port and its process id have other holders."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        folder = RuntimeDir(tmp_path / "run")
        folder.path.mkdir(mode=0o700)
        Address(f"127.0.0.1:{stranger.getsockname()[1]}", os.getpid(), "0", started_s=1.0).write(folder.address_file)
        process = ensure_running(folder.path, serve(tmp_path))
        assert process
        try:
            with vramd.Client(folder.path) as client:
                assert client.status().supervisor.pid == process.pid
        finally:
            process.terminate()


def test_one_that_nobody_calls_ends_by_itself() -> None:
    with SupervisorProcess(MODELS, arguments=("--port", "0", "--idle-exit", "5s")) as supervisor:
        with supervisor.client().hold("a") as hold:  # a call that goes on is no idleness
            hold.ready()
            assert supervisor.client().generate("slow", "x", max_tokens=120).text
            assert supervisor.process.poll() is None
        assert supervisor.exit_code() == 0
        assert "no call has come for 5 s" in supervisor.log
