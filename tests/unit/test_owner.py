"""The owner of a supervisor, as it is named and recognised."""

import subprocess
import sys
import threading

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
