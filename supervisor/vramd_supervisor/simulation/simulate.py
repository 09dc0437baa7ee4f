"""`vramd simulate CONFIG TRAFFIC`: what a configuration would do with a traffic, as one JSON document.

Needs no supervisor, no card and no model but those files that the configuration names. The same files and the same seed
give the same document.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click
from vramd_common.json_text import json_text

from ..core.core import Core
from ..domain.catalog import Model
from ..domain.config import Config, Size
from ..domain.sizes import parse_budget
from ..files.discovery import Discovery
from ..settings.listing import catalogue
from ..settings.settings_file import ConfigError, Flags, load_config
from .figures import Figures
from .machine import IDLE_WORKER_BYTES, VirtualMachine, build
from .recorder import Recorder
from .report import report
from .traffic import Traffic, TrafficError, read_traffic
from .world import VirtualWorld


def _read_sizes(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Size]:
    try:
        return dict(map(parse_budget, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("simulate")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("traffic", type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="Other dice than the file's.")
@click.option("--device", "devices", multiple=True, metavar="DEVICE=SIZE", callback=_read_sizes, help="gpu0=8GiB")
@click.option("--png", type=click.Path(path_type=Path), help="Draw the timeline here.")
@click.option("--record", type=click.Path(path_type=Path), help="Write events and actions here.")
def main(
    config: Path, traffic: Path, seed: int | None, devices: dict[str, Size], png: Path | None, record: Path | None
) -> None:
    """Prints the report. Exit code 1 if a picture or a recording cannot be made, 2 for files that cannot stand."""
    if png and find_spec("matplotlib") is None:
        _fail(1, "--png needs: pip install 'vramd[bench]'")
    try:
        settings = load_config(config, {}, Flags())
        asked = read_traffic(traffic)
        models = catalogue(settings, *Discovery(settings, config.absolute().parent, os.environ, Path.home()).look({}))
        machine = build(settings, devices, asked.machine, asked.models)
        _check(asked, machine, models)
    except (ConfigError, TrafficError) as error:
        _fail(2, str(error))
    asked = asked if seed is None else replace(asked, seed=seed)
    try:
        figures = simulate(settings, asked, machine, models, record)
        if png:
            from .picture import draw  # noqa: PLC0415  matplotlib is in another extra

            title = f"{config.name}, {traffic.name}, seed {asked.seed}"
            draw(figures, asked.duration_s, title, png)
    except OSError as error:
        _fail(1, f"{error.filename}: {error.strerror}")
    found = {"config": str(config), "traffic": str(traffic), "seed": asked.seed, **report(figures, asked.duration_s)}
    click.echo(json_text(found, indent=2))


def simulate(
    config: Config, traffic: Traffic, machine: VirtualMachine, models: Mapping[str, Model], record: Path | None = None
) -> Figures:
    """Runs it from start to end. Raises OSError if the recording cannot be begun."""
    core = Core(config, machine.accounts, machine.cores, IDLE_WORKER_BYTES)
    figures = Figures()
    with ExitStack() as stack:
        handle = core.handle
        if record:
            handle = Recorder(core, stack.enter_context(record.open("w", encoding="utf-8", newline="\n"))).handle
        VirtualWorld(traffic, machine, models, core, handle, figures.take_in).run()
    return figures


def _fail(code: int, text: str) -> NoReturn:
    click.echo(f"vramd: {text}", err=True)
    sys.exit(code)


def _check(traffic: Traffic, machine: VirtualMachine, models: Mapping[str, Model]) -> None:
    """Names in the traffic that mean nothing here. Raises TrafficError."""
    for number, stream in enumerate(traffic.stream, 1):
        if stream.model not in models:
            raise TrafficError(f"stream {number}: there is no model {stream.model}, only {', '.join(models)}")
    for id_ in machine.speeds:
        if id_ not in models:
            raise TrafficError(f"models: there is no model {id_}, only {', '.join(models)}")
    for number, program in enumerate(traffic.program, 1):
        if program.device not in machine.accounts:
            raise TrafficError(
                f"program {number}: there is no device {program.device}, only {', '.join(machine.accounts)}"
            )
