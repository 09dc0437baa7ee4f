"""Lines for people: broken between words on a terminal, whole in a pipe."""

import ast
import sys
from pathlib import Path

import pytest
import vramd
from vramd_cli import output

TEXT = "12 s ago  evicted for coder: coder lacks 1.2 GiB on gpu0; talker was least-recently used"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def test_on_a_terminal_no_line_is_wider_and_what_follows_is_set_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    output.line(TEXT, 10)
    first, *further = capsys.readouterr().out.splitlines()
    assert first.startswith("12 s ago  evicted")
    assert max(map(len, [first, *further])) <= 40
    assert all(line.startswith(" " * 10) and line[10] != " " for line in further)
    assert " ".join([first, *(line.strip() for line in further)]) == TEXT


def test_in_a_pipe_it_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    output.line(TEXT, 10)
    assert capsys.readouterr().out == TEXT + "\n"


def test_a_receipt_names_what_could_not_be_seen_apart() -> None:
    seen = vramd.DeviceReceipt("host", 40 << 20, 25 << 20, "its share of memory before the end")
    unseen = vramd.DeviceReceipt("card", 5 << 30, None, "a virtual device has no bytes")
    given = vramd.Receipt("a", 1, 7, "ended", 0.1, 0.0, (5 << 30) + (40 << 20), 25 << 20, "", (seen, unseen), "left")
    told = "25.0 MiB came back of 40.0 MiB reserved; 5.0 GiB on card: a virtual device has no bytes"
    assert output.receipt(given).endswith(told)


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
    assert output.waiting_words(vramd.Waiting(ahead, message, None)) == words


HOSTILE = "two\n\x1b[31mforged\u202e\x9b1m"
SHOWN = "two\\n\\x1b[31mforged\\u202e\\x9b1m"


IN_BOTH = pytest.mark.parametrize("terminal", [True, False], ids=["on a terminal", "in a pipe"])


@IN_BOTH
def test_no_name_reaches_the_screen_raw(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    output.table(("MODEL", "KIND"), [(HOSTILE, HOSTILE)], "")
    output.line(HOSTILE)
    output.say(HOSTILE)
    output.failed(HOSTILE)
    printed = capsys.readouterr()
    assert printed.out.count(SHOWN) == 4
    assert printed.err.splitlines() == ["vramd: two", "  \\x1b[31mforged\\u202e\\x9b1m"]
    assert not {"\x1b", "\u202e", "\x9b"} & set(printed.out + printed.err)


@IN_BOTH
def test_an_answer_cannot_use_the_terminal_and_goes_through_a_pipe_as_it_is(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    answer = output.Answer()
    pieces = ["\x1b]0;x", "\x07a\r", "\nb\r", "c\td\u202e\x9b1m\x1b[1m", "e\r"]
    for piece in pieces:
        answer.add(piece)
    answer.end()
    safe = "\\x1b]0;x\\x07a\nb\\rc\td\\u202e\\x9b1m\\x1b[1me\\r\n"
    assert capsys.readouterr().out == (safe if terminal else "".join(pieces) + "\n")


def test_a_moving_line_is_printable(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(output, "is_watched", lambda: True)
    with output.progress(HOSTILE) as line:
        line.show("waits\x1b]52;c;x\x07", 0.5)
    printed = capsys.readouterr().err
    assert "\x1b]52" not in printed
    assert "\x1b[31m" not in printed
    assert "\u202e" not in printed


def is_safe(call: ast.Call) -> bool:
    """Nothing, words of ours, or JSON, which is ASCII: by itself, or in the line for a program that starts vramd."""
    if not call.args or isinstance(call.args[0], ast.Constant):
        return True
    said = ast.unparse(call.args[0])
    return said.startswith("json_text(") or (said.startswith("Failed(") and said.endswith(".line()"))


def test_commands_print_through_one_door() -> None:
    folder = Path(output.__file__).parent
    raw = {
        f"{file.name}: {ast.unparse(node)}"
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "print") and not is_safe(node)
    }
    assert {call for call in raw if not call.startswith("output.py")} == set()
