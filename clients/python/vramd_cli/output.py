"""Prints values: tables, JSON, and units for people. On a terminal rich draws, which is imported only then."""

import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import click
from vramd import Deaths, LoadProgress, Receipt, Waiting
from vramd_common.json_text import json_text
from vramd_common.printable import printable, printable_answer

Row = Sequence[str]
Value = TypeVar("Value")

NO_RESIDENT = "no model is loaded"

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
    """Describes what an unload gave back, in a line."""
    if given.observed_bytes is None:
        back = f"{size(given.expected_bytes)} expected, not observed: {given.reason}"
    else:
        unseen = [device for device in given.devices if device.observed_bytes is None and device.expected_bytes]
        unseen = unseen if len(unseen) < len(given.devices) else []
        expected_bytes = given.expected_bytes - sum(device.expected_bytes for device in unseen)
        back = f"{size(given.observed_bytes)} came back of {size(expected_bytes)} reserved"
        back += "".join(f"; {size(device.expected_bytes)} on {device.id}: {device.reason}" for device in unseen)
    return f"{given.model} is unloaded: pid {given.pid} {given.message} after {given.exit_s:.2f} s; {back}"


def deaths(seen: Deaths | None) -> str:
    """What is known of a model's deaths, in a line; empty if there were none of late."""
    if seen is None:
        return ""
    words = f"{seen.strikes} strike{'' if seen.strikes == 1 else 's'}" + (f" of {seen.limit}" if seen.limit else "")
    words += f", the last process {seen.message}"
    if seen.quarantined_s is not None:
        return f"{words}; not loaded for another {duration(seen.quarantined_s)} (`vramd reset` ends that)"
    if seen.returns_s is not None:
        return f"{words}; it comes back in {seen.returns_s:.1f} s"
    return f"{words}; one more death quarantines it again" if seen.probation else words


def result(value: Value, as_json: bool, tell: Callable[[Value], None]) -> None:
    """Prints what a command found: as JSON, or by `tell`, which puts it into words."""
    if as_json:
        json(value)
    else:
        tell(value)


def json(value: object, indent: int | None = 2) -> None:
    """A document, or a dataclass or a list of them with the names of their fields."""
    click.echo(json_text(_plain(value), indent=indent))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def say(text: str = "", *, err: bool = False, keep: str = "") -> None:
    """A line whose control characters are shown as escapes, but for those in `keep`."""
    click.echo(printable(text, keep), err=err)


def failed(text: str) -> None:
    """An error message on stderr. Its further lines are indented, so that none looks like a message of vramd's."""
    first, *further = f"vramd: {text}".split("\n")
    say(first, err=True)
    for part in further:
        say(f"  {part}", err=True, keep="\t")


class Failed(click.ClickException):
    """Ends a command with a message and this exit code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it from the exception


class Answer:
    """Prints a model's answer as it comes: unchanged into a pipe, without control characters on a terminal."""

    def __init__(self, indent: str = "") -> None:
        self._terminal = sys.stdout.isatty()
        self._indent = indent
        self._held = ""
        """A carriage return whose line feed may be still to come."""

    def add(self, text: str) -> None:
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(self._held)]
        shown = printable_answer(text) if self._terminal else text
        click.echo(shown.replace("\n", f"\n{self._indent}"), nl=False, color=True)

    def end(self) -> None:
        click.echo(printable_answer(self._held) if self._terminal else self._held, color=True)
        self._held = ""


def answer(first: str, rest: Iterable[str]) -> None:
    """Prints an answer as it comes, and ends its line even if it breaks off."""
    printed = Answer()
    try:
        printed.add(first)
        for piece in rest:
            printed.add(piece)
    finally:
        printed.end()


def line(text: str, indent: int = 0) -> None:
    """A line; a terminal wraps it between words and indents what follows by `indent` columns."""
    text = printable(text)
    if sys.stdout.isatty():
        columns = max(2 * indent, shutil.get_terminal_size().columns)
        further = " " * indent
        text = textwrap.fill(text, columns, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
    click.echo(text)


def table(columns: Row, rows: Sequence[Row], nothing: str) -> None:
    """Prints a table, or on stderr `nothing` if there are no rows. A column whose name ends in ">" is right-aligned."""
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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawing = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in zip(names, right, strict=True):
        drawing.add_column(name, justify="right" if side else "left", overflow="fold")
    for row in rows:
        drawing.add_row(*map(Text, row))
    Console().print(drawing)


class Progress:
    """Shows how far a load is. This one shows nothing: no person is watching."""

    def show(self, words: str, share: float | None) -> None:
        """Shows a state, and the share of the work that is done, 0 to 1; None if unknown."""

    def step(self, progress: LoadProgress) -> None:
        self.show(progress.message or progress.state.lower(), progress.progress)


def is_watched() -> bool:
    """Whether a person sees what moves on stderr."""
    return sys.stderr.isatty() and sys.stdout.isatty()


@contextmanager
def progress(model: str) -> Iterator[Progress]:
    """A progress bar on stderr if a person is watching; it is gone when the block ends."""
    if not is_watched():
        yield Progress()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(printable(model)), total=None)

        class Drawn(Progress):
            def show(self, words: str, share: float | None) -> None:
                label = escape(printable(f"{model}: {words}"))
                total = None if share is None else 1.0
                bar.update(task, description=label, completed=share or 0.0, total=total, refresh=True)

        yield Drawn()


@contextmanager
def waiting(model: str) -> Iterator[Callable[[Waiting], None] | None]:
    """A progress bar until an answer begins. Yields the callback that moves it; behind the block it moves nothing.

    None if no person is watching: the supervisor then need not report progress.
    """
    if not is_watched():
        yield None
        return
    begun = False
    with progress(model) as line:
        line.show("waits", None)
        yield lambda step: None if begun else line.show(waiting_words(step), step.progress)
        begun = True


def waiting_words(step: Waiting) -> str:
    """Describes the wait of a request: "waits: 3 ahead; two is DRAINING"."""
    ahead = f"{step.ahead} ahead" if step.ahead else ""
    if not ahead and step.message.startswith("waits "):
        return step.message
    words = "; ".join(part for part in (ahead, step.message.removeprefix("waits ")) if part)
    return f"waits: {words}".removesuffix(": ")
