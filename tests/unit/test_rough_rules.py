"""The rules that people know, against models whose need is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vramd_supervisor.quoting.rough_rules import GB, RoughFigure, nominal_bits, rough_figures

MIB = 1 << 20


@pytest.mark.parametrize(
    ("parameters", "bits", "size_mib"),
    [(8.03e9, 4, 4595), (8.03e9, 8, 9190), (7.62e9, 4, 4360), (1.24e9, 4, 710), (23.6e9, 4, 13504)],
)
def test_parameters_times_bits(parameters: float, bits: float, size_mib: int) -> None:
    """Figures that were computed by hand for well-known models."""
    formula, _ = rough_figures(parameters, bits)
    assert formula.least_bytes == formula.most_bytes
    assert formula.least_bytes / MIB == pytest.approx(size_mib, rel=0.002)


@pytest.mark.parametrize(
    ("billions", "least_gb", "most_gb"),
    [
        (0.0001, 1.5, 2.5),
        (1, 1.5, 2.5),
        (3, 1.5, 2.5),
        (4.5, 1.5, 2.5),
        (4.6, 4.5, 4.5),
        (8, 4.5, 4.5),
        (9.6, 7, 7),
        (13, 7, 7),
        (24, 12, None),
        (405, 12, None),
    ],
)
def test_the_row_of_the_table_that_is_nearest(billions: float, least_gb: float, most_gb: float | None) -> None:
    _, row = rough_figures(billions * 1e9, 4)
    assert row.least_bytes == least_gb * GB
    assert row.most_bytes == (None if most_gb is None else most_gb * GB)


def test_how_far_off_a_rule_is() -> None:
    exact = RoughFigure("a number", 4 * GB, 4 * GB)
    assert exact.error(5 * GB) == pytest.approx(-0.2)
    assert exact.error(2 * GB) == pytest.approx(1.0)
    assert exact.error(4 * GB) == 0
    bounds = RoughFigure("bounds", 2 * GB, 3 * GB)
    assert [bounds.error(size * GB) for size in (2, 3, 4, 1)] == pytest.approx([0, 0, -0.25, 1.0])
    upwards = RoughFigure("open", 12 * GB, None)
    assert upwards.error(100 * GB) == 0
    assert upwards.error(10 * GB) == pytest.approx(0.2)


def test_how_far_off_the_formula_is_for_a_known_model() -> None:
    """Llama 3.1 8B Q4_K_M with 8192 tokens takes 5686 MiB by llama.cpp's own allocator."""
    formula, table = rough_figures(8.03e9, 4)
    assert formula.error(5686 * MIB) == pytest.approx(-0.19, abs=0.005)
    assert table.error(5686 * MIB) == pytest.approx(-0.245, abs=0.005)


@given(st.floats(1e6, 1e13), st.floats(1, 32))
def test_every_model_has_a_figure_by_each_rule(parameters: float, bits: float) -> None:
    for figure in rough_figures(parameters, bits):
        assert figure.rule
        assert figure.least_bytes > 0
        assert figure.most_bytes is None or figure.most_bytes >= figure.least_bytes


@pytest.mark.parametrize(("parameters", "bits"), [(0, 4), (-1, 4), (8e9, 0), (float("nan"), 4)])
def test_no_model_has_no_figure(parameters: float, bits: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        rough_figures(parameters, bits)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("Q4_K_M", 4),
        ("Q8_0", 8),
        ("F16", 16),
        ("BF16", 16),
        ("F32", 32),
        ("IQ2_XXS", 2),
        ("MXFP4", 4),
        ("", None),
        ("?", None),
    ],
)
def test_the_bits_that_a_type_is_called_by(name: str, bits: int | None) -> None:
    assert nominal_bits(name) == bits
