"""What is logged: one line for each record, whatever is in it, and workers' lines as they can be shown."""

import logging
import sys

import pytest
from vramd_supervisor.workers.log_book import LINE_BYTES, MOST_TRACEBACK_LINES, LineFormatter, Splitter

FORGED = "2026-01-01 00:00:00,000 INFO forged"


def formatted(message: str, *, fault: Exception | None = None) -> list[str]:
    record = logging.LogRecord("vramd", logging.WARNING, "file.py", 1, "%s is asked for", (message,), None)
    if fault is not None:
        try:
            raise fault
        except Exception:
            record.exc_info = sys.exc_info()
    return LineFormatter().format(record).split("\n")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\x1b[1G", "\u202e", "\udcff\n"])
def test_a_record_is_one_line_whatever_a_name_has_in_it(end: str) -> None:
    [line] = formatted(f"gpu9{end}{FORGED}")
    assert line.isprintable()
    assert " WARNING gpu9" in line
    assert line.endswith("forged is asked for")


def test_a_record_has_a_bound() -> None:
    [line] = formatted("x" * 4_000_000)
    assert len(line) < LINE_BYTES + 100


def test_what_an_exception_says_begins_no_line_of_the_log() -> None:
    lines = formatted("gpu9", fault=ValueError(f"bad\n{FORGED}\n\x1b[31m" + "y\n" * 1000))
    assert len(lines) == 1 + MOST_TRACEBACK_LINES
    assert all(line.startswith("    ") and line.isprintable() for line in lines[1:])


def test_lines_of_a_worker_keep_their_tabs_and_nothing_that_a_terminal_obeys() -> None:
    splitter = Splitter()
    raw = "a\tb\r\n\x1b]0;x\x07\u202ec\u2028d\x9b1m\n".encode() + b"\xff\n"
    assert splitter.feed(raw) == ["a\tb", "\\x1b]0;x\\x07\\u202ec\\u2028d\\x9b1m", "\ufffd"]
