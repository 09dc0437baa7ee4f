"""How a supervisor ends, and what it leaves behind: nothing."""

import itertools
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import vramd
from support.supervisor_process import BOUND_S, SupervisorProcess, simulated, until

WITHIN_S = 1.0
"""After the supervisor's death a worker may live so long."""

MODELS = "\n".join(
    (
        "[scheduling]\ndrain_s = 600\nstop_s = 0.3",
        simulated("idle", card=""),
        simulated("slow", card="", tokens_per_s=20),
        simulated("loading", card="", load_s=600),
        simulated("stopped", card=""),
        simulated("rude", card="", manners=["ignore-sigterm"]),
    )
)


@pytest.mark.skipif(sys.platform != "linux", reason="waits for the end of strangers by pidfd")
def test_no_worker_outlives_a_supervisor_that_is_killed() -> None:
    if sys.platform == "linux":
        with SupervisorProcess(MODELS) as supervisor, supervisor.story() as story:
            client = supervisor.client()
            for model in ("idle", "stopped", "rude"):
                client.load(model)
            loading, generating = client.generate("loading", "x"), client.generate("slow", "x", max_tokens=2000)
            story.reached("loading", "LOADING")
            next(generating)
            until("a spare beside them", lambda: len(supervisor.workers()) == 6)
            pids = {model.model: model.pid or 0 for model in client.resident()}
            assert set(pids) == {"idle", "slow", "loading", "stopped", "rude"}
            os.kill(pids["stopped"], signal.SIGSTOP)
            until("it is stopped", lambda: psutil.Process(pids["stopped"]).status() == psutil.STATUS_STOPPED)
            workers = {worker.pid: os.pidfd_open(worker.pid) for worker in supervisor.workers()}
            supervisor.process.kill()
            end_s = time.monotonic() + WITHIN_S
            alive = [pid for pid, fd in workers.items() if not has_ended(fd, end_s)]
            for fd in workers.values():
                os.close(fd)
            for stream in (loading, generating):
                stream.cancel()
        assert len(workers) == 6
        assert alive == []


def has_ended(pidfd: int, end_s: float) -> bool:
    return bool(select.select([pidfd], [], [], max(0.0, end_s - time.monotonic()))[0])


def assert_nothing_left(supervisor: SupervisorProcess, workers: list[psutil.Process]) -> None:
    assert [worker for worker in workers if worker.is_running()] == []
    assert sorted(path.name for path in supervisor.folder.path.iterdir()) == ["lock", "logs"]
    assert "ERROR" not in supervisor.log


def test_sigterm_lets_answers_end_then_leaves_nothing_behind() -> None:
    with SupervisorProcess(MODELS) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        client.load("idle")
        with client.generate("slow", "x", max_tokens=100) as stream:
            next(stream)
            workers = supervisor.workers()
            assert len(supervisor.sockets()) >= 2
            assert not client.status().supervisor.ending
            supervisor.process.terminate()
            until("it says that it ends", lambda: client.status().supervisor.ending)
            assert stream.finish is not None
            assert len(stream.token_ids) == 100
        assert supervisor.exit_code() == 0
        assert_nothing_left(supervisor, workers)
        story.until("those who watch see the end", lambda _: story.over)
        assert story.end is None
        assert story.changes("slow", "UNLOADED")


def test_a_second_sigterm_ends_it_at_once() -> None:
    with SupervisorProcess(MODELS) as supervisor:
        client = supervisor.client()
        client.load("rude")
        with client.generate("slow", "x", max_tokens=2000) as stream:
            next(stream)
            workers = supervisor.workers()
            supervisor.process.terminate()
            supervisor.heard("slow (2): DRAINING: the supervisor ends")
            supervisor.process.terminate()
            supervisor.heard("SIGTERM again: what runs is ended at once")
            with pytest.raises(vramd.ShuttingDown):
                list(stream)
        assert supervisor.exit_code() == 0
        assert_nothing_left(supervisor, workers)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_signals_without_end_do_not_break_off_what_is_given_back() -> None:
    with SupervisorProcess(MODELS) as supervisor:
        supervisor.client().load("idle")
        workers = supervisor.workers()
        numbers = itertools.cycle((signal.SIGTERM, signal.SIGINT))

        def ended() -> bool:
            supervisor.process.send_signal(next(numbers))
            return supervisor.process.poll() is not None

        until("it has ended", ended)
        assert supervisor.exit_code() == 0
        assert_nothing_left(supervisor, workers)
        assert "Traceback" not in supervisor.printed


def hang_up(supervisor: SupervisorProcess) -> None:
    if sys.platform != "win32":
        supervisor.process.send_signal(signal.SIGHUP)


def interrupt_twice(supervisor: SupervisorProcess) -> None:
    supervisor.process.send_signal(signal.SIGINT)
    supervisor.heard("Ctrl-C: what runs may end within 600 s; another one ends it at once")
    supervisor.process.send_signal(signal.SIGINT)


ENDS: dict[str, tuple[float, Callable[[SupervisorProcess], object]]] = {
    "the terminal is closed, and the time to drain": (0.4, hang_up),
    "SIGTERM, and the time to drain": (0.4, lambda supervisor: supervisor.process.terminate()),
    "Ctrl-C twice": (600, interrupt_twice),
    "a shutdown, and the time to drain": (0.4, lambda supervisor: supervisor.client().shutdown()),
    "a forced shutdown": (600, lambda supervisor: supervisor.client().shutdown(force=True)),
}
"""With the time to drain."""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("end", ENDS)
def test_what_ends_with_the_supervisor_is_told_so(end: str) -> None:
    drain_s, ends = ENDS[end]
    with SupervisorProcess(MODELS.replace("drain_s = 600", f"drain_s = {drain_s}")) as supervisor:
        client = supervisor.client()
        calls: list[Iterator[object]] = [
            client.generate("slow", "x", max_tokens=2000),
            client.hold("idle"),
            client.generate("loading", "x"),
        ]
        with supervisor.story() as story:
            next(calls[0])
            story.reached("idle", "READY")
            story.reached("loading", "LOADING")
            ends(supervisor)
            for call in calls:
                with pytest.raises((vramd.ShuttingDown, vramd.SupervisorUnreachable)) as caught:
                    list(call)
                assert caught.value.reason in ("SHUTTING_DOWN", "UNAVAILABLE")
        assert supervisor.exit_code() == 0
        assert sorted(path.name for path in supervisor.folder.path.iterdir()) == ["lock", "logs"]


def test_a_hang_up_is_survived_where_it_is_ignored() -> None:
    """As `nohup` has it."""
    if sys.platform != "win32":
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            with SupervisorProcess(simulated("a", card="")) as supervisor:
                supervisor.ready().process.send_signal(signal.SIGHUP)
                assert supervisor.client().load("a").state == "READY"
        finally:
            signal.signal(signal.SIGHUP, before)


def test_an_owner_that_is_gone_is_not_waited_for_long() -> None:
    """Long before the time to drain, which an owner that lives may want."""
    with SupervisorProcess("[server]\nowner_grace_s = 0.2\n" + MODELS, owned=True) as supervisor:
        with supervisor.client().generate("slow", "x", max_tokens=2000) as stream:
            next(stream)
            assert supervisor.process.stdin
            supervisor.process.stdin.close()
            with pytest.raises(vramd.ShuttingDown):
                list(stream)
        assert supervisor.exit_code() == 0


def test_sigterm_ends_a_load_and_tells_who_waits() -> None:
    with SupervisorProcess(MODELS) as supervisor, supervisor.story() as story:
        with supervisor.client().generate("loading", "x", timeout_s=BOUND_S) as stream:
            story.reached("loading", "LOADING")
            supervisor.process.terminate()
            with pytest.raises((vramd.ShuttingDown, vramd.SupervisorUnreachable)):
                list(stream)
        assert supervisor.exit_code() == 0


def test_the_command_shutdown_ends_it() -> None:
    with SupervisorProcess(MODELS) as supervisor:
        supervisor.client().load("idle")
        workers = supervisor.workers()
        command = [sys.executable, "-m", "vramd", "shutdown", "--runtime-dir", str(supervisor.folder.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert supervisor.exit_code() == 0
        assert_nothing_left(supervisor, workers)


def descriptors_and_threads(process: psutil.Process) -> tuple[int, int]:
    if sys.platform == "win32":
        return process.num_handles(), process.num_threads()
    else:  # noqa: RET505  mypy takes what follows a platform's return for unreachable
        return process.num_fds(), process.num_threads()


def test_fifteen_lives_of_a_model_leave_nothing_behind() -> None:
    with SupervisorProcess(simulated("a", card="", load_s=0)) as supervisor:
        client, process = supervisor.client(), psutil.Process(supervisor.pid)

        def live_once() -> None:
            client.load("a")
            client.unload("a")

        def resting() -> tuple[int, int] | None:
            alone = len(supervisor.workers()) == len(supervisor.sockets()) == 1
            return descriptors_and_threads(process) if alone else None

        for _ in range(5):
            live_once()
        descriptors, threads = until("one spare is left", resting)
        for _ in range(10):
            live_once()

        def as_before() -> bool:
            # A few come and go by themselves; one for each life would be 10.
            now = resting()
            return now is not None and now[0] - descriptors < 5 and now[1] - threads < 5

        until("one spare is left again, and no more descriptors or threads than before", as_before)
