"""Keeps the measured memory of loads in a SQLite file that outlives the supervisor."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from ..quoting.learning import LOADS_KEPT, LearnedUsage, Observation, Place, learn
from .book import BUSY_S, Book, Layout

LAYOUT = 2
KEYS_KEPT = 1000

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
    INSERT OR IGNORE INTO observations (load, key, device, driver, build, engine_bytes, measured_bytes)
    VALUES (?, (SELECT number FROM keys WHERE text = ?), ?, ?, ?, ?, ?)
"""
_FORGET_OBSERVATIONS = """
    DELETE FROM observations WHERE number IN (
        SELECT observations.number FROM observations JOIN keys ON keys.number = observations.key
        WHERE text = ? AND device = ? ORDER BY observations.number DESC LIMIT -1 OFFSET ?
    )
"""
_BUMP = "INSERT OR IGNORE INTO bumps (key, device) VALUES ((SELECT number FROM keys WHERE text = ?), ?)"
_READ_OBSERVATIONS = """
    SELECT text, device, driver, build, engine_bytes, measured_bytes
    FROM observations JOIN keys ON keys.number = observations.key ORDER BY observations.number
"""
_READ_BUMPS = "SELECT text, device FROM bumps JOIN keys ON keys.number = bumps.key"


class MemoryBook:
    """One file of observations; see `Book` for how long calls take, and what becomes of a file that is damaged."""

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        layout = Layout(LAYOUT, _TABLES, "what loads take is not remembered", "so loads have to be learned again")
        self._book = Book(path, layout, busy_s)

    def lessons(self) -> LearnedUsage:
        """Returns all that was learned so far; nothing if the file cannot be read."""
        return self._book.use("read", _read, LearnedUsage())

    def record(self, load: str, key: str, seen: Iterable[Observation]) -> None:
        """Adds what a load took on its devices: all of it or nothing. Useless observations are left out.

        `load` is the load's own name, unlike that of any other load ever. Recorded again, it stays as it was at first.
        """
        useful = [one for one in seen if not one.useless]
        if useful:
            self._book.use("written", lambda book: _write_observations(book, load, key, useful), None)

    def bump(self, key: str, device: str) -> None:
        """Notes that a device ran out of memory while a model with this key was in use; twice is the same as once."""
        self._book.use("written", lambda book: _write_bump(book, key, device), None)


def _read(book: sqlite3.Connection) -> LearnedUsage:
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
            sizes = (one.engine_bytes, one.measured_bytes)
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
