"""Keeps what loads were seen to take, in one SQLite file that outlives the supervisor. Decides nothing.

A rollback journal rather than a write-ahead log: there are a few writes in an hour, the file can be read where nothing
can be written, and with `synchronous = FULL` neither a kill nor a power cut costs more than the write it falls into.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from ..core.learning import LOADS_KEPT, Lessons, Observation, Place, learn

_log = logging.getLogger(__name__)

_Found = TypeVar("_Found")

LAYOUT = 1
"""Of the tables, as `user_version`. A book with another number was written by another vramd."""
KEYS_KEPT = 1000
BUSY_S = 5.0
_SET_ASIDE_AT_MOST = 99

_TABLES = {
    "keys": """(
        number INTEGER PRIMARY KEY,
        text TEXT NOT NULL UNIQUE,
        used INTEGER NOT NULL
    )""",
    "observations": """(
        number INTEGER PRIMARY KEY,
        load TEXT NOT NULL,
        key INTEGER NOT NULL REFERENCES keys ON DELETE CASCADE,
        device TEXT NOT NULL,
        driver TEXT NOT NULL,
        build TEXT NOT NULL,
        engine_bytes INTEGER NOT NULL CHECK (typeof(engine_bytes) = 'integer'),
        measured_bytes INTEGER NOT NULL CHECK (typeof(measured_bytes) = 'integer'),
        peak_bytes INTEGER NOT NULL CHECK (typeof(peak_bytes) = 'integer'),
        UNIQUE (load, device)
    )""",
    "bumps": """(
        key INTEGER NOT NULL REFERENCES keys ON DELETE CASCADE,
        device TEXT NOT NULL,
        UNIQUE (key, device)
    )""",
}

_USE_KEY = """
    INSERT INTO keys (text, used) VALUES (?, (SELECT coalesce(max(used), 0) + 1 FROM keys))
    ON CONFLICT (text) DO UPDATE SET used = excluded.used
"""
_FORGET_KEYS = "DELETE FROM keys WHERE number NOT IN (SELECT number FROM keys ORDER BY used DESC LIMIT ?)"
_OBSERVE = """
    INSERT INTO observations (load, key, device, driver, build, engine_bytes, measured_bytes, peak_bytes)
    VALUES (?, (SELECT number FROM keys WHERE text = ?), ?, ?, ?, ?, ?, ?)
    ON CONFLICT (load, device) DO UPDATE SET peak_bytes = max(peak_bytes, excluded.peak_bytes)
"""
_FORGET_OBSERVATIONS = """
    DELETE FROM observations WHERE number IN (
        SELECT observations.number FROM observations JOIN keys ON keys.number = observations.key
        WHERE text = ? AND device = ? ORDER BY observations.number DESC LIMIT -1 OFFSET ?
    )
"""
_BUMP = "INSERT OR IGNORE INTO bumps (key, device) VALUES ((SELECT number FROM keys WHERE text = ?), ?)"
_READ_OBSERVATIONS = """
    SELECT text, device, driver, build, engine_bytes, measured_bytes, peak_bytes
    FROM observations JOIN keys ON keys.number = observations.key ORDER BY observations.number
"""
_READ_BUMPS = "SELECT text, device FROM bumps JOIN keys ON keys.number = bumps.key"


class _UnusableBookError(Exception):
    """The file is no book that this vramd can use; the text says why."""


class MemoryBook:
    """One file of observations. Several supervisors may use it at once.

    Every call opens the file anew and may be made from any thread; it takes milliseconds, and up to `busy_s` while
    another supervisor writes. A file that cannot be used is set aside with a warning and a new one begun. Where nothing
    can be read or written, that is logged once and nothing is remembered; no call raises for it.
    """

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        self._path = path
        self._busy_s = busy_s
        self._examined = False
        self._failing = ""

    def lessons(self) -> Lessons:
        """All that was learned so far; nothing, where nothing can be read."""
        return self._use("read", _read, Lessons())

    def record(self, load: str, key: str, seen: Iterable[Observation]) -> None:
        """Adds what a load took on its devices: all of it or nothing. Disturbed observations are left out.

        `load` is the load's own name, unlike that of any other load ever. Recorded again, what it takes by then
        may raise its peaks; the rest stays as it was at first.
        """
        useful = [one for one in seen if not one.disturbed]
        if useful:
            self._use("written", lambda book: _write_observations(book, load, key, useful), None)

    def bump(self, key: str, device: str) -> None:
        """Notes that a device ran out of memory while a model with this key was in use; twice is the same as once."""
        self._use("written", lambda book: _write_bump(book, key, device), None)

    def _use(self, purpose: str, work: Callable[[sqlite3.Connection], _Found], nothing: _Found) -> _Found:
        try:
            try:
                found = self._attempt(work)
            except _UnusableBookError as error:
                self._set_aside(str(error))
                found = self._attempt(work)
        except (OSError, sqlite3.Error, _UnusableBookError) as error:
            if not self._failing:
                _log.warning("what loads take is not remembered: %s cannot be %s: %s", self._path, purpose, error)
                self._failing = purpose
            return nothing
        if self._failing == purpose:
            self._failing = ""
        return found

    def _attempt(self, work: Callable[[sqlite3.Connection], _Found]) -> _Found:
        """Raises _UnusableBookError for a damaged or strange file, OSError or sqlite3.Error for all else."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path, timeout=self._busy_s, isolation_level=None)) as book:
                # A damaged name is one that nobody asks for; it must not keep the rest from being read.
                book.text_factory = lambda raw: raw.decode("utf-8", "replace")
                book.execute("PRAGMA synchronous = FULL")
                book.execute("PRAGMA foreign_keys = ON")
                self._examine(book)
                return work(book)
        except sqlite3.DatabaseError as error:
            # Its subclasses tell of a fault of the disk, the system or this module; itself, of the file's content.
            if type(error) is sqlite3.DatabaseError:
                raise _UnusableBookError(str(error)) from error
            raise

    def _examine(self, book: sqlite3.Connection) -> None:
        layout, tables = _layout(book)
        if layout == 0 and not tables:
            _begin_book(book)
        elif layout != LAYOUT:
            raise _UnusableBookError(f"its layout is number {layout}, this vramd knows number {LAYOUT}")
        elif tables != set(_TABLES):
            raise _UnusableBookError(f"it has the tables {', '.join(sorted(tables))}")
        elif not self._examined:
            [[answer]] = book.execute("PRAGMA quick_check(1)").fetchall()
            if answer != "ok":
                raise _UnusableBookError(answer.splitlines()[-1])
        self._examined = True

    def _set_aside(self, why: str) -> None:
        numbers = range(1, _SET_ASIDE_AT_MOST + 1)
        asides = [self._path.with_name(f"{self._path.name}.unusable-{number}") for number in numbers]
        aside = next((path for path in asides if not path.exists()), asides[-1])
        # There is no journal to take along: SQLite used it up before it read what turned out to be unusable.
        self._path.replace(aside)
        _log.warning(
            "%s cannot be used: %s; it is kept as %s and a new one begun, so loads have to be learned again",
            self._path,
            why,
            aside,
        )


def _layout(book: sqlite3.Connection) -> tuple[int, set[str]]:
    """The number of the layout, and the tables; both of one moment, as another supervisor may just begin the book."""
    with book:
        book.execute("BEGIN")
        [[layout]] = book.execute("PRAGMA user_version").fetchall()
        tables = book.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return layout, {name for (name,) in tables}


def _begin_book(book: sqlite3.Connection) -> None:
    with book:
        book.execute("BEGIN IMMEDIATE")
        for name, columns in _TABLES.items():
            book.execute(f"CREATE TABLE IF NOT EXISTS {name} {columns}")
        book.execute(f"PRAGMA user_version = {LAYOUT}")


def _read(book: sqlite3.Connection) -> Lessons:
    with book:
        book.execute("BEGIN")
        rows = book.execute(_READ_OBSERVATIONS).fetchall()
        bumps = book.execute(_READ_BUMPS).fetchall()
    seen = ((key, Observation(Place(device, driver, build), *sizes)) for key, device, driver, build, *sizes in rows)
    return learn(seen, bumps)


def _write_observations(book: sqlite3.Connection, load: str, key: str, seen: Iterable[Observation]) -> None:
    with book:
        book.execute("BEGIN IMMEDIATE")
        _use_key(book, key)
        for one in seen:
            place = (one.place.device, one.place.driver, one.place.build)
            sizes = (one.engine_bytes, one.measured_bytes, one.most_bytes)
            book.execute(_OBSERVE, (load, key, *place, *sizes))
            book.execute(_FORGET_OBSERVATIONS, (key, one.place.device, LOADS_KEPT))


def _write_bump(book: sqlite3.Connection, key: str, device: str) -> None:
    with book:
        book.execute("BEGIN IMMEDIATE")
        _use_key(book, key)
        book.execute(_BUMP, (key, device))


def _use_key(book: sqlite3.Connection, key: str) -> None:
    book.execute(_USE_KEY, (key,))
    book.execute(_FORGET_KEYS, (KEYS_KEPT,))
