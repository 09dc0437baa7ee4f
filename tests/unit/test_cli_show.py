"""Lines for people: broken between words on a terminal, whole in a pipe."""

import sys

import pytest
import vramd
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


def test_a_receipt_names_what_could_not_be_seen_apart() -> None:
    seen = vramd.DeviceReceipt("host", 40 << 20, 25 << 20, "its share of memory before the end")
    unseen = vramd.DeviceReceipt("card", 5 << 30, None, "a virtual device has no bytes")
    given = vramd.Receipt("a", 1, 7, "left", 0.1, 0.0, (5 << 30) + (40 << 20), 25 << 20, "", (seen, unseen))
    told = "25.0 MiB came back of 40.0 MiB reserved; 5.0 GiB on card: a virtual device has no bytes"
    assert show.receipt(given).endswith(told)


@pytest.mark.parametrize(
    ("ahead", "message", "words"),
    [
        (0, "waits until one of these is idle: a", "waits until one of these is idle: a"),
        (3, "waits until one of these is idle: a", "waits: 3 ahead; until one of these is idle: a"),
        (0, "reads the weights", "waits: reads the weights"),
        (0, "", "waits"),
    ],
)
def test_nobody_waits_twice_in_a_sentence(ahead: int, message: str, words: str) -> None:
    assert show.waiting_words(vramd.Waiting(ahead, message, None)) == words
