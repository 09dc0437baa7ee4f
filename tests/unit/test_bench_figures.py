"""The values that benchmarks give, and how streams are counted."""

import pytest
from vramd_bench.figures import BenchError, Unit, at_least, at_most, figure, ratios
from vramd_bench.two_models import rate_together
from vramd_bench.wire import Streamed


def test_a_spread_is_that_of_its_runs() -> None:
    spread = figure("swap", Unit.SECONDS, [3.0, 1.0, 2.0, 10.0]).spread
    assert (spread.least, spread.median, spread.most) == (1.0, 2.5, 10.0)
    assert spread.runs == (3.0, 1.0, 2.0, 10.0)


@pytest.mark.parametrize(("value", "met"), [(1.24, True), (1.25, True), (1.26, False)])
def test_at_most(value: float, met: bool) -> None:
    assert figure("share", Unit.RATIO, [value], at_most(1.25)).met is met


@pytest.mark.parametrize(("value", "met"), [(0.98, True), (0.97, True), (0.96, False)])
def test_at_least(value: float, met: bool) -> None:
    assert figure("share", Unit.RATIO, [value], at_least(0.97)).met is met


def test_a_figure_without_a_bar_is_neither_met_nor_missed() -> None:
    assert figure("swap", Unit.SECONDS, [1.0]).met is None


def test_the_median_is_judged() -> None:
    assert figure("share", Unit.RATIO, [1.0, 1.1, 9.0], at_most(1.25)).met is True


def test_ratios_are_taken_pair_by_pair() -> None:
    # The machine was twice as slow in the second run, for both.
    found = ratios("share", [10.0, 20.0], [5.0, 10.0], at_most(2.0))
    assert found.spread.runs == (2.0, 2.0)
    assert found.met


def test_values_without_a_partner_are_a_fault() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratios("share", [1.0, 2.0], [1.0], at_most(2.0))


def test_a_stream_counts_from_its_request() -> None:
    stream = Streamed(10.0, (11.0, 12.0, 14.0), (1, 2, 1))
    assert stream.first_token_s == 1.0
    assert stream.tokens_per_s == 1.0
    assert stream.tokens_between(11.0, 12.0) == 2
    assert stream.tokens_between(0.0, 20.0) == 4


def test_streams_together_are_counted_while_both_run() -> None:
    early = Streamed(0.0, (1.0, 2.0, 3.0, 4.0), (1, 1, 1, 1))
    late = Streamed(0.0, (2.0, 4.0, 6.0, 8.0), (1, 1, 1, 1))
    # From 2 to 4: two tokens of the one, one of the other.
    assert rate_together([early, late]) == 1.5
    # Alone from its first token to its last.
    assert rate_together([early]) == 1.0


def test_streams_that_never_ran_together_give_no_rate() -> None:
    with pytest.raises(BenchError, match="did not overlap"):
        rate_together([Streamed(0.0, (1.0, 2.0), (1, 1)), Streamed(2.5, (3.0, 4.0), (1, 1))])
