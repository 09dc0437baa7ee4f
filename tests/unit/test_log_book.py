"""Logs: a line for each record, written into files aside; a slow, full or missing disk costs lines and no time."""

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from vramd_supervisor.workers import log_book, workers
from vramd_supervisor.workers.log_book import (
    LINE_BYTES,
    MOST_TRACEBACK_LINES,
    WAITING_BYTES,
    LineFormatter,
    LogBook,
    OwnLogHandler,
    Splitter,
)
from vramd_supervisor.workers.process import ChildProcess
from vramd_supervisor.workers.workers import Worker


@pytest.fixture(autouse=True)
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that gets its turn late has not failed."""
    monkeypatch.setattr(log_book, "FLUSH_S", 30.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture
def handler(folder: Path) -> Iterator[tuple[LogBook, logging.Logger]]:
    logs, event_loop = LogBook(folder), asyncio.new_event_loop()
    own = OwnLogHandler(logs.own, event_loop)
    logger = logging.getLogger("test_log_book")
    logger.addHandler(own)
    yield logs, logger
    logger.removeHandler(own)
    event_loop.close()


def test_a_line_that_is_taken_in_behind_the_handover_is_in_the_models_file(folder: Path) -> None:
    logs = LogBook(folder)
    worker = Worker(1, logs.spare)
    worker.printed(["early"])
    worker.give_log(logs.of("a"))
    worker.printed(["early too"])
    logs.settle()
    assert (folder / "models" / "a.log").read_text("utf-8") == "early\nearly too\n"
    assert list(logs.of("a").lines) == ["early", "early too"]


@pytest.mark.parametrize(
    ("lines_at_s", "ends_s"),
    [({}, 3.0), ({1: ["late"]}, 1.5), ({1: ["late"], 1.5: ["slow"]}, 2.0), ({n / 2: ["on"] for n in range(9)}, 3.0)],
)
def test_what_a_process_prints_before_it_is_ended_may_come_late_but_not_for_ever(
    folder: Path, lines_at_s: dict[float, list[str]], ends_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "DUMP_S", 0.5)
    worker, now_s = Worker(1, LogBook(folder).spare), 0.0

    async def exit_within(within_s: float) -> bool:
        nonlocal now_s
        now_s += within_s
        if lines := lines_at_s.get(now_s):
            worker.printed(lines)
        return False

    asyncio.run(worker.dumped(cast(ChildProcess, SimpleNamespace(exit_within=exit_within)), lambda: now_s))
    assert now_s == ends_s


def test_each_log_has_its_file_and_lines_keep_their_order(
    handler: tuple[LogBook, logging.Logger], folder: Path
) -> None:
    logs, logger = handler
    for number in range(100):
        logger.warning("line %d", number)
        logs.of("coder").write(b"%d\n" % number)
    logs.settle()
    assert (folder / "supervisor.log").read_text("utf-8") == "".join(f"line {number}\n" for number in range(100))
    assert (folder / "models" / "coder.log").read_text("utf-8") == "".join(f"{number}\n" for number in range(100))


@pytest.mark.skipif(sys.platform == "win32", reason="a FIFO stands for a disk that is gone")
def test_a_disk_that_hangs_costs_what_does_not_fit_and_that_is_told(
    handler: tuple[LogBook, logging.Logger], folder: Path
) -> None:
    if sys.platform != "win32":
        logs, logger = handler
        file = folder / "models" / "coder.log"
        os.mkfifo(file)
        piece = b"x" * 65536
        pieces = 2 * WAITING_BYTES // len(piece)
        for _ in range(pieces):
            logs.of("coder").write(piece)
        logger.warning("this is lost, too")
        with file.open("rb") as reader:
            read = 0
            while read < WAITING_BYTES:
                read += len(reader.read(len(piece)))
            logs.settle()
        missing = pieces - read // len(piece) + 1
        assert (folder / "supervisor.log").read_text("utf-8") == (
            f"{missing} pieces of output are missing from these logs: the disk did not take them\n"
        )


def test_a_folder_that_is_gone_is_told_once_and_used_again_when_it_is_there(
    handler: tuple[LogBook, logging.Logger], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs, _ = handler
    (folder / "models").rmdir()
    for _ in range(3):
        logs.of("coder").write(b"lost\n")
    logs.settle()
    told = [record.levelname for record in caplog.records]
    assert told == ["WARNING"]
    (folder / "models").mkdir()
    logs.of("coder").write(b"kept\n")
    logs.settle()
    assert (folder / "models" / "coder.log").read_bytes() == b"kept\n"


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
