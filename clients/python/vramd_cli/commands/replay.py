"""`vramd replay`: tells a new scheduler what a recorded one was told, and compares what it does."""

from pathlib import Path
from typing import Any

import click
from vramd_common.json_text import json_text

from .. import output
from ..asking import ask
from ..settings import json_flag


@click.command("replay", short_help="Check that a recording of `serve --record` happens again.")
@click.argument("file", type=click.Path(path_type=Path))
@json_flag
def replay(file: Path, as_json: bool) -> None:
    """Feeds the events of FILE to the scheduler; exit code 1 if it wants anything else than was recorded.

    Prints the first difference. Needs no supervisor and loads nothing.
    """
    if file.exists() and not file.is_file():
        raise click.BadParameter(f"{file} is no file; write a pipe into one first", param_hint="'FILE'")
    found: dict[str, Any] = ask("replay", "--", str(file))
    difference = found["difference"]
    if as_json:
        click.echo(json_text(found, indent=2))
    elif difference:
        output.say(f"event {difference['event_number']}: {difference['event']}")
        output.say(f"recorded by vramd {found['version']}: {difference['recorded'] or 'nothing more'}")
        output.say(f"now: {difference['now'] or 'nothing more'}")
    else:
        output.say(f"the same: {found['actions']} actions of {found['events']} events")
    if found["unanswered"] and not as_json:
        output.say("the recording ends with an event whose actions it has not: it was broken off, or its core failed")
    if found["cut_off"] and not as_json:
        output.say(
            "the recording is not whole: its disk did not take all, or it was cut off; compared as far as it goes"
        )
    if difference:
        raise click.exceptions.Exit(1)
