"""The owner of a supervisor, as it is named and recognised."""

import os
import subprocess
import sys
import threading

import psutil
import pytest
from vramd_common.handshake import Failed, Ready, parse
from vramd_supervisor.owner import Lifeline, Owner, OwnerGoneError, _process

BOUND_S = 30.0


@pytest.mark.parametrize(("text", "meant"), [("stdin", Lifeline()), ("pid:12", Lifeline(12))])
def test_a_lifeline_is_stdin_or_a_process(text: str, meant: Lifeline) -> None:
    assert Lifeline.parse(text) == meant


@pytest.mark.parametrize("text", ["", "pid", "pid:", "pid:0", "pid:-1", "pid:²", "tty", "stdin "])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no lifeline"):
        Lifeline.parse(text)


def test_an_owner_is_older_than_what_it_owns() -> None:
    """A process id that was given away again since the owner's end is another's."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as younger:
        with pytest.raises(OwnerGoneError, match="began after this one"):
            Owner(Lifeline(younger.pid))
        younger.kill()
    with pytest.raises(OwnerGoneError, match=f"there is no process {younger.pid}"):
        Owner(Lifeline(younger.pid))


def test_its_end_is_seen_before_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was killed stays as a zombie for as long as its own parent likes."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        monkeypatch.setattr("psutil.Process.create_time", lambda _: 0.0)
        waiting = threading.Thread(target=_process(owner.pid), daemon=True)
        waiting.start()
        owner.kill()
        waiting.join(BOUND_S)
        assert not waiting.is_alive()


WATCHED = """
import asyncio, os, resource, sys, threading
from vramd_supervisor import owner
from vramd_supervisor.owner import Lifeline, Owner
watches = threading.Event()
if "broken" in sys.argv:
    def broken():
        watches.wait(30)
        raise RuntimeError("cannot look")
    owner._stdin = lambda: broken
if "many files" in sys.argv:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2000), hard))
    while os.dup(2) < 1030:
        pass
if "never waits" in sys.argv:
    os.set_blocking(0, False)
watch = Owner(Lifeline())
async def main():
    gone = asyncio.Event()
    watch.hear(asyncio.get_running_loop(), gone.set, lambda: None)
    print("watches", flush=True)
    watches.set()
    await gone.wait()
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="never run on Windows")
@pytest.mark.parametrize("how", ["as usual", "broken", "many files", "never waits"])
def test_the_end_of_stdin_is_seen_whatever_it_is(how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == "watches\n"
            if how != "broken":
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.2)
                process.stdin.close()
            assert process.wait(BOUND_S) == 0
        finally:
            process.kill()


if sys.platform != "win32":

    def test_the_end_of_a_terminal_is_the_owners_end() -> None:
        ours, theirs = os.openpty()
        with subprocess.Popen(
            [sys.executable, "-c", WATCHED], stdin=theirs, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                os.close(theirs)
                assert process.stdout
                assert process.stdout.readline() == "watches\n"
                os.close(ours)
                assert process.wait(BOUND_S) == 0
            finally:
                process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="closes a descriptor by a shell")
def test_a_stdin_that_is_closed_is_no_owner() -> None:
    code = "from vramd_supervisor.owner import Lifeline, Owner\nOwner(Lifeline())"
    command = ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert "OwnerGoneError: stdin is not open" in done.stderr


def test_an_owner_that_may_not_be_looked_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: psutil.Process) -> float:
        raise psutil.AccessDenied(1)

    monkeypatch.setattr("psutil.Process.create_time", denied)
    with pytest.raises(OwnerGoneError, match="may not be watched"):
        _process(os.getppid())


def test_the_line_is_one_line_whatever_it_says() -> None:
    for said in (Ready("127.0.0.1:1", 7, "1", 'C:\\a "b"\nc'), Failed(2, "line 1\nline 2 \u2028 é")):
        assert "\n" not in said.line()
        assert said.line().isascii()
        assert parse(said.line() + "\n") == said


@pytest.mark.parametrize(
    "line", ["", "Building vramd", "VRAMD_READY", "VRAMD_READY {}", "VRAMD_READY []", 'VRAMD_ERROR {"code": "x"}']
)
def test_what_a_wrapper_says_is_passed_over(line: str) -> None:
    assert parse(line) is None
