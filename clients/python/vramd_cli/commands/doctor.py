"""`vramd doctor`: what this machine and installation can do, what is missing, and how to get it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vramd_common.printable import printable

from .. import output
from ..settings import json_flag

if TYPE_CHECKING:
    from vramd_supervisor.offline.diagnosis import Line

_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command("doctor", short_help="Say what this machine can do, and what is missing.")
@click.option("--config", type=click.Path(path_type=Path), envvar="VRAMD_CONFIG", help="Configuration file (TOML).")
@click.option("--models", multiple=True, metavar="DIR", help="Folder with GGUF files; may be given several times.")
@click.option(
    "--runtime-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="PATH",
    help="Folder of the supervisor to look for.",
)
@json_flag
def doctor(config: Path | None, models: tuple[str, ...], runtime_dir: Path | None, as_json: bool) -> None:
    """Looks at hardware, defaults, versions and models, and judges each: ok, warn or bad.

    Needs no supervisor; what a running one holds counts as taken. The exit code tells only whether it could look.
    """
    from vramd_supervisor.offline.doctor import examine
    from vramd_supervisor.settings.settings_file import ConfigError

    try:
        found = examine(config, models, runtime_dir)
    except ConfigError as error:
        raise output.Failed(str(error), 2) from error
    if as_json:
        output.json(found)
        return
    for topic, lines in itertools.groupby(found.lines, key=lambda line: line.topic):
        _show(topic, list(lines))
    _summarise(found.lines)


def _show(topic: str, lines: Sequence[Line]) -> None:
    """A heading, and a line for each; drawn with rich on a terminal."""
    if sys.stdout.isatty():
        _draw(topic, lines)
        return
    output.say(topic)
    width = max(len(line.what) for line in lines)
    for line in lines:
        output.say(f"  {line.verdict.value:<4}  {line.what:<{width}}  {_words(line)}")


def _words(line: Line) -> str:
    return f"{line.found} [{line.why}]" if line.why else line.found


def _draw(topic: str, lines: Sequence[Line]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawing = Table(box=None, pad_edge=False, show_header=False, title=topic, title_justify="left", title_style="bold")
    for _ in range(3):
        drawing.add_column(overflow="fold")
    for line in lines:
        verdict = Text(line.verdict.value, style=_COLOURS[line.verdict.value])
        drawing.add_row(verdict, Text(printable(line.what)), Text(printable(_words(line))))
    Console().print(drawing)


def _summarise(lines: Iterable[Line]) -> None:
    """Prints the remedies, each on a line that is never wrapped, so that it can be copied."""
    missing = [line for line in lines if line.get]
    output.say()
    if not missing:
        output.say("nothing is missing")
        return
    output.say("what is missing, and how to get it:")
    for line in missing:
        output.say(f"  {line.what}: {line.get}")
