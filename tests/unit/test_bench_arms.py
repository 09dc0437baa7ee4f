"""Benchmarks: what others take of the CPU, and how often something is measured."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vramd_bench.arms import Arms
from vramd_bench.others import Others, share_of
from vramd_bench.subject import Setup

SETUP = Setup(Path("model.gguf"), runs=1, quick=False)
QUICK = Setup(Path("model.gguf"), runs=1, quick=True)


class Scripted:
    def __init__(self, share: float) -> None:
        self._share = share

    def share(self) -> float:
        return self._share


def watching(*shares: float) -> Callable[[], Scripted]:
    left = iter(shares)
    return lambda: Scripted(next(left))


def counted() -> Callable[[], int]:
    numbers: Iterator[int] = iter(range(1, 10))
    return lambda: next(numbers)


@pytest.mark.parametrize(
    ("shares", "setup", "taken", "kept"),
    [
        ([0.08], SETUP, 1, 0.08),
        ([0.5, 0.01], SETUP, 2, 0.01),
        ([0.5, 0.3, 0.4], SETUP, 2, 0.3),
        ([0.5], QUICK, 1, 0.5),
    ],
)
def test_what_others_disturb_is_measured_again_and_the_quietest_counts(
    shares: list[float], setup: Setup, taken: int, kept: float
) -> None:
    arms = Arms(setup, watching(*shares))
    assert arms.take("vramd", counted()) == taken
    (found,) = arms.figures()
    assert (found.name, found.spread.runs) == ("CPU of other programs, vramd", (kept,))


def test_each_arm_has_a_figure_of_its_measurements() -> None:
    arms = Arms(SETUP, watching(0.01, 0.02, 0.03))
    for arm in ("vramd", "direct", "vramd"):
        arms.take(arm, counted())
    assert [(f.name, f.spread.runs) for f in arms.figures()] == [
        ("CPU of other programs, vramd", (0.01, 0.03)),
        ("CPU of other programs, direct", (0.02,)),
    ]


@pytest.mark.parametrize(("foreign_s", "share"), [(1.0, 0.25), (-0.1, 0.0), (9.0, 1.0)])
def test_the_share_is_of_all_cores(foreign_s: float, share: float) -> None:
    assert share_of(foreign_s, took_s=2.0, cores=2) == share


def test_the_own_work_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = iter([10.0, 13.0])
    own = iter([4.0, 6.0])

    class Machine:
        def __init__(self) -> None:
            self._own_s = next(own)

        def children(self, recursive: bool) -> list["Machine"]:
            assert recursive
            return []

        def cpu_times(self) -> tuple[float, ...]:
            return (self._own_s, 0.0, 0.0, 0.0)

    class Times(tuple[float, ...]):
        idle = 100.0

    monkeypatch.setattr("vramd_bench.others.psutil.Process", Machine)
    monkeypatch.setattr("vramd_bench.others.psutil.cpu_times", lambda: Times((next(busy), Times.idle)))
    monkeypatch.setattr("vramd_bench.others.psutil.cpu_count", lambda: 2)
    moments = iter([0.0, 5.0])
    monkeypatch.setattr("vramd_bench.others.time.perf_counter", lambda: next(moments))
    watch = Others()
    assert watch.share() == pytest.approx(0.1), "one second of ten"
