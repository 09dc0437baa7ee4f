"""Which processes hang, by what they say of themselves: a table of stories on a clock that is moved by hand."""

import math
from collections.abc import Callable

import pytest
from vramd_supervisor.workers.progress import (
    ANSWER_S,
    MOST_STEP_S,
    MOST_TICK_S,
    PAUSE_S,
    STEPS,
    TICK_S,
    Activity,
    Limits,
    Stall,
    Uptime,
    Watch,
)

LIMITS = Limits(stall_s=20.0, load_stall_s=60.0)


class Told:
    """A watch, its clock, and a worker that says something once a second."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.now_s = 100.0
        self.watch = Watch(limits, self.now_s)
        self.owes = False
        self.says: Callable[[], list[Activity]] | None = list
        """What it says; None: nothing more."""

    def pass_s(self, seconds: float) -> Stall | None:
        """Lets time pass; returns the stall, at the moment it is seen."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            if self.says and self.now_s % 1.0 == 0.0:
                self.watch.heard(self.says(), self.now_s)
            self.watch.owes(self.owes, self.now_s)
            if stall := self.watch.stall(self.now_s):
                return stall
        return None

    def at_work(self, name: str = "decode", *, moving: bool, step_s: float = 0.0) -> None:
        """From now on one of its threads is at work, and moves or does not."""
        self.owes = True
        self.says = lambda: [Activity(name, True, int(self.now_s) if moving else 7, step_s)]


def test_one_that_makes_progress_does_not_hang_however_long_it_takes() -> None:
    told = Told()
    told.at_work(moving=True)
    assert told.pass_s(3600.0) is None


def test_one_that_owes_an_answer_and_says_nothing_hangs_after_its_time() -> None:
    told = Told()
    told.at_work(moving=True)
    told.pass_s(10.0)
    told.says = None
    assert told.pass_s(LIMITS.stall_s - TICK_S) is None
    stall = told.pass_s(TICK_S)
    assert stall is not None
    assert (stall.limit_s, stall.before) == (20.0, False)


def test_an_idle_one_that_says_nothing_is_left_alone_until_it_is_given_work() -> None:
    told = Told()
    told.says = None
    assert told.pass_s(3600.0) is None
    told.owes = True
    assert told.pass_s(ANSWER_S) is None
    stall = told.pass_s(TICK_S)
    assert stall is not None
    assert stall.before, "what it was given is not the cause"


def test_an_idle_one_that_answers_when_it_is_given_work_does_not_hang() -> None:
    told = Told()
    told.says = None
    told.pass_s(PAUSE_S + 1.0)
    told.owes = True
    told.pass_s(ANSWER_S - 1.0)
    told.at_work(moving=True)
    assert told.pass_s(3600.0) is None


def test_work_that_ends_without_a_sign_of_life_starts_the_wait_anew() -> None:
    told = Told()
    told.says = None
    told.pass_s(PAUSE_S + 1.0)
    for _ in range(5):
        told.owes = True
        assert told.pass_s(ANSWER_S - 1.0) is None
        told.owes = False
        assert told.pass_s(1.0) is None


@pytest.mark.parametrize(("name", "limit_s"), [("decode", 20.0), ("prompts", 20.0), ("load", 60.0)])
def test_a_thread_that_stands_still_hangs_though_its_process_says_so_every_second(name: str, limit_s: float) -> None:
    told = Told()
    told.at_work(name, moving=False)
    assert told.pass_s(limit_s) is None
    stall = told.pass_s(2.0)
    assert stall is not None
    assert name in stall.how
    assert stall.limit_s == limit_s


def test_one_thread_that_stands_still_is_seen_beside_others_that_move() -> None:
    told = Told()
    told.owes = True
    told.says = lambda: [Activity("prompts", True, int(told.now_s)), Activity("decode", True, 7)]
    stall = told.pass_s(30.0)
    assert stall is not None
    assert "decode" in stall.how


def test_a_thread_without_due_work_may_rest() -> None:
    told = Told()
    told.owes = True
    told.says = lambda: [Activity("decode", at_work=False, steps=7)]
    assert told.pass_s(3600.0) is None, "its one text has a pace of minutes per token"


def test_a_thread_that_rested_has_all_its_time_from_when_it_works_again() -> None:
    told = Told()
    told.at_work(moving=False)
    told.pass_s(19.0)
    told.says = lambda: [Activity("decode", at_work=False, steps=7)]
    told.pass_s(2.0)
    told.at_work(moving=False)
    assert told.pass_s(19.0) is None


@pytest.mark.parametrize(
    ("step_s", "limit_s"),
    [(0.01, 20.0), (30.0, STEPS * 30.0), (math.nan, 20.0), (math.inf, MOST_STEP_S), (1e9, MOST_STEP_S), (-1.0, 20.0)],
)
def test_a_slow_model_has_longer_within_bounds(step_s: float, limit_s: float) -> None:
    told = Told()
    told.at_work(moving=False, step_s=step_s)
    assert told.pass_s(limit_s) is None
    assert told.pass_s(2.0) is not None


def test_a_slow_model_has_no_longer_to_say_that_it_is_there() -> None:
    told = Told()
    told.at_work(moving=False, step_s=30.0)
    told.pass_s(10.0)
    told.says = None
    assert told.pass_s(LIMITS.stall_s) is not None


def test_time_in_which_the_supervisor_was_stopped_does_not_count() -> None:
    uptime = Uptime(5.0)
    assert uptime.tick(5.5) == 0.5
    assert uptime.tick(3600.0) == 0.5 + MOST_TICK_S


def test_after_a_long_stop_of_the_supervisor_no_one_hangs() -> None:
    told = Told()
    uptime = Uptime(0.0)
    told.watch.owes(True, uptime.s)
    told.watch.heard([Activity("decode", True, 7)], uptime.tick(1.0))
    assert told.watch.stall(uptime.tick(7200.0)) is None
