"""Sizes of steps follow what they cost: texts keep their gap, prompts their speed, turns are taken where it pays."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from vramd_worker.llama.step_costs import DEAREST, FIRST_TOKENS, FRESH_S, StepCosts

Cost = Callable[[int], float]


def settle(costs: StepCosts, cost: Cost, gap_s: float, texts: int = 1, now_s: float = 0.0) -> int:
    """Tokens of a step after some, each of which costs as told."""
    size = 0
    for number in range(20):
        size = costs.step_tokens(texts, gap_s, 512, now_s + number / 100)
        costs.learn(size, cost(size), now_s + number / 100, prompts=True)
    return size


def turns(costs: StepCosts, cost: Cost, texts: int, now_s: float = 0.0) -> int:
    """Texts of a step after some."""
    size = 0
    for number in range(20):
        size = costs.at_once(texts, now_s + number / 100)
        costs.learn(size, cost(size), now_s + number / 100, prompts=False)
    return size


def test_the_first_step_has_a_size_that_suits_most_machines() -> None:
    assert StepCosts().step_tokens(3, 0.15, 512, 0.0) == FIRST_TOKENS
    assert StepCosts().step_tokens(3, 0.15, 32, 0.0) == 32


def test_a_fast_machine_computes_large_parts_and_a_slow_one_small_ones() -> None:
    assert settle(StepCosts(), lambda size: 0.0002 * size, 0.15) == 512
    assert settle(StepCosts(), lambda size: 0.004 * size, 0.15) == 32
    assert settle(StepCosts(), lambda size: 0.02 + 0.004 * size, 0.15) == 32


def test_a_smaller_step_that_takes_as_long_is_not_taken() -> None:
    """As measured: 64 tokens cost hardly more than 32, and a step of 16 has half of the rate."""
    measured = {8: 0.19, 16: 0.21, 32: 0.41, 64: 0.42, 128: 0.8, 256: 1.6, 512: 3.2}
    assert settle(StepCosts(), lambda size: measured[size], 0.15) == 64


def test_texts_leave_prompts_less_of_a_small_step() -> None:
    assert settle(StepCosts(), lambda size: 0.02 * size, 0.0, texts=1) == 8
    assert settle(StepCosts(), lambda size: 0.02 * size, 0.0, texts=8) == 32, "of 16 tokens half would be prompts'"


def test_texts_that_are_slow_by_themselves_have_no_less_of_a_gap() -> None:
    costs = StepCosts()
    costs.learn(2, 0.5, 0.0, prompts=False)
    assert settle(costs, lambda size: 0.004 * size, 0.15, texts=2) == 64


def test_what_was_measured_long_ago_is_measured_again() -> None:
    costs = StepCosts()
    assert settle(costs, lambda size: 0.02 * size, 0.15) == 8
    assert settle(costs, lambda size: 0.0002 * size, 0.15, now_s=2 * FRESH_S) == 512


@given(st.lists(st.floats(0.001, 1.0), min_size=7, max_size=7), st.floats(0.01, 1.0))
def test_prompts_never_pay_more_than_they_may(increments: list[float], gap_s: float) -> None:
    costs, sizes = StepCosts(), [8 << power for power in range(7)]
    measured = {size: sum(increments[: number + 1]) for number, size in enumerate(sizes)}
    for size, cost in measured.items():
        costs.learn(size, cost, 0.0, prompts=True)
    size = costs.step_tokens(1, gap_s, 512, 1.0)
    rates = {size: cost / (size - 1) for size, cost in measured.items()}
    assert rates[size] <= DEAREST * min(rates.values()) * 1.000001
    if measured[size] > gap_s:
        cheap = [one for one in sizes if rates[one] <= DEAREST * min(rates.values())]
        assert measured[size] == min(measured[one] for one in cheap), "no other would have a shorter gap"


def test_where_two_tokens_cost_more_than_two_steps_texts_take_turns() -> None:
    def measured(size: int) -> float:
        return {1: 0.012, 2: 0.033, 3: 0.04, 4: 0.042}.get(size, 0.06)

    assert [turns(StepCosts(), measured, texts) for texts in (1, 2, 3, 4, 8)] == [1, 1, 1, 4, 8]


def test_where_a_batch_is_cheap_all_are_computed_together() -> None:
    assert [turns(StepCosts(), lambda size: 0.01 + 0.001 * size, texts) for texts in (1, 2, 3, 8)] == [1, 2, 3, 8]


def test_halves_are_not_tried_where_the_batch_is_far_cheaper() -> None:
    def tried(cost: Cost) -> set[int]:
        costs, sizes = StepCosts(), set()
        for number in range(20):
            sizes.add(size := costs.at_once(8, number / 100))
            costs.learn(size, cost(size), number / 100, prompts=False)
        return sizes

    assert tried(lambda size: 0.01 + 0.003 * size) == {8, 1}
    assert tried(lambda size: 0.01 + 0.008 * size) == {8, 1, 4}


def test_the_better_way_is_found_again_when_costs_change() -> None:
    costs = StepCosts()
    assert turns(costs, lambda size: 0.01 * size * size, 2) == 1
    assert turns(costs, lambda size: 0.01, 2, now_s=2 * FRESH_S) == 2
    assert turns(costs, lambda size: 0.01 * size * size, 2, now_s=4 * FRESH_S) == 1


@given(st.integers(1, 12), st.lists(st.floats(0.001, 0.1), min_size=12, max_size=12))
def test_turns_are_never_slower_than_the_batch_nor_than_one_after_the_other(texts: int, measured: list[float]) -> None:
    costs = StepCosts()
    for size, seconds in enumerate(measured, 1):
        for _ in range(3):
            costs.learn(size, seconds, 0.0, prompts=False)
    size = costs.at_once(texts, 1.0)
    took = -(-texts // size) * measured[size - 1]
    assert took <= min(measured[texts - 1], texts * measured[0]) / 0.95
