"""`vramd simulate`: what a configuration would do with a traffic, on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import output
from ..parameters import DEVICE_SIZE
from ..settings import json_flag

if TYPE_CHECKING:
    from vramd_supervisor.domain.config import Size


@click.command("simulate", short_help="Say what a configuration would do with a traffic.")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("traffic", type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="Other dice than the traffic's.")
@click.option(
    "--device", "sizes", multiple=True, type=DEVICE_SIZE, metavar="DEVICE=SIZE", help="Size of a device: gpu0=8GiB."
)
@click.option("--png", type=click.Path(path_type=Path), help="Draw the timeline here.")
@click.option("--record", type=click.Path(path_type=Path), help="Write events and actions here, for replay.")
@json_flag
def simulate(
    config: Path,
    traffic: Path,
    seed: int | None,
    sizes: tuple[tuple[str, Size], ...],
    png: Path | None,
    record: Path | None,
    as_json: bool,
) -> None:
    """Runs hours of TRAFFIC in seconds: the scheduler is the real one, devices, models and time are not.

    Needs no supervisor and loads nothing. Both files are TOML; docs/simulation.md describes them.
    """
    from vramd_supervisor.settings.settings_file import ConfigError
    from vramd_supervisor.simulation.simulate import simulate_files
    from vramd_supervisor.simulation.traffic import TrafficError

    if png and find_spec("matplotlib") is None:
        raise output.Failed("--png needs: pip install 'vramd[bench]'")
    try:
        found = simulate_files(config, traffic, dict(sizes), seed=seed, png=png, record=record)
    except (ConfigError, TrafficError) as error:
        raise output.Failed(str(error), 2) from error
    except OSError as error:
        raise output.Failed(f"{error.filename}: {error.strerror}") from error
    output.result(found, as_json, _tell)


def _tell(found: Mapping[str, Any]) -> None:
    requests, swaps = found["requests"], found["swaps"]
    refused = sum(requests["refused"].values())
    output.say(f"{output.duration(found['duration_s'])} of traffic, seed {found['seed']}")
    output.say(f"{requests['asked']} requests, {requests['answered']} answered, {refused} refused")
    output.say()
    rows = [_row(model, one) for model, one in found["models"].items()]
    output.table(("MODEL", *_COLUMNS), [*rows, _row("all", _all(found))], "there were no requests")
    output.line("WAIT for a place in a worker, FIRST token after the call: in seconds")
    output.say()
    for reason, times in requests["refused"].items():
        output.line(f"refused {times} times: {reason}", 2)
    output.line(
        f"{swaps['loads']} loads, {swaps['loads_per_minute']:.2f} per minute; "
        f"loading took {swaps['loading_share']:.0%} of the models' time, working {swaps['working_share']:.0%}",
        2,
    )
    for one in swaps["evicted_for"]:
        output.line(f"{one['model']} had to go for {one['for']} {one['times']} times", 2)
    for device, book in found["devices"].items():
        peak, budget, mean = (output.size(book[f"{name}_bytes"]) for name in ("peak", "budget", "mean"))
        output.line(f"{device}: {peak} of {budget} promised at most, {mean} on average", 2)
    if thrash := found["thrash"]:
        last = thrash[-1]
        output.line(f"thrash was told {len(thrash)} times, last after {last['at_s']:.0f} s: {last['cause']}", 2)
    output.say()
    signs, *drawn = _timeline(found["timeline"])
    output.line(signs, 2)
    for row in drawn:
        output.say(row)


_COLUMNS = ("ASKED>", "OK>", "REFUSED>", "LOADS>", "WAIT P50/P99/MAX>", "FIRST P50/P99/MAX>")


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (figures["asked"], figures["answered"], sum(figures["refused"].values()), figures["loads"])
    spans = (figures[kind] or {} for kind in ("wait", "first_token"))
    times = ["/".join(_seconds(span.get(f"{share}_s")) for share in ("p50", "p99", "max")) for span in spans]
    return (name, *map(str, counts), *times)


def _all(found: Mapping[str, Any]) -> dict[str, Any]:
    return {**found["requests"], **{name: found[name] for name in ("wait", "first_token")}, **found["swaps"]}


def _seconds(given: float | None) -> str:
    return "-" if given is None else f"{given:.2f}"


def _timeline(drawn: Mapping[str, Any]) -> Iterator[str]:
    """A legend, then a line of signs for each model with its loads below, and one for the longest queue."""
    width = max(len(name) for name in ("waiting", *drawn["models"]))
    signs = ", ".join(f"{sign} {meaning}" for sign, meaning in drawn["signs"].items())
    yield f"each column is {drawn['column_s']:.3g} s: {signs}; below, loads and the most that waited (+: 10 or more)"
    for model, rows in drawn["models"].items():
        yield f"{model:>{width}} |{rows['doing']}|"
        if rows["loads"].strip():
            yield f"{'loads':>{width}} |{rows['loads']}|"
    yield f"{'waiting':>{width}} |{drawn['waiting']}|"
