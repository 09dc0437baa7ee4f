"""What measures, remembers and reads waits within a bound, whatever hangs, and says so."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.supervisor_process import until
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Action, Decided, FindPlans, QueueChanged, Spawn, Stop
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import (
    CatalogueRead,
    DeviceSampled,
    Event,
    MemoryReleased,
    PlansRefused,
    Requested,
    Started,
    WorkerExited,
)
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.devices import release
from vramd_supervisor.devices.device import Device
from vramd_supervisor.devices.host_memory import HOST_RAM
from vramd_supervisor.devices.nvidia import NVIDIA
from vramd_supervisor.devices.probe import Probe
from vramd_supervisor.devices.sampler import Sampler
from vramd_supervisor.devices.virtual import VIRTUAL
from vramd_supervisor.domain.catalog import Model, Problem, Simulation
from vramd_supervisor.domain.config import Config
from vramd_supervisor.domain.decisions import Decision, DecisionKind
from vramd_supervisor.domain.device_view import Sample
from vramd_supervisor.domain.errors import RefusedError, refusal
from vramd_supervisor.files.discovery import unanswered
from vramd_supervisor.files.journal import Journal
from vramd_supervisor.files.memory_book import MemoryBook
from vramd_supervisor.loop import Loop, OutsideAction
from vramd_supervisor.quoting.learning import LearnedUsage
from vramd_supervisor.services import decision_writer
from vramd_supervisor.services.decision_writer import DecisionWriter
from vramd_supervisor.threads.serial_calls import NoAnswerError, SerialCalls, SerialCallsByName
from vramd_supervisor.workers import containment, quotes, usage_recorder
from vramd_supervisor.workers.process import Spawner
from vramd_supervisor.workers.progress import Limits
from vramd_supervisor.workers.quoter import Quoter, QuoterError
from vramd_supervisor.workers.quotes import Quotes
from vramd_supervisor.workers.usage_recorder import UsageRecorder
from vramd_supervisor.workers.workers import Workers

BOUND_S = 30.0
SHORT_S = 0.02
HONEST_S = 0.2
"""Where beside what hangs something shall answer in time; it is asked again where a busy machine holds it up."""


@pytest.fixture
def goes_on() -> Iterator[threading.Event]:
    """Until the test ends, what waits for it hangs."""
    event = threading.Event()
    yield event
    event.set()


class HangingProbe(Probe):
    def __init__(self, goes_on: threading.Event) -> None:
        self._goes_on = goes_on
        self.asked = False

    def sample(self) -> Sample:
        assert self._goes_on.wait(BOUND_S)
        return Sample(8, 2)

    def process_bytes(self, pid: int) -> int | None:
        self.asked = True
        assert self._goes_on.wait(BOUND_S)
        return pid


async def test_a_process_that_nobody_tells_of_is_measured_as_unknown(goes_on: threading.Event) -> None:
    probe = HangingProbe(goes_on)
    host = Device("host", HOST_RAM, "RAM", probe)
    calls = SerialCalls("the system", SHORT_S)

    async def why() -> str:
        observed = await release.measure_soon(calls, [host], 7)
        assert observed["host"].size_bytes is None
        return observed["host"].reason

    assert "gives no answer within 0.02 s" in await why()
    while not probe.asked:  # the thread came so late that the question had been withdrawn
        await why()
    assert "has not answered an earlier question" in await why()


def test_memory_is_booked_although_a_card_never_answers(
    goes_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "WATCH_S", SHORT_S)
    card = Device("gpu0", NVIDIA, "card", HangingProbe(goes_on))
    observed = asyncio.run(asyncio.wait_for(release.settle([card], 7, {}), BOUND_S))
    assert observed["gpu0"].size_bytes is None


async def test_a_device_that_hangs_has_nothing_and_the_others_are_seen(
    goes_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quick(HangingProbe):
        def sample(self) -> Sample:
            return Sample(8, 2)

    monkeypatch.setattr("vramd_supervisor.devices.sampler.LOOK_S", HONEST_S)
    seen: list[DeviceSampled] = []
    core = SimpleNamespace(ready_pids=list)
    loop = SimpleNamespace(core=core, submit=seen.append, now_s=lambda: 0.0)
    devices = [
        Device("gpu0", NVIDIA, "card", HangingProbe(goes_on)),
        Device("card", VIRTUAL, "card", Quick(goes_on)),
    ]
    sampler = Sampler(cast(Loop, loop), devices, {}, lambda: [])

    async def looked() -> list[tuple[str, int]]:
        seen.clear()
        await asyncio.wait_for(sampler.look(), BOUND_S)
        return [(told.device, told.total_bytes) for told in seen]

    end_s = time.monotonic() + BOUND_S
    while (found := await looked()) == [("gpu0", 0), ("card", 0)] and time.monotonic() < end_s:
        pass
    assert found == [("gpu0", 0), ("card", 8)]


class HangingBook(MemoryBook):
    def __init__(self, path: Path, goes_on: threading.Event) -> None:
        super().__init__(path)
        self._goes_on = goes_on

    def lessons(self) -> LearnedUsage:
        assert self._goes_on.wait(BOUND_S)
        return super().lessons()


async def test_a_book_that_does_not_answer_teaches_nothing(
    goes_on: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage_recorder, "BOOK_S", SHORT_S)

    desk = SimpleNamespace(lessons=LearnedUsage())
    recorder = UsageRecorder(HangingBook(tmp_path / "memory.sqlite3", goes_on), cast(Quotes, desk))
    await asyncio.wait_for(recorder.begin(), BOUND_S)
    with monkeypatch.context() as patched:
        patched.setattr(usage_recorder, "BEGIN_S", SHORT_S)
        await asyncio.wait_for(recorder.begin(), BOUND_S)
    assert "nothing is learned from loads" in caplog.text


class HangingJournal(Journal):
    def __init__(self, path: Path, goes_on: threading.Event) -> None:
        super().__init__(path)
        self._goes_on = goes_on
        self.written: list[str] = []

    def append(self, decided: Sequence[tuple[float, Decision]]) -> None:
        assert self._goes_on.wait(BOUND_S)
        self.written += [decision.model for _, decision in decided]


async def test_a_journal_that_does_not_answer_is_refused_and_gets_all_later(
    goes_on: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decision_writer, "JOURNAL_S", SHORT_S)
    journal = HangingJournal(tmp_path / "decisions.sqlite3", goes_on)
    notes = DecisionWriter(journal)
    notes.note(Decision(DecisionKind.LOAD, "one", "because"))
    with pytest.raises(RefusedError) as refused:
        await notes.newest("", 10)
    assert refused.value.refusal.reason is Reason.FILE_UNANSWERED
    notes.note(Decision(DecisionKind.LOAD, "two", "because"))
    await asyncio.wait_for(notes.close(), BOUND_S)
    assert "the last decisions are not written down" in caplog.text
    goes_on.set()
    until("the first is written", lambda: journal.written)
    monkeypatch.undo()
    later = DecisionWriter(journal)
    later._pending = notes._pending
    await later.close()
    assert journal.written == ["one", "two"]


async def test_a_file_that_does_not_answer_has_a_problem_and_the_next_one_none(
    goes_on: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_read = Problem(Reason.MODEL_UNSUPPORTED, "it was read")

    def read(path: Path) -> tuple[Any, list[Any]]:
        assert path.name != "dead.gguf" or goes_on.wait(BOUND_S)
        return replace(unanswered(path, NoAnswerError("")), problem=was_read), []

    monkeypatch.setattr(quotes, "read_with_headers", read)
    desk = Quotes(cast(Any, None), tmp_path, (), SerialCallsByName(HONEST_S, 1, 10))
    dead = await desk.quoted(tmp_path / "dead.gguf")
    assert dead.file.problem
    assert dead.file.problem.reason is Reason.FILE_UNANSWERED
    assert "dead.gguf gives no answer within 0.2 s; is its drive there?" in dead.file.problem.text
    end_s = time.monotonic() + BOUND_S
    while (other := await desk.quoted(tmp_path / "other.gguf")).file.problem != was_read:
        assert time.monotonic() < end_s, other.file.problem


NO_PID = 1 << 30
"""Of no process and no group, should it be killed after all; 0 would be this one's group."""


class Starts:
    """Stands in for `containment.start`: its children are no processes."""

    def __init__(self, goes_on: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on = goes_on
        self.threads: list[threading.Thread] = []
        self.asked, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        monkeypatch.setattr(containment, "start", self._start)
        self._killed: list[object] = []
        monkeypatch.setattr(containment, "kill", self._killed.append)
        monkeypatch.setattr(containment, "wait", self._wait)

    def _start(self, *_: object) -> SimpleNamespace:
        self.threads.append(threading.current_thread())
        self.asked.release()
        assert self.goes_on.wait(BOUND_S)
        return SimpleNamespace(pid=NO_PID)

    def _wait(self, child: object) -> None:
        """The last that is done with a child: what came behind this test would be done by the real functions."""
        if child in self._killed:
            self.ended.release()


@pytest.fixture
def starts(goes_on: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Starts:
    return Starts(goes_on, monkeypatch)


def test_processes_are_started_by_one_thread_that_stays(starts: Starts) -> None:
    async def main() -> None:
        spawner = Spawner()
        for _ in range(2):
            await spawner.start("vramd_worker", "/")

    starts.goes_on.set()
    asyncio.run(main())
    one, other = starts.threads
    assert one is other
    assert one.is_alive()
    assert one is not threading.current_thread()


async def test_a_process_that_is_started_too_late_is_ended_and_the_next_one_is_not(starts: Starts) -> None:
    spawner = Spawner(SHORT_S)
    with pytest.raises(NoAnswerError, match=r"the start of a process gives no answer within 0\.02 s"):
        await spawner.start("vramd_worker", "/")
    while not starts.threads:  # the thread came so late that the start had been withdrawn
        with pytest.raises(NoAnswerError):
            await spawner.start("vramd_worker", "/")
    with pytest.raises(QuoterError, match="could not be started: the start of a process has not answered"):
        await Quoter(spawner, "/", untested_engine=False).ask({})
    starts.goes_on.set()
    assert starts.ended.acquire(timeout=BOUND_S)
    patient = Spawner()
    await patient.start("vramd_worker", "/")
    assert not starts.ended.acquire(blocking=False)
    assert len(starts.threads) == 2


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        (False, "could not be started: the start of a process gives no answer within 30 s"),
        (True, "ended before it was started"),
    ],
)
@pytest.mark.parametrize("folder_hangs", [False, True])
async def test_a_worker_whose_start_hangs_is_none(
    stop: bool, words: str, folder_hangs: bool, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[Event]()
    released = asyncio.Event()

    def socket_dir() -> str:
        if folder_hangs:
            starts.asked.release()
            assert starts.goes_on.wait(BOUND_S)
        return ""

    def submit(event: Event) -> None:
        told.append(event)
        if isinstance(event, MemoryReleased):
            released.set()

    loop = SimpleNamespace(submit=submit, now_s=asyncio.get_running_loop().time)
    host = Device("host", HOST_RAM, "RAM", HangingProbe(starts.goes_on))
    planning = SimpleNamespace(expect=lambda _: None, learn=lambda *_: None)
    logs = SimpleNamespace(spare=None)

    async def no_look() -> None:
        """There are no devices to look at."""

    shell: tuple[Any, ...] = (
        loop,
        [host],
        logs,
        planning,
        None,
        Spawner(BOUND_S),
        socket_dir,
        no_look,
        SHORT_S,
        False,
        Limits(),
    )
    workers = Workers(*shell)
    workers.perform(Spawn(1))
    assert told == [], "it waits, and nobody else does"
    assert await asyncio.to_thread(starts.asked.acquire, timeout=BOUND_S)
    if stop:
        workers.perform(Stop(1))
    else:  # its time is over, on the loop's clock: one that is over before it was asked for is never begun
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + BOUND_S)
    await asyncio.wait_for(released.wait(), BOUND_S)
    exited, receipt = told
    assert isinstance(exited, WorkerExited)
    assert exited.exit == words
    assert isinstance(receipt, MemoryReleased)
    starts.goes_on.set()
    assert folder_hangs or starts.ended.acquire(timeout=BOUND_S)


@pytest.mark.parametrize("what", [Spawn, FindPlans, QueueChanged, Decided])
async def test_what_fails_while_it_is_carried_out_is_no_fault_of_the_books(
    what: type, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(action: OutsideAction) -> None:
        if isinstance(action, what):
            raise RuntimeError("can't start new thread")

    loop = Loop(Core(Config(), {"host": Account(1 << 33, 1 << 33)}, 2, 1 << 20), fails)
    model = Model("a", Simulation({"host": 1 << 60}, 1.0, 1.0, (), False))
    loop.submit(CatalogueRead(loop.now_s(), {"a": model}))
    loop.submit(Started(loop.now_s()))
    async with loop.request(partial(Requested, model="a", kind=RequestKind.LOAD, limit_s=BOUND_S)):
        gone = refusal(Reason.MODEL_NOT_FOUND, "gone", model="a")
        loop.submit(PlansRefused(loop.now_s(), "a", 1, gone))
    assert loop.failed is None
    assert not loop.ending.is_set()
    assert "could not be carried out" in caplog.text


async def test_a_fault_of_the_core_ends_the_supervisor() -> None:
    def fails(_: Event) -> list[Action]:
        raise KeyError("host")

    loop = Loop(Core(Config(), {"host": Account(1 << 33, 1 << 33)}, 2, 1 << 20), lambda _: None, fails)
    loop.submit(Started(loop.now_s()))
    assert isinstance(loop.failed, KeyError)
    assert loop.exited.is_set()
