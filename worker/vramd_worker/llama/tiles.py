"""How many tokens of a lone prompt a step computes on a CPU, by how attention is computed there. Pure.

From 64 rows on, ggml's flash attention computes 64 at a time over whatever is before them (ggml-cpu/ops.cpp); fewer
are computed one by one, each at more than twice the price. So, far into a text, 63 tokens take longer than 64,
and 72 longer than 64 and then 8.
"""

from typing import NamedTuple

TILE_TOKENS = 64
_ALONE = 2.7
"""Times that attention of a row costs outside of a tile: 2.5 to 2.7 with one thread and with two (x86, AVX-512)."""
_CELLS_PER_WIDTH = 2.2
"""Cells, for each dimension of a token's vector, by which attention of a row in a tile costs as much as its weights.

Measured with a model of 246 M weights in Q8_0: 2,300 cells with 1,024 dimensions.
"""
_STEP_TOKENS = 5
"""What a step costs whatever its size, in tokens: weights are read once for all."""


class Step(NamedTuple):
    tokens: int
    """Of the prompt."""
    spare: int = 0
    """Computed behind them for the size of the step only."""


def step(left: int, position: int, most: int, dimensions: int, *, spares: bool) -> Step:
    """Returns the next step of a prompt that has `left` tokens to compute, behind those before `position`.

    A step has `most` tokens at most. `dimensions` are those of the model's vector of a token; `spares` says whether
    there may be spare tokens.
    """
    if left >= most:
        return Step(most)
    begun = left % TILE_TOKENS
    steps = {Step(left): _cost(left, position, dimensions)}
    if begun and left > TILE_TOKENS:
        rest = _cost(begun, position + left - begun, dimensions)
        steps[Step(left - begun)] = _cost(left - begun, position, dimensions) + rest
    elif begun and spares and most >= TILE_TOKENS:
        steps[Step(left, TILE_TOKENS - left)] = _cost(TILE_TOKENS, position, dimensions)
    return min(steps, key=lambda step: steps[step])


def _cost(rows: int, position: int, dimensions: int) -> float:
    """Returns what a step of so many rows costs, in tokens without attention."""
    tiled = -(-rows // TILE_TOKENS) * TILE_TOKENS if rows >= TILE_TOKENS else _ALONE * rows
    return _STEP_TOKENS + rows + tiled * (position + rows) / (_CELLS_PER_WIDTH * dimensions)
