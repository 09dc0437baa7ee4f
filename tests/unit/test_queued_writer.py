"""What is written aside: whoever writes never waits, and what is lost is told."""

import os
import sys
import threading

import pytest
from vramd_supervisor.threads.queued_writer import OutputStream, QueuedWriter

BOUND_S = 30.0


class Gate:
    """A writer that goes on when it is let."""

    def __init__(self) -> None:
        self.writing, self.goes_on = threading.Event(), threading.Event()
        self.written: list[str] = []
        self.fails = False

    def __call__(self, item: str) -> None:
        self.writing.set()
        assert self.goes_on.wait(BOUND_S)
        if self.fails:
            raise BrokenPipeError(32, "Broken pipe")
        self.written.append(item)


def queued(gate: Gate, most: int = 3) -> QueuedWriter[str]:
    return QueuedWriter("test", gate, most, lambda lost: f"{lost} lost")


def test_what_does_not_fit_is_dropped_and_counted_in_its_place() -> None:
    gate = Gate()
    one = queued(gate)
    taken = [one.put(str(number), 1) for number in range(10)]
    assert gate.writing.wait(BOUND_S)
    assert taken == [True] * 3 + [False] * 7
    assert not one.flush(0.01)
    gate.goes_on.set()
    assert one.flush(BOUND_S)
    assert one.put("later", 1)
    assert one.flush(BOUND_S)
    assert gate.written == ["0", "1", "2", "7 lost", "later"]


def test_nothing_more_is_taken_between_a_loss_and_its_telling() -> None:
    gate = Gate()
    one = queued(gate, most=10)
    assert one.put("a", 6)
    assert not one.put("too large", 6)
    assert not one.put("b", 1)
    gate.goes_on.set()
    assert one.flush(BOUND_S)
    assert gate.written == ["a", "2 lost"]


def test_a_reader_that_is_gone_costs_what_comes_and_is_told_when_writing_goes_on() -> None:
    gate = Gate()
    gate.goes_on.set()
    gate.fails = True
    one = queued(gate)
    for item in ("a", "b"):
        assert one.put(item, 1)
        assert one.flush(BOUND_S)
    gate.fails = False
    assert one.put("c", 1)
    assert one.flush(BOUND_S)
    assert gate.written == ["c", "2 lost"]


def test_without_a_thread_nothing_is_lost_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    gate = Gate()
    gate.goes_on.set()
    one = queued(gate)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        assert one.put("a", 1)
    assert one.put("b", 1)
    assert one.flush(BOUND_S)
    assert gate.written == ["a", "b"]


def test_a_pipe_that_nobody_reads_is_written_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that its other end has made non-blocking."""
    read_fd, write_fd = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(write_fd, False)
    with os.fdopen(write_fd, "w", encoding="utf-8") as pipe, os.fdopen(read_fd, "rb", buffering=0) as reader:
        stream = OutputStream(pipe)
        line = "ü" * 1000 + "\n"
        for _ in range(2000):  # 4 MB: more than a pipe and the stream hold
            assert stream.write(line) == len(line)
        read = b""
        while b"they were not read\n" not in read:
            read += reader.read(65536)
    *lines, told, _ = read.decode().split("\n")
    assert set(lines) == {line.rstrip()}
    assert told == f"vramd: {2000 - len(lines)} lines were dropped here: they were not read"
