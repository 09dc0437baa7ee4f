"""Figures as one document, and the timeline as text. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from .figures import Doing, Figures, ModelFigures, shares, waits

COLUMNS = 72
"""Limit for the timeline."""
_MOST_LOADS_SHOWN = 9


def report(figures: Figures, duration_s: float) -> dict[str, object]:
    """All that is said of a simulation; `duration_s` is how long callers asked."""
    models = dict(sorted(figures.models.items()))
    refused = Counter[str]()
    for found in models.values():
        refused.update(found.refused)
    loads = sum(len(found.loads) for found in models.values())
    doing = shares(models, duration_s)
    return {
        "duration_s": duration_s,
        "events": figures.events,
        "requests": {
            "asked": sum(found.asked for found in models.values()),
            "answered": sum(found.answered for found in models.values()),
            "refused": dict(sorted(refused.items())),
        },
        "wait": _waits([one for found in models.values() for one in found.to_place_s]),
        "first_token": _waits([one for found in models.values() for one in found.to_first_token_s]),
        "swaps": {
            "loads": loads,
            "loads_per_minute": 60 * loads / duration_s,
            "evictions": sum(figures.evictions.values()),
            "evicted_for": [
                {"model": model, "for": for_model, "times": times}
                for (model, for_model), times in sorted(figures.evictions.items())
            ],
            "loading_share": doing[Doing.LOADING],
            "working_share": doing[Doing.WORKING],
        },
        "thrash": [asdict(one) for one in figures.thrash],
        "models": {id_: _model(found, duration_s) for id_, found in models.items()},
        "devices": {
            device: {
                "budget_bytes": budget_bytes,
                "peak_bytes": max(size for _, size in figures.promised[device]),
                "mean_bytes": round(_mean(figures.promised[device], duration_s)),
            }
            for device, budget_bytes in sorted(figures.budgets.items())
        },
        "timeline": timeline(figures, duration_s),
    }


def _waits(seconds: Sequence[float]) -> dict[str, float] | None:
    found = waits(seconds)
    return {name: round(value, 6) for name, value in asdict(found).items()} if found else None


def _model(found: ModelFigures, duration_s: float) -> dict[str, object]:
    return {
        "asked": found.asked,
        "answered": found.answered,
        "refused": dict(sorted(found.refused.items())),
        "wait": _waits(found.to_place_s),
        "first_token": _waits(found.to_first_token_s),
        "loads": len(found.loads),
        "evicted": found.evicted,
        "seconds": {doing.name.lower(): round(spent, 6) for doing, spent in found.seconds(duration_s).items()},
    }


def _mean(steps: Sequence[tuple[float, int]], end_s: float) -> float:
    ends = [*(at_s for at_s, _ in steps[1:]), end_s]
    spans = zip(steps, ends, strict=True)
    return sum(value * max(0.0, min(to_s, end_s) - from_s) for (from_s, value), to_s in spans) / end_s


def timeline(figures: Figures, duration_s: float) -> dict[str, object]:
    """A row of signs for each model, with the loads of each column below, and the longest queue of each column."""
    column_s = max(1.0, duration_s / COLUMNS)
    columns = max(1, round(duration_s / column_s))
    column_s = duration_s / columns
    return {
        "column_s": column_s,
        "models": {
            id_: {"doing": _row(found, column_s, columns), "loads": _counts(found.loads, column_s, columns)}
            for id_, found in sorted(figures.models.items())
        },
        "waiting": _highest(figures.waiting, column_s, columns),
        "signs": {doing.value: doing.name.lower() for doing in Doing},
    }


def _row(found: ModelFigures, column_s: float, columns: int) -> str:
    """In each column what the model did for the longest part of it."""
    spent = [dict.fromkeys(Doing, 0.0) for _ in range(columns)]
    ends = [*(at_s for at_s, _ in found.doing[1:]), column_s * columns]
    for (from_s, doing), to_s in zip(found.doing, ends, strict=True):
        for column in range(int(from_s / column_s), columns):
            part_s = min(to_s, (column + 1) * column_s) - max(from_s, column * column_s)
            if part_s <= 0:
                break
            spent[column][doing] += part_s
    return "".join(max(Doing, key=lambda doing: one[doing]).value for one in spent)


def _counts(moments_s: Sequence[float], column_s: float, columns: int) -> str:
    found = Counter(int(at_s / column_s) for at_s in moments_s)
    return "".join(_digit(found[column]) for column in range(columns))


def _highest(steps: Sequence[tuple[float, int]], column_s: float, columns: int) -> str:
    """The highest value within each column."""
    highest = [0] * columns
    ends = [*(at_s for at_s, _ in steps[1:]), column_s * columns]
    for (from_s, value), to_s in zip(steps, ends, strict=True):
        for column in range(int(from_s / column_s), columns):
            if column * column_s >= to_s:
                break
            highest[column] = max(highest[column], value)
    return "".join(map(_digit, highest))


def _digit(count: int) -> str:
    if not count:
        return " "
    return str(count) if count <= _MOST_LOADS_SHOWN else "+"
