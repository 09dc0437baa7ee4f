"""The memory book: what it keeps, and that neither a kill, a damaged file nor a full disk does harm."""

import logging
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from vramd_supervisor.files import memory_book
from vramd_supervisor.files.memory_book import LAYOUT, MemoryBook
from vramd_supervisor.quoting.learning import LOADS_KEPT, LearnedUsage, Observation, Place, load_bytes, residual_bytes

MIB = 1 << 20
CARD = Place("GPU-1f3e", "550.54.14", "0.3.36 cuda")
RAM = Place("host", "", "0.3.36 cuda")

BUSY_S = 60.0
"""Enough while others write, though a busy machine holds them up."""

WRITER = """
import sys
from pathlib import Path
from vramd_supervisor.quoting.learning import Observation, Place
from vramd_supervisor.files.memory_book import MemoryBook

places = [Place("GPU-1f3e", "550.54.14", "0.3.36 cuda"), Place("host", "", "0.3.36 cuda")]
book = MemoryBook(Path(sys.argv[1]), busy_s=60)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    book.record(f"load {number}", f"key {number}", [Observation(place, 100, 200 + number) for place in places])
    print(number, flush=True)
"""

UNFINISHED_WRITER = """
import sqlite3, sys
book = sqlite3.connect(sys.argv[1], isolation_level=None)
book.execute("PRAGMA cache_size = 1")
book.execute("BEGIN IMMEDIATE")
book.execute("UPDATE observations SET measured_bytes = 1, load = load || ' overwritten'")
book.execute("UPDATE keys SET text = text || ' overwritten'")
print("in the middle", flush=True)
sys.stdin.read()
"""


def on_card(measured: int = 5400) -> Observation:
    return Observation(CARD, 5300 * MIB, measured * MIB)


def on_host(measured: int = 390) -> Observation:
    return Observation(RAM, 300 * MIB, measured * MIB)


def fill(path: Path, loads: int = 3) -> LearnedUsage:
    book = MemoryBook(path)
    for number in range(loads):
        book.record(f"load {number}", "key", [on_card(5400 + number), on_host()])
    return book.lessons()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@contextmanager
def writer(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "memory.sqlite3"


@pytest.fixture
def book(path: Path) -> MemoryBook:
    return MemoryBook(path)


def test_what_was_recorded_is_there_for_the_next_supervisor(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path)
    lessons = MemoryBook(path).lessons()
    assert lessons.residuals_bytes == {CARD: (100 * MIB, 101 * MIB, 102 * MIB), RAM: (90 * MIB,) * 3}
    assert load_bytes(lessons, "key", CARD) == 5401 * MIB
    assert not warnings(caplog)


def test_a_new_book_has_no_lessons(path: Path) -> None:
    assert MemoryBook(path).lessons() == LearnedUsage()


def test_a_load_that_is_recorded_again_stays_as_it_was(book: MemoryBook) -> None:
    for size in (5400, 9900, 5300):
        book.record("one load", "key", [on_card(size)])
        assert book.lessons() == LearnedUsage({CARD: (100 * MIB,)}, {("key", CARD): (5400 * MIB,)})


def test_a_useless_observation_is_not_recorded(book: MemoryBook, path: Path) -> None:
    book.record("load", "key", [Observation(CARD, 5300 * MIB, None), on_host()])
    assert book.lessons().residuals_bytes == {RAM: (90 * MIB,)}
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT device FROM observations").fetchall() == [("host",)]


def test_a_bump_is_kept_and_twice_is_once(book: MemoryBook, path: Path) -> None:
    for _ in range(2):
        book.bump("key", "host")
    book.record("load", "key", [on_card()])
    assert MemoryBook(path).lessons().bumped == {("key", "host")}


def test_the_last_loads_of_a_key_are_kept(path: Path) -> None:
    fill(path, LOADS_KEPT + 2)
    MemoryBook(path).record("load", "another key", [on_card(9000)])
    with closing(sqlite3.connect(path)) as raw:
        counts = raw.execute("SELECT key, device, count(*) FROM observations GROUP BY key, device").fetchall()
        [oldest] = raw.execute("SELECT min(measured_bytes) FROM observations WHERE device != 'host'").fetchone()
    assert sorted(count for _, _, count in counts) == [1, LOADS_KEPT, LOADS_KEPT]
    assert oldest == 5402 * MIB


def test_the_keys_used_last_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_book, "KEYS_KEPT", 3)
    book = MemoryBook(path)
    book.bump("a", "host")
    for load, key in enumerate("abcad"):
        book.record(f"load {load}", key, [on_card()])
    lessons = book.lessons()
    assert {key for key, _ in lessons.loads_bytes} == {"a", "c", "d"}
    assert lessons.bumped == {("a", "host")}
    book.record("load", "e", [on_card()])
    book.record("load", "f", [on_card()])
    assert not book.lessons().bumped
    with closing(sqlite3.connect(path)) as raw:
        for table in ("observations", "bumps"):
            orphans = f"SELECT * FROM {table} WHERE key NOT IN (SELECT number FROM keys)"
            assert raw.execute(orphans).fetchall() == []


def test_a_load_is_recorded_on_all_its_devices_or_on_none(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lessons = fill(path)
    with closing(sqlite3.connect(path)) as raw:
        fault = "BEGIN SELECT raise(ABORT, 'not the host'); END"
        raw.execute(f"CREATE TRIGGER fault BEFORE INSERT ON observations WHEN new.device = 'host' {fault}")
    MemoryBook(path).record("load", "another key", [on_card(), on_host()])
    assert "not the host" in warnings(caplog)[0]
    assert MemoryBook(path).lessons() == lessons


def test_a_kill_in_the_middle_of_writes_loses_nothing_that_was_written(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = 0
    for killed_after in (1, 2, 5, 3, 8, 1, 4, 6):
        # Not for ever: the book forgets its oldest keys, and this process may be held up before it kills that one.
        with writer(WRITER, path, written, written + 100) as process:
            assert process.stdout
            told = [int(process.stdout.readline()) for _ in range(killed_after)]
        kept = MemoryBook(path).lessons()
        numbers = sorted(size - 200 for size in (sizes[0] for sizes in kept.loads_bytes.values()))
        # Both devices of every load up to some load, the last of which may not have been told of.
        assert numbers == sorted(2 * [*range(len(numbers) // 2)])
        assert len(numbers) // 2 > told[-1] == written + killed_after - 1
        assert {key for key, _ in kept.loads_bytes} == {f"key {number}" for number in numbers}
        written = len(numbers) // 2
    assert not warnings(caplog)


def test_a_write_that_a_kill_cut_short_is_undone(
    book: MemoryBook, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(200):
        book.record(f"load {number}", f"key {number}", [on_card(), on_host()])
    before, content = book.lessons(), path.read_bytes()
    with writer(UNFINISHED_WRITER, path) as process:
        assert process.stdout
        assert process.stdout.readline() == "in the middle\n"
    assert path.read_bytes() != content, "the kill did not come in the middle of a write"
    assert MemoryBook(path).lessons() == before
    assert path.read_bytes() == content
    assert not warnings(caplog)


def truncated(path: Path) -> None:
    fill(path)
    path.write_bytes(path.read_bytes()[:5000])


def of_noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def a_few_bytes(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0and no more")


def with_noise_inside(path: Path) -> None:
    fill(path, 20)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def with_text_for_a_number(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("PRAGMA ignore_check_constraints = ON")
        raw.execute("UPDATE observations SET measured_bytes = 'much'")


def with_an_older_layout(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {LAYOUT - 1}")


def with_a_newer_layout(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {LAYOUT + 1}")


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("CREATE TABLE songs (title)")
        raw.execute(f"PRAGMA user_version = {LAYOUT}")


@pytest.mark.parametrize("in_use", [False, True], ids=["at the start", "in use"])
@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (truncated, "malformed"),
        (of_noise, "not a database"),
        (a_few_bytes, "not a database"),
        (with_noise_inside, "malformed|btreeInitPage"),
        (with_an_older_layout, "its layout is number 1"),
        (with_a_newer_layout, "its layout is number 3"),
        (of_another_program, "it has the tables songs"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_cannot_be_used_is_set_aside(
    path: Path, damage: Callable[[Path], None], why: str, in_use: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    book = MemoryBook(path)
    if in_use:
        assert book.lessons() == LearnedUsage()
        path.unlink()
    damage(path)
    content = path.read_bytes()
    assert book.lessons() == LearnedUsage()
    [warning] = warnings(caplog)
    aside = path.with_name("memory.sqlite3.unusable-1")
    assert re.search(why, warning)
    assert str(path) in warning
    assert str(aside) in warning
    assert aside.read_bytes() == content
    for number in range(3):
        book.record(f"load {number}", "key", [on_card()])
    assert residual_bytes(MemoryBook(path).lessons(), CARD) == 100 * MIB
    assert len(warnings(caplog)) == 1


def test_wrong_types_are_found_at_the_start(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with_text_for_a_number(path)
    assert MemoryBook(path).lessons() == LearnedUsage()
    assert "CHECK constraint failed" in warnings(caplog)[0]
    assert path.with_name("memory.sqlite3.unusable-1").exists()


def test_several_damaged_books_are_kept(path: Path) -> None:
    path.parent.mkdir()
    for _ in range(3):
        of_noise(path)
        MemoryBook(path).lessons()
    names = [f"memory.sqlite3.unusable-{number}" for number in (1, 2, 3)]
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, *names]


def test_a_damaged_name_does_not_hide_the_rest(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE observations SET driver = CAST(x'ff35' AS TEXT) WHERE device != 'host'")
    assert residual_bytes(MemoryBook(path).lessons(), RAM) == 90 * MIB
    assert not warnings(caplog)


def test_where_nothing_can_be_written_vramd_goes_on_without_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where a folder is wanted")
    book = MemoryBook(tmp_path / "state" / "memory.sqlite3")
    for _ in range(2):
        assert book.lessons() == LearnedUsage()
        book.record("load", "key", [on_card()])
        book.bump("key", "host")
    [warning] = warnings(caplog)
    assert str(tmp_path / "state" / "memory.sqlite3") in warning
    (tmp_path / "state").unlink()
    book.bump("key", "host")
    assert book.lessons().bumped == {("key", "host")}
    assert len(warnings(caplog)) == 1


if sys.platform != "win32":
    import resource

    @contextmanager
    def as_nobody() -> Iterator[None]:
        """Root may write everywhere."""
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield
        finally:
            if root:
                os.seteuid(0)

    @contextmanager
    def no_file_larger_than(size_bytes: int) -> Iterator[None]:
        usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, usual[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    @pytest.mark.unprivileged
    def test_a_book_in_a_read_only_folder_can_still_be_read(caplog: pytest.LogCaptureFixture) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "memory.sqlite3")
            lessons = fill(path)
            path.chmod(0o444)
            Path(folder).chmod(0o555)
            with as_nobody():
                book, missing = MemoryBook(path), MemoryBook(path.with_name("other.sqlite3"))
                for _ in range(2):
                    assert book.lessons() == lessons
                    book.record("load", "key", [on_card()])
                    assert missing.lessons() == LearnedUsage()
                    missing.record("load", "key", [on_card()])
            Path(folder).chmod(0o755)
        about_book, about_missing = warnings(caplog)
        assert f"{path} cannot be written: attempt to write a readonly database" in about_book
        assert f"{path.with_name('other.sqlite3')} cannot be read" in about_missing

    @pytest.mark.slow
    def test_a_full_disk_loses_what_cannot_be_written_only(path: Path, caplog: pytest.LogCaptureFixture) -> None:
        lessons = fill(path)
        book = MemoryBook(path)
        with no_file_larger_than(path.stat().st_size):
            for number in range(400):
                book.record(f"more {number}", f"key {number}", [on_card(5401)])
        [warning] = warnings(caplog)
        assert str(path) in warning
        found = book.lessons()
        assert found.loads_bytes["key", CARD] == lessons.loads_bytes["key", CARD]
        assert len(found.loads_bytes) < 402
        book.record("one more", "yet another key", [on_card()])
        assert ("yet another key", CARD) in book.lessons().loads_bytes


def test_two_supervisors_write_one_book_at_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with writer(WRITER, path, 0, 40) as other:
        assert other.stdout
        book = MemoryBook(path, BUSY_S)
        for number in range(40, 80):
            book.record(f"load {number}", f"key {number}", [on_card(), on_host()])
        assert len(other.stdout.readlines()) == 40
    assert {key for key, _ in MemoryBook(path).lessons().loads_bytes} == {f"key {number}" for number in range(80)}
    assert not warnings(caplog)


def test_many_begin_one_book_at_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def begin(number: int) -> None:
        MemoryBook(path, BUSY_S).record(f"load {number}", f"key {number}", [on_card()])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin, range(24)))
    assert len(MemoryBook(path).lessons().loads_bytes) == 24
    assert not warnings(caplog)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_book_that_stays_busy_is_not_waited_for_for_ever(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lessons = fill(path)
    book = MemoryBook(path, busy_s=0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        book.record("load", "another key", [on_card()])
        assert book.lessons() == lessons
    assert "locked" in warnings(caplog)[0]
    book.record("load", "another key", [on_card()])
    assert ("another key", CARD) in book.lessons().loads_bytes
