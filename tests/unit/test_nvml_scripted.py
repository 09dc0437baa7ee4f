"""A driver that lags, keeps silent, lies or is lost: what is read out of it, and what the books make of it."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from support.core_world import MODELS
from support.scripted_nvml import Clock, ScriptedCard, ScriptedNvml, Tells
from support.scripted_world import TOTAL, ScriptedWorld
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Refuse
from vramd_supervisor.core.events import Started
from vramd_supervisor.core.state import ModelState
from vramd_supervisor.devices import sampler
from vramd_supervisor.devices.nvml import Card
from vramd_supervisor.devices.pids import PidNumbers
from vramd_supervisor.domain.device_view import DeviceLostError

NO_NAMESPACES = PidNumbers(Path("/nowhere"))


@pytest.fixture(autouse=True)
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that gets its turn late has not failed: what a driver does here, the script says."""
    monkeypatch.setattr(sampler, "LOOK_S", 60.0)


def scripted(clock: Clock, **manners: object) -> tuple[ScriptedCard, Card]:
    script = ScriptedCard(clock, 100, **manners)  # type: ignore[arg-type]
    return script, Card(ScriptedNvml([script]), 0, NO_NAMESPACES, tells_all=True)


def test_what_a_process_had_stays_for_a_while_after_its_end() -> None:
    clock = Clock()
    script, card = scripted(clock, lag_s=1.5)
    script.others(20)
    script.take(7, 30)
    script.end(7)
    seen = []
    for clock.now_s in (1.0, 2.0):
        seen.append((card.process_bytes(7), card.sample().used_bytes))
    assert seen == [(30, 50), (0, 20)]


def test_totals_may_be_of_the_past() -> None:
    clock = Clock()
    script, card = scripted(clock, stale_s=2.0)
    clock.now_s = 10.0
    script.take(7, 30)
    clock.now_s = 11.0
    assert (card.process_bytes(7), card.sample().used_bytes) == (30, 0)
    clock.now_s = 12.0
    assert card.sample().used_bytes == 30


@pytest.mark.parametrize(
    ("tells", "of_7", "of_10", "of_nobody"),
    [
        (Tells.BYTES, 30, 5, 0),
        (Tells.NONE, None, None, 0),
        (Tells.NOT_AVAILABLE, None, None, 0),
        (Tells.ERROR, None, None, None),
    ],
)
def test_what_a_driver_tells_of_a_process(
    tells: Tells, of_7: int | None, of_10: int | None, of_nobody: int | None
) -> None:
    script, card = scripted(Clock(), tells=tells)
    script.take(7, 30)
    script.take(10, 5)
    assert [card.process_bytes(pid) for pid in (7, 10, 8)] == [of_7, of_10, of_nobody]


def test_under_windows_who_is_not_listed_is_not_known() -> None:
    script = ScriptedCard(Clock(), 100)
    card = Card(ScriptedNvml([script]), 0, NO_NAMESPACES, tells_all=False)
    script.take(7, 30)
    assert (card.process_bytes(7), card.process_bytes(8)) == (30, None)


@pytest.mark.parametrize(
    ("versions", "expected"), [({"_v3"}, 30), ({"_v2", "_v3"}, 30), ({"_v2"}, 30), (set[str](), None)]
)
def test_an_older_driver_lacks_the_newer_lists(versions: set[str], expected: int | None) -> None:
    script = ScriptedCard(Clock(), 100)
    card = Card(ScriptedNvml([script], frozenset(versions)), 0, NO_NAMESPACES, tells_all=True)
    script.take(10, 30)
    assert card.process_bytes(10) == expected
    assert card.sample().used_bytes == 30


def test_a_lost_card_may_come_back() -> None:
    script, card = scripted(Clock())
    script.take(7, 30)
    script.lost = True
    with pytest.raises(DeviceLostError):
        card.sample()
    assert card.process_bytes(7) is None
    script.lost = False
    assert (card.process_bytes(7), card.sample().used_bytes) == (30, 30)


def test_a_load_on_a_lost_card_is_told_so_and_goes_on_once_it_is_back() -> None:
    looks = asyncio.new_event_loop()
    try:
        clock = Clock()
        script, card = scripted(clock)
        world = ScriptedWorld(script, card, looks, spared=0)
        told: list[Refuse] = []
        for lost in (True, False):
            script.lost = lost
            world.look()
            world.request("small")
            told += [action for action in world.actions if isinstance(action, Refuse)]
            while world.errands:
                world.run_errand()
                told += [action for action in world.actions if isinstance(action, Refuse)]
        (refused,) = told
        assert refused.refusal.reason is Reason.GPU_LOST
        assert refused.refusal.metadata == {"model": "small", "device": "card"}
        assert world.core.state.models["small"].state is ModelState.READY
    finally:
        looks.run_until_complete(looks.shutdown_default_executor())
        looks.close()


def container(root: Path, processes: Mapping[int, tuple[str, str]]) -> PidNumbers:
    """A /proc: of each process its namespace, and its numbers from this /proc inwards. Number 0 is ourselves."""
    for number, (namespace, numbers) in processes.items():
        folder = root / (str(number) if number else "self")
        (folder / "ns").mkdir(parents=True)
        (folder / "ns/pid").symlink_to(f"pid:[{namespace}]")
        (folder / "status").write_text(f"Name:\tx\nNSpid:\t{numbers}\n")
    return PidNumbers(root)


HOST_NAMESPACE = "4026531836"
INSIDE = {0: ("55", "1"), 7: ("55", "7"), 10: ("55", "10")}
AS_THE_HOST_SEES_US = {
    0: ("55", "4001 1"),
    4007: ("55", "4007 7"),
    4008: ("66", "4008 7"),
    4010: ("55", "4010 10"),
    7: (HOST_NAMESPACE, "7"),
}


@pytest.mark.parametrize(
    ("processes", "listed", "expected"),
    [
        ({0: (HOST_NAMESPACE, "1")}, {7: 30, 999: 5}, 30),
        (INSIDE, {7: 30, 10: 5}, 30),
        (INSIDE, {7: 30, 999: 5}, None),
        (INSIDE, {4007: 30}, None),
        (INSIDE, {10: 5}, 0),
        (AS_THE_HOST_SEES_US, {4007: 30, 4010: 5, 7: 2, 4008: 3}, 30),
        (AS_THE_HOST_SEES_US, {4008: 3, 7: 2}, None),
    ],
)
def test_a_driver_may_name_processes_by_the_hosts_numbers(
    tmp_path: Path, processes: Mapping[int, tuple[str, str]], listed: Mapping[int, int], expected: int | None
) -> None:
    script = ScriptedCard(Clock(), 100)
    card = Card(ScriptedNvml([script]), 0, container(tmp_path, processes), tells_all=True)
    for pid, size in listed.items():
        script.take(pid, size)
    assert card.process_bytes(7) == expected


def test_in_a_container_who_has_just_ended_does_not_make_the_numbers_the_hosts(tmp_path: Path) -> None:
    script = ScriptedCard(Clock(), 100)
    card = Card(ScriptedNvml([script]), 0, container(tmp_path, INSIDE), tells_all=True)
    script.take(8, 5)
    script.take(7, 30)
    assert card.process_bytes(7) is None
    assert card.process_bytes(8) == 5
    assert card.process_bytes(7) == 30


@pytest.mark.parametrize("tells", [Tells.BYTES, Tells.NONE])
@pytest.mark.parametrize(("lag_s", "others"), [(0.3, 0), (5.0, 0), (0.0, 1)])
def test_a_swap_forgets_neither_the_game_nor_the_dead(tells: Tells, lag_s: float, others: int) -> None:
    looks, clock = asyncio.new_event_loop(), Clock()
    script = ScriptedCard(clock, TOTAL, tells, lag_s)
    card = Card(ScriptedNvml([script]), 0, NO_NAMESPACES, tells_all=tells is Tells.BYTES)
    world = ScriptedWorld(script, card, looks, spared=0)
    world.sample("card", others)
    first = world.request("large")
    while world.errands:
        world.run_errand()
    world.look()
    world.caller(first, "end")
    for model in ("middle", "small", "pinned"):
        world.request(model)
    while world.errands:
        world.run_errand()
    looks.run_until_complete(looks.shutdown_default_executor())
    looks.close()


errands = st.lists(st.integers(0, 1 << 16), max_size=6)
"""Which of the things that the core has asked for are done next, in any order."""


class TellingCard(RuleBasedStateMachine):
    """Loads, unloads, crashes and a greedy game, on a card whose driver tells what each process has."""

    tells: st.SearchStrategy[Tells] = st.just(Tells.BYTES)
    world: ScriptedWorld

    def __init__(self) -> None:
        super().__init__()
        self.looks = asyncio.new_event_loop()

    @initialize(
        data=st.data(),
        lag_s=st.sampled_from([0.0, 0.3, 1.2, 5.0]),
        stale_s=st.sampled_from([0.0, 0.0, 0.0, 1.0]),
        versions=st.sampled_from([frozenset({"_v2"}), frozenset({"_v2", "_v3"})]),
        spared=st.integers(0, 1),
        spare=st.booleans(),
    )
    def begin(
        self, data: st.DataObject, lag_s: float, stale_s: float, versions: frozenset[str], spared: int, spare: bool
    ) -> None:
        clock, tells = Clock(), data.draw(self.tells)
        script = ScriptedCard(clock, TOTAL, tells, lag_s, stale_s)
        card = Card(ScriptedNvml([script], versions), 0, NO_NAMESPACES, tells_all=tells is Tells.BYTES)
        self.world = ScriptedWorld(script, card, self.looks, spared=spared)
        if spare:
            self.world.tell(Started(0.0))

    def go_on(self, done: list[int]) -> None:
        for number in done:
            if self.world.errands:
                self.world.run_errand(number % len(self.world.errands))

    @rule(models=st.lists(st.sampled_from(sorted(MODELS)), min_size=1, max_size=3), done=errands)
    def requests(self, models: list[str], done: list[int]) -> None:
        for model in models:
            self.world.request(model)
        self.go_on(done)

    @precondition(lambda self: self.world.granted)
    @rule(data=st.data(), done=errands)
    def a_caller_is_done(self, data: st.DataObject, done: list[int]) -> None:
        self.world.caller(data.draw(st.sampled_from(sorted(self.world.granted))), "end")
        self.go_on(done)

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), done=errands)
    def a_process_crashes(self, data: st.DataObject, done: list[int]) -> None:
        self.world.crash(data.draw(st.sampled_from(sorted(self.world.alive))))
        self.go_on(done)

    @rule(model=st.sampled_from(sorted(MODELS)), force=st.booleans(), done=errands)
    def unload(self, model: str, force: bool, done: list[int]) -> None:
        self.world.unload(model, force)
        self.go_on(done)

    @rule(external=st.integers(0, TOTAL), done=errands)
    def a_game_takes(self, external: int, done: list[int]) -> None:
        self.world.sample("card", external)
        self.go_on(done)

    @rule(passed_s=st.sampled_from([0.1, 1.0, 6.0]), done=errands)
    def time_passes(self, passed_s: float, done: list[int]) -> None:
        self.world.now_s += passed_s
        self.world.look()
        self.go_on(done)

    @rule(lost=st.booleans(), done=errands)
    def the_card_is_lost_or_back(self, lost: bool, done: list[int]) -> None:
        self.world.script.lost = lost
        self.world.look()
        self.go_on(done)

    def teardown(self) -> None:
        """With all faults over, every row that was ever written has been struck out."""
        try:
            self.world.script.lost = False
            self.world.settle_down()
            self.world.shut_down()
            assert self.world.exited
            assert self.world.struck == self.world.rows
            assert self.world.answered == self.world.accepted
        finally:
            self.looks.run_until_complete(self.looks.shutdown_default_executor())
            self.looks.close()


class SilentCard(TellingCard):
    """The same, where the driver does not tell what each process has."""

    tells = st.sampled_from([Tells.NONE, Tells.ERROR, Tells.HOST_PIDS, Tells.NOT_AVAILABLE])


@pytest.mark.parametrize("machine", [TellingCard, SilentCard])
def test_nothing_is_promised_that_others_or_the_dead_still_have(
    machine: type[TellingCard], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    profile = settings(
        max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(machine, settings=profile)
