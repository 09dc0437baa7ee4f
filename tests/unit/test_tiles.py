"""Sizes of the steps of a lone prompt: none wastes most of a tile, and none is larger than it may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vramd_worker.llama.tiles import TILE_TOKENS, Step, step

DIMENSIONS = 1024


@pytest.mark.parametrize("left", [1, 20, 48, 65, 100, 129, 511])
def test_at_the_beginning_of_a_text_a_prompt_is_one_step(left: int) -> None:
    assert step(left, 0, 512, DIMENSIONS, spares=True) == Step(left)


@pytest.mark.parametrize(
    ("left", "expected"),
    # As measured behind 1,400 cells: 63 tokens 291 ms, 64 182 ms, 72 249 ms, 8 48 ms, 32 149 ms, 100 about 300 ms.
    [
        (8, Step(8)),
        (32, Step(32)),
        (56, Step(56, 8)),
        (63, Step(63, 1)),
        (64, Step(64)),
        (72, Step(64)),
        (100, Step(100)),
    ],
)
def test_far_into_a_text_tiles_are_full(left: int, expected: Step) -> None:
    assert step(left, 1400, 512, DIMENSIONS, spares=True) == expected


def test_without_spare_tokens_a_begun_tile_stays_so() -> None:
    assert step(56, 1400, 512, DIMENSIONS, spares=False) == Step(56)
    assert step(56, 1400, 60, DIMENSIONS, spares=True) == Step(56), "a batch has room for fewer"


def test_a_long_prompt_has_whole_batches() -> None:
    assert step(1500, 1400, 512, DIMENSIONS, spares=True) == Step(512)


@given(st.integers(1, 2000), st.integers(0, 100_000), st.integers(1, 2048), st.integers(1, 16384), st.booleans())
def test_a_step_goes_on_and_fits(left: int, position: int, most: int, dimensions: int, spares: bool) -> None:
    tokens, spare = step(left, position, most, dimensions, spares=spares)
    assert 0 < tokens <= left
    assert tokens + spare <= most
    assert not spare or (spares and tokens == left and tokens + spare == TILE_TOKENS)
