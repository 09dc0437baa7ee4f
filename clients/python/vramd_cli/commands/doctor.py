"""`vramd doctor`: what this machine and installation can do, what is missing, and how to get it."""

import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from vramd_common.json_text import json_text
from vramd_common.printable import printable

from .. import output
from ..asking import ask, option
from ..settings import json_flag

Line = dict[str, str]

_COLOURS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command("doctor", short_help="Say what this machine can do, and what is missing.")
@click.option("--config", type=click.Path(path_type=Path), envvar="VRAMD_CONFIG", help="Configuration file (TOML).")
@click.option("--models", multiple=True, metavar="DIR", help="Folder with GGUF files; may be given several times.")
@click.option("--runtime-dir", type=click.Path(path_type=Path), help="Folder of the supervisor to look for.")
@json_flag
def doctor(config: Path | None, models: tuple[str, ...], runtime_dir: Path | None, as_json: bool) -> None:
    """Looks at hardware, defaults, versions and models, and judges each: ok, warn or bad.

    Needs no supervisor; what a running one holds counts as taken. The exit code tells only whether it could look.
    """
    folders = itertools.chain.from_iterable(option("models", folder) for folder in models)
    document = ask("doctor", *option("config", config), *folders, *option("runtime-dir", runtime_dir))
    if as_json:
        click.echo(json_text(document, indent=2))
        return
    lines = document["lines"]
    assert isinstance(lines, list)
    for topic, group in itertools.groupby(lines, key=lambda line: line["topic"]):
        _show(topic, list(group))
    _summarise(lines)


def _show(topic: str, lines: Sequence[Line]) -> None:
    """A heading, and a line for each; drawn with rich on a terminal."""
    if sys.stdout.isatty():
        _draw(topic, lines)
        return
    output.say(topic)
    width = max(len(line["what"]) for line in lines)
    for line in lines:
        output.say(f"  {line['verdict']:<4}  {line['what']:<{width}}  {_words(line)}")


def _words(line: Line) -> str:
    return f"{line['found']} [{line['why']}]" if line["why"] else line["found"]


def _draw(topic: str, lines: Sequence[Line]) -> None:
    from rich.console import Console  # noqa: PLC0415  only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawing = Table(box=None, pad_edge=False, show_header=False, title=topic, title_justify="left", title_style="bold")
    for _ in range(3):
        drawing.add_column(overflow="fold")
    for line in lines:
        verdict = Text(line["verdict"], style=_COLOURS[line["verdict"]])
        drawing.add_row(verdict, Text(printable(line["what"])), Text(printable(_words(line))))
    Console().print(drawing)


def _summarise(lines: Iterable[Line]) -> None:
    """What can be done, each by a line that can be copied whole: it is not folded."""
    missing = [line for line in lines if line["get"]]
    output.say()
    if not missing:
        output.say("nothing is missing")
        return
    output.say("what is missing, and how to get it:")
    for line in missing:
        output.say(f"  {line['what']}: {line['get']}")
