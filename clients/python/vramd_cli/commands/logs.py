"""`vramd logs`: what was printed."""

import functools
import os
from collections import deque
from pathlib import Path

import click
from vramd import Client, SupervisorUnreachable
from vramd.finding import ADDRESS_VARIABLE, own_runtime_dir
from vramd_common.rendezvous import RuntimeDir

from .. import output
from ..connection import with_client
from ..parameters import Command, ModelId


def _or_from_files(command: Command) -> Command:
    """Falls back to the log files of a supervisor that no longer runs."""

    @functools.wraps(command)
    def told(runtime_dir: Path | None, address: str | None, model: str, lines: int, **arguments: object) -> None:
        try:
            command(runtime_dir=runtime_dir, address=address, model=model, lines=lines, **arguments)
        except SupervisorUnreachable as error:
            file = RuntimeDir(runtime_dir or own_runtime_dir()).log_of(model)
            if address is not None or os.environ.get(ADDRESS_VARIABLE) or not file.is_file():
                raise
            output.failed(f"{error}\nits last words, from {file}:")
            with file.open(encoding="utf-8", errors="replace") as text:
                for line in deque(text, lines):
                    output.say(line.removesuffix("\n"), keep="\t")

    return told


@click.command("logs", short_help="Print the log of a model, or of the supervisor.")
@click.argument("model", required=False, default="", type=ModelId())
@click.option("-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Lines of the past.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@_or_from_files
@with_client
def logs(client: Client, model: str, lines: int, follow: bool) -> None:
    """Prints what the worker of MODEL printed, or without MODEL the supervisor; where none runs, what it has left."""
    with client.logs(model, lines=lines, follow=follow) as feed:
        nothing = True
        for line in feed:
            output.say(line, keep="\t")
            nothing = False
    if nothing:
        what = f"the process of {model} has" if model else "the supervisor has"
        output.say(f"{what} printed nothing", err=True)
