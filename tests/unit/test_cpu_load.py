"""Cores that other programs take: how they are measured, and what generating workers have instead."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_world import CoreWorld
from vramd_supervisor.core.actions import Action, Decided, Grant, Load, SetThreads
from vramd_supervisor.core.cpu_load import CpuLoad
from vramd_supervisor.core.events import CpuSampled, Event
from vramd_supervisor.devices.cpu_sampler import CpuSampler
from vramd_supervisor.devices.cpu_time import CpuReading, read_cpu
from vramd_supervisor.domain.config import Config, ServerConfig
from vramd_supervisor.domain.decisions import DecisionKind
from vramd_supervisor.loop import Loop


@pytest.fixture
def world() -> CoreWorld:
    return CoreWorld(Config(server=ServerConfig(spare=False)), spare=False)


def after(load: CpuLoad, *readings: float, cores: int = 2) -> list[int]:
    """The cores left after each of these readings."""
    left = []
    for foreign_cores in readings:
        load = load.after(cores, foreign_cores, follows=True)
        left.append(load.left)
    return left


def test_a_busy_core_is_left_alone_within_two_readings() -> None:
    assert after(CpuLoad(2, 2), 0.0, 0.4, 1.0, 1.0) == [2, 2, 1, 1]


def test_a_core_is_used_again_after_three_calm_readings() -> None:
    assert after(CpuLoad(2, 1, (1.0, 1.0, 1.0)), 0.6, 0.1, 0.0, 0.1) == [1, 1, 1, 2]


def test_a_client_that_reads_its_stream_takes_no_core() -> None:
    assert after(CpuLoad(2, 2), *[0.45] * 6) == [2] * 6


def test_a_core_that_is_half_busy_does_not_swing() -> None:
    assert after(CpuLoad(2, 2), *[0.45, 0.55, 0.35] * 5) in ([2] * 15, [2] * 1 + [1] * 14)
    assert after(CpuLoad(2, 1, (0.5,) * 3), *[0.35, 0.45] * 5) == [1] * 10


def test_cores_that_are_reserved_are_the_first_that_others_take() -> None:
    assert after(CpuLoad(6, 6), 1.9, 1.9, 3.2, 3.2, cores=8) == [6, 6, 5, 5]


@given(
    st.integers(1, 64),
    st.integers(0, 8),
    st.lists(st.floats(0, 100), max_size=12),
    st.lists(st.booleans(), max_size=12),
)
def test_at_least_one_core_is_left_and_never_more_than_there_are(
    cores: int, reserved: int, readings: Sequence[float], follows: Sequence[bool]
) -> None:
    load = CpuLoad(max(1, cores - reserved), max(1, cores - reserved))
    for foreign_cores, follow in zip(readings, follows, strict=False):
        load = load.after(cores, foreign_cores, follows=follow)
        assert 1 <= load.left <= load.limit
        assert follow or load.left == load.limit
    for _ in range(3):
        load = load.after(cores, 0.0, follows=True)
    assert load.left == load.limit, "all of them are used once others take nothing"


def busy(world: CoreWorld, foreign_cores: float, readings: int = 3) -> list[Action]:
    """Tells the core, which has three cores, so many times; returns what follows."""
    return [action for _ in range(readings) for action in world.tell(CpuSampled(world.now_s, 3, foreign_cores))]


def loaded(world: CoreWorld) -> list[Action]:
    """Loads the model; returns what that took."""
    taken: list[Action] = []
    request = world.request("small")
    while world.errands:
        taken += world.actions
        world.run_errand()
    taken += world.actions
    world.caller(request, "end")
    return taken


def test_a_model_that_generates_makes_way_and_has_its_threads_back(world: CoreWorld) -> None:
    loaded(world)
    request = world.request("small")
    threads, told = busy(world, 2.0)
    assert isinstance(threads, SetThreads)
    assert threads.threads == 1
    assert isinstance(told, Decided)
    assert (told.decision.kind, told.decision.model) == (DecisionKind.THREADS, "small")
    assert told.decision.message == "computes with 1 instead of 2 CPU threads: other programs take 2.0 cores"
    assert [action.threads for action in busy(world, 0.0) if isinstance(action, SetThreads)] == [2]
    world.caller(request, "end")
    world.core.check()


def test_the_next_to_generate_gets_what_is_left(world: CoreWorld) -> None:
    loaded(world)
    assert busy(world, 2.0) == []
    world.request("small")
    assert [action.threads for action in world.actions if isinstance(action, Grant)] == [1]
    assert [a.decision.kind for a in world.actions if isinstance(a, Decided)] == [DecisionKind.THREADS]


def test_a_load_takes_no_more_threads_than_are_left(world: CoreWorld) -> None:
    busy(world, 2.0)
    assert [action.threads for action in loaded(world) if isinstance(action, Load)] == [1]


def test_it_is_told_once_a_minute(world: CoreWorld) -> None:
    loaded(world)
    world.request("small")
    followed = [action for _ in range(3) for action in (*busy(world, 2.0), *busy(world, 0.0))]
    assert len([action for action in followed if isinstance(action, SetThreads)]) == 6
    assert len([action for action in followed if isinstance(action, Decided)]) == 1
    world.now_s += 60
    assert [type(action) for action in busy(world, 2.0)] == [SetThreads, Decided]


def test_it_can_be_switched_off(world: CoreWorld) -> None:
    loaded(world)
    world.request("small")
    config = world.core.config
    world.core.state.config = replace(config, server=replace(config.server, yield_cores=False))
    assert busy(world, 2.0) == []


BEFORE = CpuReading(10.0, (100.0, 50.0), {1: 20.0, 7: 5.0})


@pytest.mark.parametrize(
    ("now", "foreign"),
    [
        (CpuReading(10.5, (100.5, 50.5), {1: 20.1, 7: 5.9}), 0.0),
        (CpuReading(10.5, (100.5, 50.5), {1: 20.0, 7: 5.5}), 1.0),
        (CpuReading(10.5, (100.5, 50.5), {1: 20.0, 7: 5.5, 9: 0.25}), 0.5),
        (CpuReading(10.5, (100.1, 50.0), {1: 20.0, 7: 5.5}), 0.0),
        (CpuReading(10.5, (100.5, 50.5), {1: 20.0}), None),
        (CpuReading(10.5, (100.5, 50.5), {1: 20.0, 7: 0.1}), None),
        (CpuReading(10.0, (100.5, 50.5), {1: 20.0, 7: 5.0}), None),
        (CpuReading(10.5, (100.5,), {1: 20.0, 7: 5.0}), None),
    ],
    ids=[
        "ours",
        "others",
        "a new one",
        "counted late",
        "one has ended",
        "its number is another's",
        "no time",
        "a core less",
    ],
)
def test_what_others_took_is_what_none_of_ours_did(now: CpuReading, foreign: float | None) -> None:
    found = now.foreign_cores(BEFORE)
    assert found == (None if foreign is None else pytest.approx(foreign))


def test_this_machine_can_be_read() -> None:
    before = read_cpu([999_999_999])
    while (now := read_cpu([])).own_s == before.own_s:  # it reads until a hundredth of a second is used up
        pass
    assert len(now.own_s) == 1
    assert sum(now.busy_s) >= sum(before.busy_s)
    foreign_cores = now.foreign_cores(before)
    assert foreign_cores is not None
    assert 0 <= foreign_cores <= now.cores


def test_readings_that_tell_nothing_are_passed_over(world: CoreWorld, caplog: pytest.LogCaptureFixture) -> None:
    readings: list[CpuReading | OSError] = [
        CpuReading(1.0, (1.0, 1.0), {1: 0.0}),
        CpuReading(1.1, (1.1, 1.1), {1: 0.0}),
        OSError("no such file"),
        OSError("no such file"),
        CpuReading(2.0, (2.0, 1.0), {1: 0.0}),
        CpuReading(3.0, (3.0, 2.0), {}),
        CpuReading(4.0, (4.0, 2.0), {}),
    ]

    def read(_: Sequence[int]) -> CpuReading:
        reading = readings.pop(0)
        if isinstance(reading, OSError):
            raise reading
        return reading

    told: list[Event] = []

    def handle(event: Event) -> list[Action]:
        told.append(event)
        return []

    async def looks() -> None:
        sampler = CpuSampler(Loop(world.core, lambda _: None, handle), list, read)
        for _ in range(len(readings)):
            await sampler.look()

    with caplog.at_level(logging.WARNING):
        asyncio.run(looks())
    assert [event.foreign_cores for event in told if isinstance(event, CpuSampled)] == [1.0, 1.0]
    assert len(caplog.records) == 1
