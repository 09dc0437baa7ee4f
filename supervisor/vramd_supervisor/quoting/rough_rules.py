"""Popular rules of thumb for a model's memory. Pure.

vramd decides nothing by them: it shows them beside its quote, with their error.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

GB = 10**9
"""Gigabyte of the rules: 10^9 bytes, as a billion parameters of 8 bits take one."""
_OVERHEAD = 1.2


@dataclass(frozen=True)
class RoughFigure:
    """The figure that one rule gives for a model."""

    rule: str
    """The rule in its usual words."""
    least_bytes: int
    most_bytes: int | None
    """Upper bound, equal to `least_bytes` if the rule gives one number; None if there is none ("12 GB and more")."""

    def error(self, true_bytes: int) -> float:
        """Returns the error as a share of the truth: -0.2 is a fifth too little; 0 for a truth within the bounds."""
        if true_bytes < self.least_bytes:
            return self.least_bytes / true_bytes - 1
        if self.most_bytes is not None and true_bytes > self.most_bytes:
            return self.most_bytes / true_bytes - 1
        return 0.0


@dataclass(frozen=True)
class _Row:
    """A row of the table for models of about 4 bits."""

    name: str
    least_parameters: float
    most_parameters: float
    least_bytes: int
    most_bytes: int | None


_TABLE = (
    _Row("1-3B: 1.5-2.5 GB", 1e9, 3e9, 3 * GB // 2, 5 * GB // 2),
    _Row("7B: 4.5 GB", 7e9, 7e9, 9 * GB // 2, 9 * GB // 2),
    _Row("13B: 7 GB", 13e9, 13e9, 7 * GB, 7 * GB),
    _Row("24B+: 12 GB+", 24e9, float("inf"), 12 * GB, None),
)


def rough_figures(parameters: float, bits: float) -> Sequence[RoughFigure]:
    """Returns what the rules say of a model with this number of parameters (8e9, not 8), each of `bits` bits.

    No rule considers the context, and the table does not consider the bits. Raises ValueError unless both are positive.
    """
    if not (parameters > 0 and bits > 0):
        raise ValueError("a model has more than 0 parameters of more than 0 bits")
    product = round(parameters * bits / 8 * _OVERHEAD)
    row = min(_TABLE, key=lambda row: _distance(parameters, row))
    return (
        RoughFigure("parameters x bits / 8 x 1.2", product, product),
        RoughFigure(f"table, {row.name}", row.least_bytes, row.most_bytes),
    )


def _distance(parameters: float, row: _Row) -> float:
    """Returns the factor between the model's size and the row's; 1 inside the row."""
    return max(row.least_parameters / parameters, parameters / row.most_parameters, 1.0)


def nominal_bits(quantization: str) -> int | None:
    """Reads the bits per parameter from a type's name (Q4_K_M: 4, BF16: 16); None if it has no number."""
    match = re.search(r"\d{1,2}", quantization, re.ASCII)
    return int(match[0]) if match and int(match[0]) else None
