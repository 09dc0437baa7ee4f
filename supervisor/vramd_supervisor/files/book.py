"""A SQLite file that outlives the supervisor: opened for each use, set aside if it cannot be used.

A rollback journal rather than a write-ahead log: writes are few, the file can be read where nothing
can be written, and with `synchronous = FULL` neither a kill nor a power cut costs more than the write it falls into.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .private import tighten

_log = logging.getLogger(__name__)

_Found = TypeVar("_Found")

BUSY_S = 5.0
_SET_ASIDE_AT_MOST = 99
_COMPANIONS = ("-journal", "-wal", "-shm")
"""Files that SQLite keeps beside a book while it is written; they get the book's mode."""


@dataclass(frozen=True)
class Layout:
    """The tables of a kind of book, and the words of its warnings."""

    number: int
    """Kept as `user_version`. A book with another number was written by another vramd."""
    tables: Mapping[str, str]
    """Name → its columns, in SQL."""
    lost: str
    """The loss if the file can be neither read nor written, in words."""
    begun_again: str
    """The consequence of beginning a new book, in words."""


class UnusableBookError(Exception):
    """The file is no book that this vramd can use; the text says why."""


class Book:
    """One file of one layout. Several supervisors may use it at once.

    Every call opens the file and may be made from any thread; it takes milliseconds, and up to `busy_s` while
    another supervisor writes. A file that cannot be used is set aside with a warning and a new one begun. Where nothing
    can be read or written, that is logged once and nothing is remembered; no call raises for it.
    """

    def __init__(self, path: Path, layout: Layout, busy_s: float) -> None:
        self._path = path
        self._layout = layout
        self._busy_s = busy_s
        self._examined = False
        self._failing = ""

    def use(self, purpose: str, work: Callable[[sqlite3.Connection], _Found], nothing: _Found) -> _Found:
        """Returns what `work` gives with the open book; `nothing` where that fails. `purpose` is "read" or "written".

        `work` may be called twice: with a book that turns out to be unusable, for which it may raise
        UnusableBookError itself, then with a new one.
        """
        try:
            try:
                found = self._attempt(work)
            except UnusableBookError as error:
                self._set_aside(str(error))
                found = self._attempt(work)
        except (OSError, sqlite3.Error, UnusableBookError) as error:
            if not self._failing:
                _log.warning("%s: %s cannot be %s: %s", self._layout.lost, self._path, purpose, error)
                self._failing = purpose
            return nothing
        if self._failing == purpose:
            self._failing = ""
        return found

    def _attempt(self, work: Callable[[sqlite3.Connection], _Found]) -> _Found:
        """Raises UnusableBookError for a damaged or strange file, OSError or sqlite3.Error for all else."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._examined:
            for path in (self._path, *(self._with(end) for end in _COMPANIONS)):
                tighten(path)
        try:
            with closing(sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None)) as book:
                # A damaged name is never asked for; it must not keep the rest from being read.
                book.text_factory = lambda raw: raw.decode("utf-8", "replace")
                book.execute("PRAGMA synchronous = FULL")
                book.execute("PRAGMA foreign_keys = ON")
                self._examine(book)
                return work(book)
        except sqlite3.DatabaseError as error:
            # Its subclasses tell of a fault of the disk, the system or this module; itself, of the file's content.
            if type(error) is sqlite3.DatabaseError:
                raise UnusableBookError(str(error)) from error
            raise

    def _with(self, end: str) -> Path:
        return self._path.with_name(self._path.name + end)

    def _examine(self, book: sqlite3.Connection) -> None:
        number, tables = _found(book)
        if number == 0 and not tables:
            _begin(book, self._layout)
        elif number != self._layout.number:
            raise UnusableBookError(f"its layout is number {number}, this vramd knows number {self._layout.number}")
        elif tables != set(self._layout.tables):
            raise UnusableBookError(f"it has the tables {', '.join(sorted(tables))}")
        elif not self._examined:
            [[answer]] = book.execute("PRAGMA quick_check(1)").fetchall()
            if answer != "ok":
                raise UnusableBookError(answer.splitlines()[-1])
        self._examined = True

    def _set_aside(self, why: str) -> None:
        numbers = range(1, _SET_ASIDE_AT_MOST + 1)
        asides = [self._path.with_name(f"{self._path.name}.unusable-{number}") for number in numbers]
        aside = next((path for path in asides if not path.exists()), asides[-1])
        # There is no journal to take along: SQLite used it up before it read what turned out to be unusable.
        self._path.replace(aside)
        _log.warning(
            "%s cannot be used: %s; it is kept as %s and a new one begun, %s",
            self._path,
            why,
            aside,
            self._layout.begun_again,
        )


def _found(book: sqlite3.Connection) -> tuple[int, set[str]]:
    """The number of the layout, and the tables; both of one moment, as another supervisor may just begin the book."""
    with book:
        book.execute("BEGIN")
        [[number]] = book.execute("PRAGMA user_version").fetchall()
        tables = book.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return number, {name for (name,) in tables}


def _begin(book: sqlite3.Connection, layout: Layout) -> None:
    with book:
        book.execute("BEGIN IMMEDIATE")
        for name, columns in layout.tables.items():
            book.execute(f"CREATE TABLE IF NOT EXISTS {name} {columns}")
        book.execute(f"PRAGMA user_version = {layout.number}")
