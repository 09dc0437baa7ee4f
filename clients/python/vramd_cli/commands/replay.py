"""`vramd replay`: tells a new scheduler what a recorded one was told, and compares what it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import output
from ..settings import json_flag

if TYPE_CHECKING:
    from vramd_supervisor.simulation.replay import Verdict


@click.command("replay", short_help="Check that a recording of `serve --record` happens again.")
@click.argument("file", type=click.Path(path_type=Path))
@json_flag
def replay(file: Path, as_json: bool) -> None:
    """Feeds the events of FILE to the scheduler; exit code 1 if it wants anything else than was recorded.

    Prints the first difference. Needs no supervisor and loads nothing.
    """
    from vramd_supervisor.simulation import replay as offline

    if file.exists() and not file.is_file():
        raise click.BadParameter(f"{file} is no file; write a pipe into one first", param_hint="'FILE'")
    try:
        with file.open(encoding="utf-8", newline="\n") as lines:
            found = offline.replay(lines)
    except (offline.UnreadableRecordingError, UnicodeDecodeError) as error:
        raise output.Failed(f"{file}: {error}") from error
    except OSError as error:
        raise output.Failed(f"{file}: {error.strerror}") from error
    output.result(found, as_json, _tell)
    if found.difference:
        raise click.exceptions.Exit(1)


def _tell(found: Verdict) -> None:
    if difference := found.difference:
        output.say(f"event {difference.event_number}: {difference.event}")
        output.say(f"recorded by vramd {found.version}: {difference.recorded or 'nothing more'}")
        output.say(f"now: {difference.now or 'nothing more'}")
    else:
        output.say(f"the same: {found.actions} actions of {found.events} events")
    if found.unanswered:
        output.say("the recording ends with an event whose actions it has not: it was broken off, or its core failed")
    if found.cut_off:
        output.say(
            "the recording is not whole: its disk did not take all, or it was cut off; compared as far as it goes"
        )
