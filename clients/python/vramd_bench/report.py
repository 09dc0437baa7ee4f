"""Formats results as rows of a table, as JSON, and as the section of a README."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import MARKS
from .figures import Bar, BenchError, Figure, Result, Unit
from .machine import Machine

COLUMNS = ("FIGURE", "MIN>", "MEDIAN>", "MAX>", "BAR>", "")
_MET = {True: "met", False: "missed", None: ""}


@dataclass(frozen=True)
class Report:
    """All results, and where they were measured."""

    machine: Machine
    model: str
    """Name of the file."""
    model_bytes: int
    threads: int
    """CPU threads that the supervisor uses at most."""
    runs: int
    quick: bool
    results: tuple[Result, ...]


def amount(value: float, unit: Unit) -> str:
    """For people: 1.23 ms, 45.6 MB, 160 tokens/s, 0.98 ×, 7 %."""
    match unit:
        case Unit.SECONDS:
            return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.{0 if value >= 0.1 else 2}f} ms"
        case Unit.BYTES:
            return f"{value / 1e6:.1f} MB"
        case Unit.TOKENS_PER_S:
            return f"{value:.1f} tokens/s"
        case Unit.RATIO:
            return f"{value:.2f} ×"  # noqa: RUF001  the sign is meant
        case Unit.SHARE:
            return f"{value * 100:.0f} %"


def rows(result: Result) -> list[tuple[str, ...]]:
    """One per figure, for `COLUMNS`."""
    return [_row(figure) for figure in result.figures]


def _row(figure: Figure) -> tuple[str, ...]:
    spread = figure.spread
    values = (amount(value, figure.unit) for value in (spread.least, spread.median, spread.most))
    return (figure.name, *values, _limit(figure.bar, figure.unit), _MET[figure.met])


def _limit(bar: Bar | None, unit: Unit) -> str:
    return "" if bar is None else f"{'≤' if bar.at_most else '≥'} {amount(bar.limit, unit)}"


def where(report: Report) -> str:
    """Machine, versions and model in one line."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    commit = f", commit {machine.commit}" if machine.commit else ""
    quick = "; quick: these figures are of no worth" if report.quick else ""
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.ram_bytes / 1e9:.1f} GB, {machine.system}; "
        f"{report.threads} threads; Python {machine.python}, {versions}{commit}; "
        f"{report.model}, {report.model_bytes / 1e6:.0f} MB; {report.runs} runs{quick}"
    )


def as_json(report: Report) -> dict[str, object]:
    """Names of units are those of `Unit`; `met` is null where there is no bar."""
    return {
        "machine": asdict(report.machine),
        "model": {"name": report.model, "size_bytes": report.model_bytes},
        "threads": report.threads,
        "runs": report.runs,
        "quick": report.quick,
        "results": [
            {
                "benchmark": result.benchmark,
                "figures": [_figure_as_json(figure) for figure in result.figures],
                "notes": list(result.notes),
            }
            for result in report.results
        ],
    }


def _figure_as_json(figure: Figure) -> dict[str, object]:
    return {
        "name": figure.name,
        "unit": figure.unit.value,
        "min": figure.spread.least,
        "median": figure.spread.median,
        "max": figure.spread.most,
        "values": list(figure.spread.runs),
        "bar": None if figure.bar is None else asdict(figure.bar),
        "met": figure.met,
    }


def as_markdown(report: Report) -> str:
    """One table of the figures that have a bar, and where they were measured."""
    lines = ["| | | median | min | max | bar | |", "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for result in report.results:
        for figure in result.figures:
            if figure.bar is not None:
                name, least, median, most, limit, met = _row(figure)
                lines.append(f"| {' | '.join((result.benchmark, name, median, least, most, limit, met))} |")
    return "\n".join([*lines, "", f"{where(report)}. The median is judged."])


def put_into(text: str, section: str) -> str:
    """The text with another section between the marks. Raises BenchError if it has not one of each, in order."""
    begin, end = MARKS
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end) or begin in rest or end in after:
        raise BenchError(f"the file has to have one line {begin} and, below it, one line {end}")
    return f"{before}{begin}\n{section}\n{end}{after}"


def write_readme(file: Path, report: Report) -> None:
    """Replaces the section of a file. Raises BenchError, OSError."""
    file.write_text(put_into(file.read_text("utf-8"), as_markdown(report)), "utf-8")


def missed(results: Sequence[Result]) -> list[str]:
    """The figures below their bars, by benchmark and name."""
    return [
        f"{result.benchmark}: {figure.name}" for result in results for figure in result.figures if figure.met is False
    ]
