"""A supervisor that belongs to a program: started by it, used by it, ended with it, however that ends."""

import asyncio
import doctest
import inspect
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest
import vramd
from support.supervisor_process import BOUND_S, CARD, SupervisorProcess, simulated, until
from vramd_common.rendezvous import Address, RuntimeDir

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "vramd.toml"
    file.write_text(CARD + simulated("talker"), "utf-8")
    return file


def gone(*pids: int) -> None:
    """Waits until no such process is there, but for zombies that somebody else has to fetch."""

    def ended(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    until(f"the end of {pids}", lambda: all(map(ended, pids)))


@pytest.mark.parametrize("name", ["", "start", "async_client", "stop"])
def test_the_examples_are_true(config: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    text = inspect.getdoc(getattr(vramd.Supervisor, name) if name else vramd.Supervisor)
    assert text
    names = {"vramd": vramd, "asyncio": asyncio}
    result = doctest.DocTestRunner().run(doctest.DocTestParser().get_doctest(text, names, name, None, 0))
    assert result.failed == 0
    assert result.attempted > 0


def test_everything_is_gone_behind_the_block(config: Path) -> None:
    with vramd.Supervisor.start(config=config) as supervisor:
        worker = supervisor.client.load("talker").pid
        info = supervisor.client.status().supervisor
        assert (info.pid, info.address) == (supervisor.pid, supervisor.address)
        assert supervisor.runtime_dir.is_dir()
    assert worker is not None
    gone(supervisor.pid, worker)
    assert not supervisor.runtime_dir.exists()
    supervisor.stop()
    assert repr(supervisor).endswith(", stopped>")
    with pytest.raises(vramd.ClientClosed):
        supervisor.client.status()


def test_a_runtime_folder_of_the_user_stays_and_others_find_it(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run here"
    with vramd.Supervisor.start(config=config, runtime_dir=folder, budgets={"card": 2 << 30}) as supervisor:
        with vramd.Client(folder) as other:
            card = next(device for device in other.devices() if device.id == "card")
        assert card.budget_bytes == 2 << 30
        supervisor.stop(force=True)
    assert (folder / "logs" / "supervisor.log").exists()
    assert Address.read(RuntimeDir(folder).address_file) is None


def test_a_request_of_another_program_ends_before_its_supervisor(tmp_path: Path) -> None:
    """Though that takes longer than an owner that is gone would be given."""
    file = tmp_path / "vramd.toml"
    file.write_text("[server]\nowner_grace_s = 0.1\n" + CARD + simulated("talker", tokens_per_s=20), "utf-8")
    with vramd.Supervisor.start(config=file, runtime_dir=tmp_path / "run") as supervisor:
        with vramd.Client(tmp_path / "run") as other, other.generate("talker", "x", max_tokens=20) as stream:
            next(stream)
            stopping = threading.Thread(target=supervisor.stop)
            stopping.start()
            list(stream)
            assert stream.finish.usage.completion_tokens == 20
            stopping.join(BOUND_S)
        gone(supervisor.pid)


def test_folders_of_models_are_those_of_this_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are relative to its current folder, not to that of the supervisor."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.gguf").write_bytes(b"no GGUF")
    monkeypatch.chdir(tmp_path)
    with vramd.Supervisor.start(models="models") as supervisor:
        assert [model.id for model in supervisor.client.models()] == ["broken"]


def test_what_it_prints_has_an_end(config: Path, tmp_path: Path) -> None:
    with vramd.Supervisor.start(config=config, runtime_dir=tmp_path / "run") as supervisor:
        folder = RuntimeDir(supervisor.runtime_dir)
        last = f"from here on in {folder.logs / 'supervisor.log'}\n"

        def whole() -> str:
            text = folder.start_log.read_text("utf-8")
            return text if last in text else ""

        printed = until("its last line", whole)
        supervisor.client.load("talker")
        supervisor.client.unload("talker")
        until("the log goes on", lambda: "talker" in (folder.logs / "supervisor.log").read_text("utf-8"))
        assert folder.start_log.read_text("utf-8") == printed


def test_why_it_did_not_start(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(vramd.StartFailed, match="exit code 2") as caught:
        vramd.Supervisor.start(budgets={"host": "much"}, runtime_dir=folder)
    assert "much" in caught.value.metadata["log"]
    assert caught.value.metadata["exitCode"] == "2"


def test_another_supervisor_of_the_folder_is_not_taken_over(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with vramd.Supervisor.start(config=config, runtime_dir=folder) as first:
        with pytest.raises(vramd.StartFailed, match=r"runs in .* already") as caught:
            vramd.Supervisor.start(config=config, runtime_dir=folder)
        assert caught.value.metadata["exitCode"] == "69"
        assert first.client.status().supervisor.pid == first.pid


@pytest.mark.parametrize(("ignored", "wrapped"), [("SIGUSR1", False), ("SIGTERM", True)])
@posix
def test_one_that_ignores_its_stdin_is_ended(tmp_path: Path, ignored: str, wrapped: bool) -> None:
    """Within seconds, whether it listens to SIGTERM or not, and behind a shell too."""
    code = f"import os, signal, time; signal.signal(signal.{ignored}, signal.SIG_IGN); print(os.getpid(), flush=True)"
    command = [sys.executable, "-c", f"{code}; time.sleep({2 * BOUND_S})"]
    if wrapped:
        command = ["sh", "-c", f"'{command[0]}' -c '{command[2]}'; true"]
    with pytest.raises(vramd.StartFailed) as caught:
        vramd.Supervisor.start(serve=command, timeout_s=4, runtime_dir=tmp_path / "run")
    gone(int(caught.value.metadata["log"]))


@pytest.mark.parametrize("models", ["nowhere", ["here", "nowhere"]])
def test_folders_of_models_that_are_not_there(tmp_path: Path, models: str | list[str]) -> None:
    (tmp_path / "here").mkdir()
    folders = [tmp_path / models] if isinstance(models, str) else [tmp_path / one for one in models]
    with pytest.raises(vramd.StartFailed, match="nowhere"):
        vramd.Supervisor.start(models=folders)


def test_a_runtime_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(vramd.StartFailed, match="file"):
        vramd.Supervisor.start(runtime_dir=tmp_path / "file" / "run")


FORKER = """
    import contextlib, os, sys, vramd
    supervisor = vramd.Supervisor.start(config=sys.argv[1])
    hold = supervisor.client.hold("talker")
    hold.ready()
    for way in ("exit", "stop", "leave", "drop"):
        if not (child := os.fork()):
            if way == "exit":
                sys.exit(0)  # the finalizers run
            if way == "stop":
                supervisor.stop()
            if way == "leave":
                with supervisor:
                    pass
            if way == "drop":
                del supervisor, hold
            os._exit(0)
        os.waitpid(child, 0)
        hold.ready()
        print(way, supervisor.client.load("talker").state, supervisor.runtime_dir.exists(), flush=True)
    if not (child := os.fork()):  # holds the other end of the supervisor's stdin
        os.read(0, 1)
        os._exit(0)
    supervisor.stop()
    print(os.waitpid(child, os.WNOHANG) == (0, 0), supervisor.runtime_dir.exists(), flush=True)
"""


@posix
def test_forked_children_neither_end_it_nor_keep_it(config: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKER), str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdout is not None
    for way in ("exit", "stop", "leave", "drop"):
        assert program.stdout.readline() == f"{way} READY True\n"
    assert program.stdout.readline() == "True False\n"
    program.communicate()


@posix
def test_a_program_that_ends_and_can_begin_no_thread_asks_by_a_signal(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shutdown(self: vramd.Client, **_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(vramd.Client, "shutdown", shutdown)
    supervisor = vramd.Supervisor.start(config=config)
    process = psutil.Process(supervisor.pid)
    held = os.dup(process_stdin(supervisor))
    supervisor.stop()
    os.close(held)
    assert not process.is_running()


def process_stdin(supervisor: vramd.Supervisor) -> int:
    """The end of the pipe that its owner holds; a copy of it, as a forked child has, keeps it open."""
    found = supervisor._finalizer.peek()
    assert found is not None
    return int(found[2][1].stdin.fileno())


def test_one_that_ends_by_itself_needs_no_asking(config: Path, tmp_path: Path) -> None:
    """Another supervisor that took the folder over is not asked to end in its place."""
    folder = tmp_path / "run"
    with vramd.Supervisor.start(config=config, runtime_dir=folder) as first:
        psutil.Process(first.pid).kill()
        gone(first.pid)
        with vramd.Supervisor.start(config=config, runtime_dir=folder) as second:
            first.stop()
            assert second.client.status().supervisor.pid == second.pid


def test_one_that_never_answers_is_ended(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    with pytest.raises(vramd.StartFailed, match=r"no supervisor after 0\.5 s") as caught:
        vramd.Supervisor.start(serve=[sys.executable, "-c", code], timeout_s=0.5)
    if printed := caught.value.metadata["log"]:
        gone(int(printed))


OWNER = """
    import os, sys, vramd
    supervisor = vramd.Supervisor.start(config=sys.argv[1], runtime_dir=sys.argv[2])
    worker = supervisor.client.load("talker").pid
    if "fork" in sys.argv and os.fork() == 0:
        os.read(int(sys.argv[4]), 1)
        os._exit(0)
    print(supervisor.pid, worker, flush=True)
    if "forget" not in sys.argv:
        sys.stdin.read()
"""


def owner(config: Path, *more: str, fds: tuple[int, ...] = ()) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(config), str(config.parent / "run"), *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=fds,
    )


def pids(program: "subprocess.Popen[str]") -> list[int]:
    assert program.stdout is not None
    return [int(word) for word in program.stdout.readline().split()]


@pytest.mark.parametrize("way", ["return", "kill", "interrupt"])
@posix
def test_the_end_of_the_program_is_its_end(config: Path, way: str) -> None:
    with owner(config, *(["forget"] if way == "return" else [])) as program:
        started = pids(program)
        assert len(started) == 2
        if way != "return":
            program.kill() if way == "kill" else program.send_signal(signal.SIGINT)
        program.wait(BOUND_S)
        gone(*started)
    if way != "kill":
        assert not RuntimeDir(config.parent / "run").address_file.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the end of the parent")
def test_a_child_that_the_program_forked_does_not_keep_it(config: Path) -> None:
    held, end = os.pipe()
    with owner(config, "fork", str(held), fds=(held,)) as program:
        started = pids(program)
        program.kill()
        program.wait(BOUND_S)
        gone(*started)
        os.close(held)
        os.close(end)  # lets the child go, which holds the program's pipes


@posix
def test_ctrl_c_in_the_terminal_does_not_reach_it(config: Path) -> None:
    with vramd.Supervisor.start(config=config) as supervisor:
        if sys.platform != "win32":
            assert os.getpgid(supervisor.pid) != os.getpgid(0)
            assert os.getsid(supervisor.pid) != os.getsid(0)


def test_callbacks_see_a_real_swap(tmp_path: Path) -> None:
    file = tmp_path / "vramd.toml"
    file.write_text(CARD + simulated("a") + simulated("b"), "utf-8")
    evicted: list[vramd.Evicted] = []
    released: list[vramd.Receipt] = []
    with vramd.Supervisor.start(config=file, budgets={"card": "1536MiB"}) as supervisor:
        client = supervisor.client
        client.on("eviction", evicted.append)
        client.on("release", released.append)
        client.load("a")
        client.load("b")
        until("an eviction and a release", lambda: evicted and released)
    assert [(gone.model, gone.for_model) for gone in evicted] == [("a", "b")]
    assert released[0].model == "a"


def test_an_async_client_does_what_the_other_does(config: Path) -> None:
    async def work(client: vramd.AsyncClient) -> None:
        changes: list[str] = []
        async with client:
            await client.on("model", lambda change: changes.append(change.after))
            async with client.watch(["MODEL"]) as events:
                loaded = await client.load("talker")
                assert await client.chat("talker", "Hi", max_tokens=3).text
                assert (await client.update("talker", pinned=True, keep_alive_s=60)).pinned
                fresh = await client.restart("talker")
                assert (fresh.worker_id, fresh.pid) != (loaded.worker_id, loaded.pid)
                await client.unload("talker", force=True)
                seen = set[str]()
                while "UNLOADED" not in seen:
                    event = await asyncio.wait_for(events.__anext__(), BOUND_S)
                    assert isinstance(event.detail, vramd.ModelChanged)
                    seen.add(event.detail.after)
            assert {"LOADING", "READY", "UNLOADED"} <= seen
            assert "READY" in changes

    with vramd.Supervisor.start(config=config) as supervisor:
        asyncio.run(work(supervisor.async_client()))


def test_clients_go_on_with_the_next_supervisor_of_the_folder() -> None:
    model = simulated("talker", card="")

    async def work(client: vramd.Client, other: vramd.AsyncClient) -> None:
        async with other:
            before = other.address
            assert await other.generate("talker", "x", max_tokens=2).text
            assert client.generate("talker", "x", max_tokens=2).text
            first.process.kill()
            first.process.wait(BOUND_S)
            with pytest.raises(vramd.SupervisorUnreachable):
                client.status()
            with SupervisorProcess(model, runtime_dir=first.folder.path) as second:
                until("the next one listens", lambda: second.address.pid == second.pid)
                assert (await other.status()).supervisor.pid == second.pid
                assert await other.generate("talker", "x", max_tokens=2).text
                assert client.status().supervisor.pid == second.pid
                assert other.address == client.address != before

    with SupervisorProcess(model) as first:
        asyncio.run(work(first.client(), vramd.AsyncClient(first.folder.path)))
