"""Decisions are written in a thread: the loop never waits, nothing is lost, the order stays."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from vramd_proto.v1 import model_pb2, supervisor_pb2
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.decisions import Decision, DecisionKind, Rejected
from vramd_supervisor.files.journal import Journal, Record
from vramd_supervisor.services import decision_writer
from vramd_supervisor.services.decision_writer import DecisionWriter
from vramd_supervisor.services.messages import decision

BOUND_S = 30.0


@pytest.fixture(autouse=True)
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that waits for the test, on a busy machine, does not hang."""
    monkeypatch.setattr(decision_writer, "JOURNAL_S", BOUND_S)


def refused(cause: str) -> Decision:
    return Decision(DecisionKind.REFUSE, "one", cause)


class SlowJournal(Journal):
    """Writes when the test lets it."""

    def __init__(self, path: Path, rows_kept: int = 100) -> None:
        super().__init__(path, rows_kept)
        self.writing = threading.Event()
        self.go = threading.Event()
        self.batches: list[list[str]] = []

    def append(self, decided: Sequence[tuple[float, Decision]]) -> None:
        self.writing.set()
        assert self.go.wait(BOUND_S)
        self.batches.append([made.message for _, made in decided])
        super().append(decided)


async def test_noting_does_not_wait_and_what_piles_up_is_written_together(tmp_path: Path) -> None:
    journal = SlowJournal(tmp_path / "decisions.sqlite3")
    notes = DecisionWriter(journal)
    notes.note(refused("first"))
    assert await asyncio.to_thread(journal.writing.wait, BOUND_S)
    for cause in ("second", "third", "fourth"):
        notes.note(refused(cause))
    assert journal.batches == []
    listed = asyncio.ensure_future(notes.newest("one", 10))
    journal.go.set()
    found = await asyncio.wait_for(listed, BOUND_S)
    assert [record.decision.message for record in found] == ["fourth", "third", "second", "first"]
    assert journal.batches == [["first"], ["second", "third", "fourth"]]


async def test_closing_waits_for_what_was_noted(tmp_path: Path) -> None:
    journal = SlowJournal(tmp_path / "decisions.sqlite3")
    notes = DecisionWriter(journal)
    notes.note(refused("first"))
    assert await asyncio.to_thread(journal.writing.wait, BOUND_S)
    notes.note(refused("last"))
    closing = asyncio.ensure_future(notes.close())
    journal.go.set()
    await asyncio.wait_for(closing, BOUND_S)
    assert [cause for batch in journal.batches for cause in batch] == ["first", "last"]


async def test_no_more_is_held_than_the_journal_keeps(tmp_path: Path) -> None:
    journal = SlowJournal(tmp_path / "decisions.sqlite3", rows_kept=3)
    notes = DecisionWriter(journal)
    notes.note(refused("first"))
    assert await asyncio.to_thread(journal.writing.wait, BOUND_S)
    for number in range(10):
        notes.note(refused(str(number)))
    journal.go.set()
    await asyncio.wait_for(notes.close(), BOUND_S)
    assert journal.batches == [["first"], ["7", "8", "9"]]


async def test_each_is_stamped_when_it_was_noted(tmp_path: Path) -> None:
    journal = SlowJournal(tmp_path / "decisions.sqlite3")
    notes = DecisionWriter(journal)
    before_s = time.time()
    notes.note(refused("first"))
    noted_s = time.time()
    assert await asyncio.to_thread(journal.writing.wait, BOUND_S)
    journal.go.set()
    [record] = await asyncio.wait_for(notes.newest("", 10), BOUND_S)
    assert before_s <= record.time_s <= noted_s


async def test_a_fault_is_told_and_later_decisions_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes = DecisionWriter(Journal(tmp_path / "decisions.sqlite3"))
    notes.note(Decision(DecisionKind.LOAD, "one", "because", numbers={"needed_bytes": object()}))  # type: ignore[dict-item]  # the fault
    await notes.close()
    notes.note(refused("later"))
    assert [record.decision.message for record in await notes.newest("", 10)] == ["later"]
    assert "could not be written down" in caplog.text


def test_every_field_of_a_decision_reaches_the_wire() -> None:
    made = Decision(
        DecisionKind.GIVE_BACK,
        "one",
        "because",
        3,
        "two",
        {"needed_bytes": 1.0},
        (Rejected("evict three", "pinned"),),
        Cause.TOOK_TOO_MUCH,
        "MEMORY_EXHAUSTED",
    )
    message = decision(Record(7, 1.5, made))
    assert {field.name for field, _ in message.ListFields()} == set(supervisor_pb2.Decision.DESCRIPTOR.fields_by_name)
    assert (message.id, message.time_s, message.model) == (7, 1.5, "one")
    assert message.kind == supervisor_pb2.DECISION_KIND_GIVE_BACK
    assert (message.cause, message.reason) == (model_pb2.CAUSE_TOOK_TOO_MUCH, "MEMORY_EXHAUSTED")
    assert (message.worker_id, message.for_whom, message.message) == (3, "two", "because")
    assert dict(message.numbers) == {"needed_bytes": 1.0}
    assert [(one.what, one.why) for one in message.rejected] == [("evict three", "pinned")]
