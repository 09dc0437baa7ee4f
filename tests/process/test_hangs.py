"""Processes that make no progress are ended and replaced; busy neighbours are not.

All hang at once under one supervisor, beside neighbours that decode, so that the waits are one. None of the models that
hang has its requests run again: what their callers hear is the subject here.
"""

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil
import pytest
import vramd
from support.supervisor_process import Story, SupervisorProcess, simulated, until
from vramd_supervisor.workers.progress import Uptime

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="never run on Windows")

STALL_S, LOAD_STALL_S = 12, 13
"""Longer than a busy machine holds a process up that does not hang."""
SILENT_S = 4.0
"""Longer than a process may be silent before it is given work, in time in which the supervisor runs."""
NEIGHBOURS = ("first", "second", "third")
LIMITS = f"[server]\nstall_s = {STALL_S}\nload_stall_s = {LOAD_STALL_S}\n"


def hanging(model: str, *faults: str, load_s: float = 0.1, tokens_per_s: float = 2) -> str:
    """Of three tokens before a fault the first has arrived when it comes, on a busy machine too."""
    return simulated(model, card="", manners=list(faults), expendable=True, load_s=load_s, tokens_per_s=tokens_per_s)


CONFIGURATION = LIMITS + "\n".join(
    (
        hanging("stopped"),
        hanging("spinning", "spin-in-decode"),
        hanging("stuck", "hang-in-decode"),
        hanging("deaf", "close-sockets"),
        hanging("stuck-load", "hang-in-load"),
        hanging("stopped-load", load_s=600),
        hanging("paced", tokens_per_s=0.01),
        *(simulated(name, card="", tokens_per_s=20) for name in NEIGHBOURS),
    )
)
WORDS = {
    "stopped": ("WORKER_CRASHED_MID_STREAM", "hung", "no sign of life"),
    "spinning": ("WORKER_CRASHED_MID_STREAM", "hung", "no sign of life"),
    "stuck": ("WORKER_CRASHED_MID_STREAM", "hung", "its thread 'decode' has made no progress"),
    "deaf": ("WORKER_CRASHED_MID_STREAM", "crashed", "its connection broke"),
    "stuck-load": ("LOAD_TIMEOUT", "hung", "its thread 'load' has made no progress"),
    "stopped-load": ("LOAD_TIMEOUT", "hung", "no sign of life"),
}
"""Why the request on each of them fails: the reason, the cause of the process's end, and part of the text."""


def pid_of(client: vramd.Client, model: str) -> int:
    resident = client.model(model).resident
    assert resident is not None
    assert resident.pid is not None
    return resident.pid


def stop(pid: int) -> None:
    psutil.Process(pid).suspend()


def be_silent(client: vramd.Client, process: psutil.Process) -> None:
    """Stops a process and lets time pass: that its silence was noticed shows nowhere.

    A supervisor that is held up does not count the time: here only that counts in which it answers.
    """
    process.suspend()
    silence = Uptime(time.monotonic())
    until("time has passed", lambda: client.devices() and silence.tick(time.monotonic()) > SILENT_S)


@dataclass
class Trouble:
    """A supervisor on which all of this has happened."""

    supervisor: SupervisorProcess
    story: Story
    pids: dict[str, int] = field(default_factory=dict)
    failed: dict[str, vramd.VramdError] = field(default_factory=dict)


def error_of(stream: vramd.Stream) -> vramd.VramdError:
    with pytest.raises(vramd.VramdError) as failed:
        list(stream)
    return failed.value


@pytest.fixture(scope="module")
def trouble() -> Iterator[Trouble]:
    with (
        SupervisorProcess(CONFIGURATION) as supervisor,
        supervisor.ready().story() as story,
        ThreadPoolExecutor(16) as pool,
    ):
        client, found = supervisor.client(), Trouble(supervisor, story)
        neighbours = {name: client.generate(name, "x", max_tokens=3000) for name in NEIGHBOURS}
        paced = client.generate("paced", "x", max_tokens=3000)
        try:
            for name, stream in neighbours.items():
                next(stream)
                found.pids[name] = pid_of(client, name)
            streams = {model: supervisor.client().generate(model, "x", max_tokens=3000) for model in WORDS}
            next(streams["stopped"])
            story.reached("stopped-load", "LOADING")
            for model in ("stopped", "stopped-load"):
                stop(pid_of(client, model))
            found.failed = dict(zip(streams, pool.map(error_of, streams.values()), strict=True))
            yield found
        finally:
            for stream in (*neighbours.values(), paced):
                stream.cancel()


@pytest.mark.parametrize("model", WORDS)
def test_a_process_that_hangs_is_ended_and_its_caller_hears_how(trouble: Trouble, model: str) -> None:
    reason, cause, words = WORDS[model]
    error = trouble.failed[model]
    assert error.reason == reason
    assert words in str(error)
    assert error.retry_after_s is None
    assert trouble.story.reached(model, "UNLOADED").cause == cause


def test_none_that_is_slow_or_busy_is_ended(trouble: Trouble) -> None:
    client = trouble.supervisor.client()
    assert {name: pid_of(client, name) for name in NEIGHBOURS} == trouble.pids
    trouble.story.reached("paced", "READY")
    assert not trouble.story.changes("paced", "STOPPING"), "it gives a token in 100 s, as it is told to"


def test_it_prints_what_its_threads_do_before_it_is_ended(trouble: Trouble) -> None:
    client = trouble.supervisor.client()

    def traceback() -> bool:
        return bool(re.search(r"Thread 0x\w+ .*\n(.*\n)*.*fullmatch", "\n".join(client.logs("spinning", lines=1000))))

    until("the line that spins is in its log", traceback)


def test_the_next_caller_gets_a_new_process(trouble: Trouble) -> None:
    client = trouble.supervisor.client()
    with client.generate("stopped", "x", max_tokens=3000) as stream:
        next(stream)
    trouble.story.reached("stopped", "READY", 2)
    assert len(trouble.story.changes("stopped", "READY")) == 2


def test_a_call_for_an_idle_process_that_was_stopped_is_served_by_a_new_one() -> None:
    quick = simulated("quick", card="")
    with SupervisorProcess(f"{LIMITS}spare = false\n{quick}") as supervisor:
        client = supervisor.client()
        stopped = client.load("quick").pid
        assert stopped is not None
        be_silent(client, psutil.Process(stopped))
        assert client.generate("quick", "x", max_tokens=5).text
        assert pid_of(client, "quick") != stopped


def test_a_load_goes_to_a_new_process_if_the_spare_was_stopped() -> None:
    with SupervisorProcess(LIMITS + simulated("quick", card="")) as supervisor:
        client = supervisor.client()
        supervisor.heard("an idle worker takes")
        (spare,) = [one for one in supervisor.workers() if "vramd_worker" in one.cmdline()]
        be_silent(client, spare)
        with supervisor.story() as story:
            assert client.load("quick").pid != spare.pid
            story.reached("quick", "READY")
            assert len(story.changes("quick", "LOADING")) == 2
        until("the spare is gone", lambda: not spare.is_running())
