"""Lines for people: broken between words on a terminal, whole in a pipe."""

import sys

import pytest
from vramd.commands import show

TEXT = "12 s ago  evicted for coder: coder lacks 1.2 GiB on gpu0; talker was least-recently used"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def test_on_a_terminal_no_line_is_wider_and_what_follows_is_set_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show.line(TEXT, 10)
    first, *further = capsys.readouterr().out.splitlines()
    assert first.startswith("12 s ago  evicted")
    assert max(map(len, [first, *further])) <= 40
    assert all(line.startswith(" " * 10) and line[10] != " " for line in further)
    assert " ".join([first, *(line.strip() for line in further)]) == TEXT


def test_in_a_pipe_it_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    show.line(TEXT, 10)
    assert capsys.readouterr().out == TEXT + "\n"
