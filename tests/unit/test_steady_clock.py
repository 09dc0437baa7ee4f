"""The clock of the event loop: what jumps does not count, what passes does."""

import asyncio

import pytest
from vramd_supervisor import steady_clock
from vramd_supervisor.steady_clock import JUMP_S, LAG_KEPT_S, PERIOD_S, SteadyClock


class System:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def clock(system: System) -> SteadyClock:
    return SteadyClock(system)


def test_what_passes_is_counted(system: System, clock: SteadyClock) -> None:
    for passed_s in (0.0, 0.25, PERIOD_S, JUMP_S):
        before_s = clock.now_s()
        system.now_s += passed_s
        assert clock.now_s() == pytest.approx(before_s + passed_s)


@pytest.mark.parametrize("jump_s", [JUMP_S + 0.1, 3600.0, 1e6])
def test_a_jump_ahead_counts_as_one_period(system: System, clock: SteadyClock, jump_s: float) -> None:
    before_s = clock.now_s()
    system.now_s += jump_s
    assert clock.now_s() == pytest.approx(before_s + PERIOD_S)
    system.now_s += 1
    assert clock.now_s() == pytest.approx(before_s + PERIOD_S + 1)


def test_it_never_goes_back(system: System, clock: SteadyClock) -> None:
    before_s = clock.now_s()
    system.now_s -= 500
    assert clock.now_s() == pytest.approx(before_s)
    system.now_s += 1
    assert clock.now_s() == pytest.approx(before_s + 1)


def test_the_lag_is_the_worst_of_the_last_minute(system: System, clock: SteadyClock) -> None:
    assert clock.lag_s == 0
    clock.looked(0.3)
    clock.looked(0.1)
    assert clock.lag_s == 0.3
    for _ in range(int(LAG_KEPT_S) + 1):
        system.now_s += 1
        clock.looked(0.05)
    assert clock.lag_s == 0.05


def test_what_an_event_loop_waits_for_comes_no_earlier_for_a_jump(system: System) -> None:
    """Its own timers are told apart from those that the clock jumped over."""

    async def story() -> list[str]:
        rang: list[str] = []
        loop = asyncio.get_running_loop()
        steady_clock.install(loop)
        loop.call_later(600, rang.append, "an hour too early")
        loop.call_later(0.2, rang.append, "in time")
        system.now_s += 3600
        while not rang:
            await asyncio.sleep(0)
            system.now_s += 0.01
        await asyncio.sleep(0)
        return rang

    loop = asyncio.new_event_loop()
    loop.time = system  # type: ignore[method-assign]
    try:
        assert loop.run_until_complete(story()) == ["in time"]
    finally:
        loop.close()
