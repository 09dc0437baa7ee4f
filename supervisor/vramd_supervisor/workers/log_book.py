"""The output of workers: its end in memory, all of it (up to a bound) in a file per model."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from vramd_common.printable import bounded, one_line, printable
from vramd_common.rendezvous import log_name

from ..threads.queued_writer import FLUSH_S, QueuedWriter

_log = logging.getLogger(__name__)

RING_LINES = 2000
LINE_BYTES = 8 * 1024
FILE_BYTES = 4 * 1024 * 1024
WAITING_BYTES = 4 * 1024 * 1024
"""Held for a disk that is slow or gone, of all logs together."""

MOST_TRACEBACK_LINES = 200


def printed(raw: bytes) -> str:
    """A line of a worker as it is safe to show. What is no UTF-8 is replaced; tabs stay."""
    return printable(raw.decode("utf-8", "replace").rstrip("\r"), keep="\t")


def as_text(lines: Sequence[str]) -> bytes:
    """Lines as a file has them."""
    return "".join(f"{line}\n" for line in lines).encode()


class LineFormatter(logging.Formatter):
    """One line for a record, with whatever names and messages, and further in a line for each of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname} {one_line(record.getMessage(), LINE_BYTES)}"
        if not record.exc_info or record.exc_info[0] is None:
            return line
        trace = self.formatException(record.exc_info).split("\n")[-MOST_TRACEBACK_LINES:]
        return "\n".join((line, *(f"    {bounded(step, LINE_BYTES)}" for step in trace)))


class Log:
    """The lines of one model, over all its processes."""

    def __init__(self, file: Path, files: "QueuedWriter[tuple[Log, bytes]]") -> None:
        """`files` has `keep` called for what is written."""
        self.file = file
        self._files = files
        self.lines: deque[str] = deque(maxlen=RING_LINES)
        self._followers: set[asyncio.Queue[str | None]] = set()
        self._failing = False

    def add(self, lines: Sequence[str]) -> None:
        """Takes lines in. From the loop's thread only."""
        self.lines.extend(lines)
        for follower in self._followers:
            for line in lines:
                _push(follower, line)

    def close(self) -> None:
        """Nothing more comes: who follows gets what is left, then the end."""
        for follower in self._followers:
            _push(follower, None)

    def write(self, data: bytes) -> None:
        """Adds to the file, in a while; never waits. From any thread."""
        self._files.put((self, data), len(data))

    def keep(self, data: bytes) -> None:
        """Adds to the file; one earlier file of full size is kept. A disk that takes no more is logged once. Blocks."""
        try:
            if self.file.exists() and self.file.stat().st_size > FILE_BYTES:
                self.file.replace(self.file.with_suffix(".old.log"))
            with self.file.open("ab") as out:
                out.write(data)
            self._failing = False
        except OSError as error:
            if not self._failing:
                _log.warning("what workers print cannot be kept in %s: %s", self.file, error)
            self._failing = True

    async def tail(self, lines: int, *, follow: bool) -> AsyncGenerator[str, None]:
        """The last lines, then what comes, if that is wanted. A reader that is too slow misses the oldest."""
        news: asyncio.Queue[str | None] = asyncio.Queue(RING_LINES)
        if follow:
            self._followers.add(news)
        try:
            for line in list(self.lines)[max(0, len(self.lines) - lines) :]:
                yield line
            while follow and (line_or_end := await news.get()) is not None:
                yield line_or_end
        finally:
            self._followers.discard(news)


def _push(follower: "asyncio.Queue[str | None]", line: str | None) -> None:
    """Never waits: what is oldest makes room."""
    if follower.full():
        follower.get_nowait()
    follower.put_nowait(line)


class LogBook:
    """The supervisor's own log, and those of all models."""

    def __init__(self, folder: Path) -> None:
        """`folder` is there, with a folder `models` in it."""
        self._folder = folder / "models"
        self._logs: dict[str, Log] = {}
        self._files: QueuedWriter[tuple[Log, bytes]] = QueuedWriter("logs", _keep, WAITING_BYTES, self._loss)
        self.own = Log(folder / "supervisor.log", self._files)
        self.spare = Log(folder / "spare.log", self._files)
        """Log of workers that have no model yet."""

    def of(self, model: str) -> Log:
        if model not in self._logs:
            self._logs[model] = Log(self._folder / f"{log_name(model)}.log", self._files)
        return self._logs[model]

    def close(self) -> None:
        """Nothing more is printed by anybody."""
        for log in (self.own, *self._logs.values()):
            log.close()

    def settle(self) -> None:
        """Waits, bounded, until the files have all that was written."""
        self._files.flush(FLUSH_S)

    def _loss(self, lost: int) -> tuple[Log, bytes]:
        return self.own, f"{lost} pieces of output are missing from these logs: the disk did not take them\n".encode()


def _keep(piece: tuple[Log, bytes]) -> None:
    log, data = piece
    log.keep(data)


class Splitter:
    """Cuts a byte stream into lines of bounded length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now, and pieces of those that are too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [
            printed(line[start : start + LINE_BYTES])
            for line in lines
            for start in range(0, max(1, len(line)), LINE_BYTES)
        ]

    def close(self) -> list[str]:
        """The line that has no end yet."""
        rest, self._rest = self._rest, b""
        return [printed(rest)] if rest else []


class OwnLogHandler(logging.Handler):
    """Writes what the supervisor logs into its own log; from whichever thread."""

    def __init__(self, own: Log, event_loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._own = own
        self._event_loop = event_loop

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == __name__:
            return  # what is wrong with the log cannot be told in the log
        lines = self.format(record).split("\n")
        self._own.write(as_text(lines))
        # The loop may be closed by now: then there are no followers.
        with contextlib.suppress(RuntimeError):
            self._event_loop.call_soon_threadsafe(self._own.add, lines)
