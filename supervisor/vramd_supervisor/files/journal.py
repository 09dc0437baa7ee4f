"""Keeps decisions in a SQLite file that outlives the supervisor."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vramd_common.printable import bounded, one_line

from ..domain.causes import Cause
from ..domain.decisions import Decision, DecisionKind, Rejected
from .book import BUSY_S, Book, Layout, UnusableBookError

LAYOUT = 4
"""Counts up when the tables, or the kinds of decisions and causes, change."""
ROWS_KEPT = 20_000
BYTES_KEPT = 16 << 20
MOST_TEXT_BYTES = 8 << 10
MOST_UNWRITTEN = 1000

_FORGOTTEN_AT_ONCE = 10
"""The share that is forgotten at once when there are too many bytes, so that it happens rarely."""

_TABLES = {
    # Only the oldest are ever deleted: the numbers are without gaps, and none is used again.
    "decisions": """(
        number INTEGER PRIMARY KEY,
        time_s REAL NOT NULL,
        kind TEXT NOT NULL,
        model TEXT NOT NULL,
        worker_id INTEGER NOT NULL,
        for_whom TEXT NOT NULL,
        cause TEXT NOT NULL,
        message TEXT NOT NULL,
        reason TEXT NOT NULL,
        numbers TEXT NOT NULL,
        rejected TEXT NOT NULL
    )""",
}

_COLUMNS = "time_s, kind, model, worker_id, for_whom, cause, message, reason, numbers, rejected"
_APPEND = f"INSERT INTO decisions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  names of ours
_NEWEST = f"""
    SELECT number, {_COLUMNS} FROM decisions WHERE ?1 IN ('', model) ORDER BY number DESC LIMIT ?2
"""  # noqa: S608  names of ours
_SPAN = "SELECT coalesce(min(number), 1), coalesce(max(number), 0) FROM decisions"
_FORGET = "DELETE FROM decisions WHERE number < ?"


@dataclass(frozen=True)
class Record:
    """One decision as the journal has it."""

    number: int
    """Counts up, over restarts too."""
    time_s: float
    """Unix time."""
    decision: Decision


class Journal:
    """The last decisions; see `Book` for how long calls take, and what becomes of a file that is damaged.

    The oldest are forgotten past `rows_kept`, and past `bytes_kept` of the file; the last one stays, however large.
    """

    def __init__(
        self, path: Path, rows_kept: int = ROWS_KEPT, bytes_kept: int = BYTES_KEPT, busy_s: float = BUSY_S
    ) -> None:
        self.path = path
        self.rows_kept = rows_kept
        self._bytes_kept = bytes_kept
        layout = Layout(LAYOUT, _TABLES, "decisions are not kept", "so what was decided before is not listed")
        self._book = Book(path, layout, busy_s)
        self._unwritten: list[tuple[float, Decision]] = []
        """Records that could not be written yet."""

    def append(self, decided: Sequence[tuple[float, Decision]]) -> None:
        """Adds decisions in this order, each with its Unix time. What the file does not take now is kept for it."""
        waiting = [*self._unwritten, *decided]
        rows = [_row(time_s, decision) for time_s, decision in waiting]

        def work(book: sqlite3.Connection) -> bool:
            with book:
                book.execute("BEGIN IMMEDIATE")
                book.executemany(_APPEND, rows)
                self._forget(book)
            return True

        self._unwritten = [] if self._book.use("written", work, False) else waiting[-MOST_UNWRITTEN:]

    def newest(self, model: str, limit: int) -> list[Record]:
        """At most `limit` decisions about a model, or about all for an empty id; newest first."""
        written = self._read(model, limit)
        if not self._unwritten:
            return written
        last = next((record.number for record in self._read("", 1)), 0)
        # As the file would give it back.
        kept = [_record(number, *_row(*one)) for number, one in enumerate(self._unwritten, last + 1)]
        return [*(record for record in reversed(kept) if model in ("", record.decision.model)), *written][:limit]

    def _read(self, model: str, limit: int) -> list[Record]:
        return self._book.use("read", lambda book: _read(book, model, limit), [])

    def _forget(self, book: sqlite3.Connection) -> None:
        """In the transaction that has added something."""
        [(_, last)] = book.execute(_SPAN).fetchall()
        book.execute(_FORGET, (last - self.rows_kept + 1,))
        while _used_bytes(book) > self._bytes_kept:
            [(first, last)] = book.execute(_SPAN).fetchall()
            if first >= last:
                return
            book.execute(_FORGET, (first + 1 + (last - first) // _FORGOTTEN_AT_ONCE,))


def _used_bytes(book: sqlite3.Connection) -> int:
    """Returns the bytes of the file, without the pages that further decisions will take."""
    [pages, free, page_bytes] = (
        book.execute(f"PRAGMA {name}").fetchall()[0][0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_bytes)


def _row(time_s: float, decision: Decision) -> tuple[float, str, str, int, str, str, str, str, str, str]:
    return (
        time_s,
        decision.kind.value,
        _name(decision.model),
        decision.worker_id,
        _name(decision.for_whom),
        decision.cause.name if decision.cause else "",
        _words(decision.message),
        decision.reason,
        json.dumps(dict(decision.numbers)),
        json.dumps([[_name(one.what), _words(one.why)] for one in decision.rejected]),
    )


def _name(text: str) -> str:
    """An id or label as it can be kept and shown."""
    return bounded(text, MOST_TEXT_BYTES)


def _words(text: str) -> str:
    """A message as it can be kept and shown. The room of one decision has a bound, or it would push out the others."""
    return one_line(text, MOST_TEXT_BYTES)


def _read(book: sqlite3.Connection, model: str, limit: int) -> list[Record]:
    try:
        return [_record(*row) for row in book.execute(_NEWEST, (model, limit)).fetchall()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableBookError(f"a decision in it cannot be read: {error}") from error


def _record(
    number: int,
    time_s: float,
    kind: str,
    model: str,
    worker_id: int,
    for_whom: str,
    cause: str,
    message: str,
    reason: str,
    numbers: str,
    rejected: str,
) -> Record:
    """Raises ValueError, KeyError, TypeError or AttributeError for what was never written so."""
    amounts = {str(name): float(amount) for name, amount in json.loads(numbers).items()}
    others = tuple(Rejected(_name(what), _words(why)) for what, why in json.loads(rejected))
    why = Cause[cause] if cause else None
    made = Decision(DecisionKind(kind), model, message, worker_id, for_whom, amounts, others, why, reason)
    return Record(number, time_s, made)
