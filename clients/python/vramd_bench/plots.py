"""A picture for each benchmark: one panel per unit, medians as columns, the range as a line, bars as ticks."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from .figures import Figure, Result, Unit
from .report import amount

COLOURS = {True: "tab:green", False: "tab:red", None: "tab:blue"}
SCALES = {Unit.SECONDS: (1e3, "ms"), Unit.BYTES: (1e-6, "MB"), Unit.SHARE: (100.0, "%")}


def draw(result: Result, folder: Path, caption: str) -> Path:
    """Writes `BENCHMARK.png`. Raises OSError."""
    mpl.use("Agg")
    panels = {unit: found for unit in Unit if (found := [f for f in result.figures if f.unit is unit])}
    sizes = [len(found) for found in panels.values()]
    picture = Picture(figsize=(10, 1 + 0.45 * sum(sizes) + 0.6 * len(sizes)), layout="constrained")
    axes = picture.subplots(len(panels), 1, squeeze=False, height_ratios=sizes)
    for axis, (unit, found) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(axis, unit, found)
    picture.suptitle(f"vramd bench {result.benchmark}: min, median, max")
    picture.supxlabel(caption, fontsize=6, wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.benchmark}.png"
    picture.savefig(file, dpi=120)
    return file


def _panel(axis: Axes, unit: Unit, figures: list[Figure]) -> None:
    scale, name = SCALES.get(unit, (1.0, unit.value))
    for row, figure in enumerate(figures):
        spread = figure.spread
        axis.barh(row, spread.median * scale, color=COLOURS[figure.met], alpha=0.7)
        axis.plot([spread.least * scale, spread.most * scale], [row, row], color="black", linewidth=1.5)
        label = amount(spread.median, unit)
        if figure.bar is not None:
            limit = figure.bar.limit * scale
            axis.plot([limit, limit], [row - 0.45, row + 0.45], color="black", linestyle="--", linewidth=1)
            label += f" ({'met' if figure.met else 'missed'})"
        axis.annotate(label, (spread.most * scale, row), xytext=(4, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(figures)), [figure.name for figure in figures])
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.set_xlim(left=0)
    axis.set_xlabel(name)
