"""The journal: what it keeps, how much of it, and that a damaged file does no harm."""

import logging
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from vramd_common.reasons import Reason
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.decisions import Decision, DecisionKind, Rejected
from vramd_supervisor.files.journal import LAYOUT, MOST_TEXT_BYTES, MOST_UNWRITTEN, Journal

BUSY_S = 60.0
"""Enough while another writes, though a busy machine holds that one up."""

EVICTED = Decision(
    DecisionKind.EVICT,
    "one",
    "two lacks 52 MiB on gpu0; one is the least recently used of the idle",
    worker_id=3,
    for_whom="two",
    numbers={"lacking_bytes": 52 << 20, "idle_s": 12.5},
    rejected=(Rejected("evict three", "it is pinned"), Rejected("evict four", "it is busy")),
)


def refused(model: str = "two", message: str = "too many wait") -> Decision:
    return Decision(DecisionKind.REFUSE, model, message)


def causes(journal: Journal, model: str = "", limit: int = 1000) -> list[str]:
    return [record.decision.message for record in journal.newest(model, limit)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "decisions.sqlite3"


@pytest.fixture
def journal(path: Path) -> Journal:
    return Journal(path)


def test_what_was_decided_is_there_for_the_next_supervisor(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Journal(path).append([(1.5, EVICTED)])
    [record] = Journal(path).newest("one", 10)
    assert (record.number, record.time_s, record.decision) == (1, 1.5, EVICTED)
    assert not warnings(caplog)


def test_the_newest_come_first_of_one_model_or_of_all(journal: Journal) -> None:
    journal.append([(1.0, refused("one", "a")), (2.0, refused("two", "b"))])
    journal.append([(3.0, refused("one", "c"))])
    assert causes(journal) == ["c", "b", "a"]
    assert causes(journal, limit=2) == ["c", "b"]
    assert causes(journal, "one") == ["c", "a"]
    assert causes(journal, "one", 1) == ["c"]
    assert causes(journal, "nobody") == []


def test_every_kind_is_kept(journal: Journal) -> None:
    journal.append([(1.0, Decision(kind, "one", "because")) for kind in DecisionKind])
    assert [record.decision.kind for record in journal.newest("", 100)] == list(DecisionKind)[::-1]


def test_every_cause_and_reason_is_kept(path: Path) -> None:
    made = [Decision(DecisionKind.UNLOAD, "one", "because", cause=cause) for cause in Cause]
    made += [Decision(DecisionKind.REFUSE, "one", "because", reason=reason.name) for reason in Reason]
    Journal(path).append([(1.0, one) for one in made])
    assert [record.decision for record in Journal(path).newest("", 100)] == made[::-1]


def test_a_cause_of_another_version_is_no_decision_of_ours(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Journal(path).append([(1.0, refused())])
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE decisions SET cause = 'SOLAR_FLARE'")
    assert Journal(path).newest("", 10) == []
    assert "a decision in it cannot be read" in warnings(caplog)[0]


def test_the_oldest_rows_are_forgotten_and_their_numbers_not_used_again(path: Path) -> None:
    for number in range(7):
        Journal(path, rows_kept=3).append([(number, refused(message=str(number)))])
    assert [(record.number, record.decision.message) for record in Journal(path).newest("", 10)] == [
        (7, "6"),
        (6, "5"),
        (5, "4"),
    ]


def test_a_batch_larger_than_the_journal_leaves_its_end(path: Path) -> None:
    journal = Journal(path, rows_kept=3)
    journal.append([(0.0, refused(message=str(number))) for number in range(10)])
    assert causes(journal) == ["9", "8", "7"]


def test_the_file_stays_within_its_size(path: Path) -> None:
    most_bytes = 256 << 10
    journal = Journal(path, bytes_kept=most_bytes)
    sizes = []
    for number in range(200):
        journal.append([(number, refused(message=f"{number} " + "x" * 8000))])
        sizes.append(path.stat().st_size)
    assert max(sizes) <= most_bytes + (16 << 10)
    numbers = [record.number for record in journal.newest("", 1000)]
    assert numbers == list(range(200, 200 - len(numbers), -1))
    assert len(numbers) * 8000 > most_bytes / 2, "it forgets more than it has to"


def test_one_decision_that_is_larger_than_the_journal_is_kept(path: Path) -> None:
    journal = Journal(path, bytes_kept=64 << 10)
    journal.append([(1.0, refused(message="small"))])
    others = tuple(Rejected(f"evict {number}", "x" * 1000) for number in range(200))
    journal.append([(2.0, Decision(DecisionKind.LOAD, "two", "large", rejected=others))])
    assert causes(journal) == ["large"]
    journal.append([(3.0, refused(message="small again"))])
    assert causes(journal) == ["small again"]


@pytest.mark.parametrize("hostile", ["x" * 1_000_000, "a\nforged: line", "\x1b[31mred", "b\u202ec", "d\x9be"])
def test_no_text_from_outside_forges_a_decision_or_pushes_the_others_out(journal: Journal, hostile: str) -> None:
    journal.append([(1.0, refused(message="before"))])
    told = Decision(
        DecisionKind.LOAD, "two", f"{hostile} is asked", for_whom=hostile, rejected=(Rejected(hostile, hostile),)
    )
    for number in range(5):
        journal.append([(number, told)])
    assert causes(journal)[-1] == "before"
    written = journal.newest("", 1)[0].decision
    for text in (written.message, written.for_whom, written.rejected[0].what, written.rejected[0].why):
        assert text.isprintable()
        assert len(text) <= MOST_TEXT_BYTES


def test_a_name_that_is_no_utf_8_is_written_and_does_not_hide_the_rest(journal: Journal) -> None:
    strange = Decision(DecisionKind.LOAD, "a\udcff", "a\udcff is asked for", rejected=(Rejected("b\udcff", "c\udcff"),))
    journal.append([(1.0, strange), (2.0, refused(message="plain"))])
    plain, written = journal.newest("", 10)
    assert plain.decision.message == "plain"
    assert (written.decision.model, written.decision.rejected) == ("a\\udcff", (Rejected("b\\udcff", "c\\udcff"),))


def test_decisions_are_added_all_or_none(journal: Journal, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal.append([(1.0, refused(message="before"))])
    with closing(sqlite3.connect(path)) as raw:
        fault = "BEGIN SELECT raise(ABORT, 'not this one'); END"
        raw.execute(f"CREATE TRIGGER fault BEFORE INSERT ON decisions WHEN new.message = 'bad' {fault}")
    journal.append([(2.0, refused(message="good")), (3.0, refused(message="bad"))])
    assert "not this one" in warnings(caplog)[0]
    assert causes(Journal(path)) == ["before"]


def of_noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def with_a_newer_layout(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {LAYOUT + 1}")


def with_the_tables_of_another(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("ALTER TABLE decisions RENAME TO songs")


def damaged(column: str, value: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(f"UPDATE decisions SET {column} = ?", (value,))

    return damage


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (of_noise, "not a database"),
        (with_a_newer_layout, f"its layout is number {LAYOUT + 1}"),
        (with_the_tables_of_another, "it has the tables songs"),
        (damaged("numbers", "{"), "cannot be read"),
        (damaged("numbers", "[1]"), "cannot be read"),
        (damaged("rejected", "[[1, 2]]"), "cannot be read"),
        (damaged("rejected", '[["only one"]]'), "cannot be read"),
        (damaged("kind", "sing"), "'sing' is not a valid DecisionKind"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside(
    path: Path, damage: Callable[[Path], None], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    Journal(path).append([(1.0, EVICTED)])
    damage(path)
    content = path.read_bytes()
    journal = Journal(path)
    assert journal.newest("", 10) == []
    [warning] = warnings(caplog)
    aside = path.with_name("decisions.sqlite3.unusable-1")
    assert re.search(why, warning)
    assert str(aside) in warning
    assert aside.read_bytes() == content
    journal.append([(2.0, EVICTED)])
    assert [record.decision for record in journal.newest("", 10)] == [EVICTED]
    assert len(warnings(caplog)) == 1


def test_where_nothing_can_be_written_vramd_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file where a folder is wanted")
    journal = Journal(tmp_path / "state" / "decisions.sqlite3")
    for _ in range(2):
        journal.append([(1.0, EVICTED)])
    assert [record.decision for record in journal.newest("", 10)] == [EVICTED, EVICTED]
    [warning] = warnings(caplog)
    assert warning.startswith("decisions are not kept")


def test_two_supervisors_write_one_journal_at_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def write(model: str) -> None:
        journal = Journal(path, busy_s=BUSY_S)
        for number in range(20):
            journal.append([(number, refused(model, str(number)))])

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, ("one", "two")))
    assert [record.number for record in Journal(path).newest("", 100)] == list(range(40, 0, -1))
    assert causes(Journal(path), "one") == [str(number) for number in range(19, -1, -1)]
    assert not warnings(caplog)


@pytest.mark.parametrize("why", ["a file in its place", "a folder in its place", "a file that may not be written"])
def test_what_cannot_be_written_is_told_all_the_same_and_written_later(path: Path, why: str) -> None:
    if why == "a file in its place":
        path.parent.write_text("no folder")
    elif why == "a folder in its place":
        path.mkdir(parents=True)
    else:
        Journal(path).append([(0.5, refused("one", "before"))])
    journal = Journal(path, busy_s=0.0)
    blocker = sqlite3.connect(path) if path.is_file() else None
    if blocker:
        blocker.execute("BEGIN IMMEDIATE")
    journal.append([(1.0, EVICTED)])
    journal.append([(2.0, refused("two", "b")), (3.0, refused("one", "c"))])
    before = ["before"] if blocker else []
    assert causes(journal) == ["c", "b", EVICTED.message, *before]
    assert causes(journal, "one", 2) == ["c", EVICTED.message]
    assert [record.number for record in journal.newest("", 10)] == [*range(3 + len(before), 0, -1)]
    assert journal.newest("one", 5)[1].decision == EVICTED
    if blocker:
        blocker.close()
    elif why == "a file in its place":
        path.parent.unlink()
    else:
        path.rmdir()
    journal.append([(4.0, refused("two", "d"))])
    assert causes(Journal(path)) == ["d", "c", "b", EVICTED.message, *before]


def test_no_more_than_so_many_wait_for_the_file(path: Path) -> None:
    path.mkdir(parents=True)
    journal = Journal(path)
    for number in range(3):
        journal.append([(float(number), refused("one", f"{number}")) for _ in range(MOST_UNWRITTEN // 2)])
    found = causes(journal, limit=10_000)
    assert (len(found), found[0], found[-1]) == (MOST_UNWRITTEN, "2", "1")
