"""`vramd hold`: a model stays loaded as long as this process lives."""

import os
import stat
import sys
import threading

import click
from typing_extensions import Unpack
from vramd import Client, Hold, LoadSettings

from .. import output
from ..connection import with_started_client
from ..parameters import HeadedCommand, ModelId
from ..settings import json_flag, load_flags

_READ_BYTES = 4096


@click.command("hold", cls=HeadedCommand, short_help="Keep a model loaded for as long as this runs.")
@click.argument("model", type=ModelId())
@click.option("--label", default="", help="Who it is for, in messages and listings.")
@load_flags
@json_flag
@with_started_client
def hold(client: Client, model: str, label: str, as_json: bool, **settings: Unpack[LoadSettings]) -> None:
    """Loads MODEL and keeps it loaded, whatever others want; prints a line whenever it does something else.

    Ends with Ctrl-C (exit code 130); with exit code 0 when stdin is a pipe and its other end is closed, so that it ends
    with the program that started it; and with the supervisor. With --json each line is an object.
    """
    with client.hold(model, label=label, **settings) as kept:
        _end_with_stdin(kept)
        told = None
        for step in kept:
            if step != told:
                if as_json:
                    output.json(step, indent=None)
                else:
                    output.say(f"{kept.model} {step.state}: {step.message}")
            told = step


def _end_with_stdin(kept: Hold) -> None:
    """Ends the hold when the writing end of stdin is closed.

    Only if stdin is a pipe: a background job of a shell has /dev/null there, or may not read the terminal.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # there is no stdin
        return
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        threading.Thread(target=_drain, args=(sys.stdin.fileno(), kept), name="stdin", daemon=True).start()


def _drain(stdin: int, kept: Hold) -> None:
    # Not sys.stdin: a thread that holds its lock would not let the interpreter end.
    while os.read(stdin, _READ_BYTES):
        pass
    kept.cancel()
