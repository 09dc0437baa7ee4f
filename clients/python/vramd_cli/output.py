"""Puts values on the screen: tables, JSON, and units for people."""

import dataclasses
import importlib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from vramd import Receipt, Waiting
from vramd_common.json_text import json_text
from vramd_common.printable import printable, printable_answer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = Sequence[str]

_KIB = 1024


def size(size_bytes: int | None) -> str:
    """Bytes for people: 512 B, 45.1 MiB, 7.0 GiB; "-" if unknown."""
    if size_bytes is None:
        return "-"
    if size_bytes < _KIB:
        return f"{size_bytes} B"
    amount, unit = size_bytes / _KIB, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if amount < 1023.95:  # what would be rounded to 1024.0 is one of the next unit
            break
        amount, unit = amount / _KIB, larger
    return f"{amount:.1f} {unit}"


def duration(duration_s: float | None) -> str:
    """Seconds for people: 7 s, 3 min, 2 h, 5 d; "-" if unknown."""
    if duration_s is None:
        return "-"
    for limit_s, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if duration_s < limit_s:
            return f"{duration_s / unit_s:.0f} {unit}"
    return f"{duration_s / 86_400:.0f} d"


def receipt(given: Receipt) -> str:
    """What an unload gave back, in a line."""
    if given.observed_bytes is None:
        back = f"{size(given.expected_bytes)} expected, not observed: {given.reason}"
    else:
        unseen = [device for device in given.devices if device.observed_bytes is None and device.expected_bytes]
        unseen = unseen if len(unseen) < len(given.devices) else []
        expected_bytes = given.expected_bytes - sum(device.expected_bytes for device in unseen)
        back = f"{size(given.observed_bytes)} came back of {size(expected_bytes)} reserved"
        back += "".join(f"; {size(device.expected_bytes)} on {device.id}: {device.reason}" for device in unseen)
    return f"{given.model} is unloaded: pid {given.pid} {given.message} after {given.exit_s:.2f} s; {back}"


def as_json(value: "DataclassInstance | Sequence[DataclassInstance]") -> None:
    """A value, or a list of them, with the names of its fields."""
    plain = list(map(dataclasses.asdict, value)) if isinstance(value, Sequence) else dataclasses.asdict(value)
    click.echo(json_text(plain, indent=2))


def say(text: str = "", *, err: bool = False, keep: str = "") -> None:
    """One line, whatever names and messages are in it; `keep` are characters that may be as they are."""
    click.echo(printable(text, keep), err=err)


def failed(text: str) -> None:
    """What went wrong, on stderr. Further lines stand further in, so that none looks like one of ours."""
    first, *further = f"vramd: {text}".split("\n")
    say(first, err=True)
    for part in further:
        say(f"  {part}", err=True, keep="\t")


class Answer:
    """Prints what a model says as it comes: to a pipe as it is, to a terminal without what only a terminal obeys."""

    def __init__(self, indent: str = "") -> None:
        self._terminal = sys.stdout.isatty()
        self._indent = indent
        self._held = ""
        """A carriage return whose line feed may be still to come."""

    def add(self, text: str) -> None:
        """The next piece."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(self._held)]
        shown = printable_answer(text) if self._terminal else text
        click.echo(shown.replace("\n", f"\n{self._indent}"), nl=False, color=True)

    def end(self) -> None:
        """What comes next stands on a line of its own."""
        click.echo(printable_answer(self._held) if self._terminal else self._held, color=True)
        self._held = ""


def line(text: str, indent: int = 0) -> None:
    """A line; on a terminal it is broken between words, and goes on `indent` columns further in."""
    text = printable(text)
    if sys.stdout.isatty():
        columns = max(2 * indent, shutil.get_terminal_size().columns)
        further = " " * indent
        text = textwrap.fill(text, columns, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
    click.echo(text)


def table(columns: Row, rows: Sequence[Row], nothing: str) -> None:
    """Lines of text; drawn with rich on a terminal. `nothing` is said on stderr if there are no rows.

    A column whose name ends in ">" is set to the right.
    """
    if not rows:
        say(nothing, err=True)
        return
    rows = [tuple(map(printable, row)) for row in rows]
    names = [name.rstrip(">") for name in columns]
    right = [name.endswith(">") for name in columns]
    if sys.stdout.isatty():
        _draw(names, right, rows)
        return
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    for row in (names, *rows):
        cells = (
            cell.rjust(width) if side else cell.ljust(width)
            for cell, width, side in zip(row, widths, right, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def _draw(names: Row, right: Sequence[bool], rows: Sequence[Row]) -> None:
    from rich.console import Console  # noqa: PLC0415  only a terminal needs it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawing = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in zip(names, right, strict=True):
        drawing.add_column(name, justify="right" if side else "left", overflow="fold")
    for row in rows:
        drawing.add_row(*map(Text, row))
    Console().print(drawing)


class Progress:
    """What a load is at."""

    def show(self, words: str, share: float | None) -> None:
        """Words, and the share that is done, 0 to 1. Nothing is shown here: nobody looks."""


def looked_on() -> bool:
    """Whether a person sees what moves on stderr."""
    return sys.stderr.isatty() and sys.stdout.isatty()


@contextmanager
def progress(model: str) -> Iterator[Progress]:
    """A moving line on stderr if a person looks on; quiet otherwise."""
    if not looked_on():
        yield Progress()
        return
    drawn = importlib.import_module("vramd_cli.drawing").drawn_progress
    with drawn(model) as line:
        yield line


@contextmanager
def waiting(model: str) -> Iterator[Callable[[Waiting], None] | None]:
    """A moving line on stderr until an answer begins. Gives what to call back with what is waited for.

    None if nobody looks on: then the supervisor need not tell.
    """
    if not looked_on():
        yield None
        return
    with progress(model) as line:
        line.show("waits", None)
        yield lambda step: line.show(waiting_words(step), step.progress)


def waiting_words(step: Waiting) -> str:
    """What a request waits for: "waits: 3 ahead; two is DRAINING"."""
    ahead = f"{step.ahead} ahead" if step.ahead else ""
    if not ahead and step.message.startswith("waits "):
        return step.message
    words = "; ".join(part for part in (ahead, step.message.removeprefix("waits ")) if part)
    return f"waits: {words}".removesuffix(": ")
