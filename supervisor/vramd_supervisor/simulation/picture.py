"""The timeline as a picture: what each model did, who waited, and what was promised of each device."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.patches import Patch

from .figures import Doing, Figures

COLOURS = {
    Doing.WANTED: "gold",
    Doing.LOADING: "tab:red",
    Doing.IDLE: "lightgrey",
    Doing.WORKING: "tab:green",
    Doing.LEAVING: "tab:purple",
}
"""Absent models are not drawn."""


def draw(figures: Figures, duration_s: float, title: str, file: Path) -> None:
    """Writes the PNG. Raises OSError."""
    mpl.use("Agg")
    models = sorted(figures.models)
    devices = sorted(figures.budgets)
    heights = [0.4 * len(models) + 0.6, 1.4, *(1.4 for _ in devices)]
    picture = Picture(figsize=(12, sum(heights) + 1.2), layout="constrained")
    axes = picture.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    _models(axes[0], figures, models, duration_s)
    _steps(axes[1], figures.waiting, duration_s, 1)
    axes[1].set_ylabel("waiting")
    for axis, device in zip(axes[2:], devices, strict=True):
        _steps(axis, figures.promised[device], duration_s, 2**30)
        axis.axhline(figures.budgets[device] / 2**30, color="black", linestyle="--", linewidth=1)
        axis.set_ylabel(f"{device}\nGiB")
    axes[-1].set_xlabel("s")
    axes[-1].set_xlim(0, duration_s)
    picture.suptitle(title)
    picture.savefig(file, dpi=110, format="png")


def _models(axis: Axes, figures: Figures, models: list[str], duration_s: float) -> None:
    for row, id_ in enumerate(models):
        doing = figures.models[id_].doing
        ends = [*(at_s for at_s, _ in doing[1:]), duration_s]
        for wanted, colour in COLOURS.items():
            spans = [
                (from_s, min(to_s, duration_s) - from_s)
                for (from_s, what), to_s in zip(doing, ends, strict=True)
                if what is wanted and from_s < duration_s
            ]
            axis.broken_barh(spans, (row - 0.4, 0.8), facecolors=colour)
    axis.set_yticks(range(len(models)), models)
    axis.invert_yaxis()
    axis.legend(
        handles=[Patch(color=colour, label=doing.name.lower()) for doing, colour in COLOURS.items()],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(COLOURS),
        fontsize=8,
    )


def _steps(axis: Axes, steps: list[tuple[float, int]], duration_s: float, unit: int) -> None:
    moments_s = [*(at_s for at_s, _ in steps), duration_s]
    values = [*(value / unit for _, value in steps), steps[-1][1] / unit]
    axis.step(moments_s, values, where="post", linewidth=1)
    axis.set_ylim(bottom=0)
