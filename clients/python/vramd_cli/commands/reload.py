"""`vramd reload`: the configuration is read again."""

import click
from vramd import Client, Reloaded

from .. import output
from ..connection import with_client
from ..settings import json_flag

_EFFECTS = {
    "applied": "at once",
    "when_idle": "once its process is idle",
    "drains": "unloaded once idle",
    "needs_restart": "only after a restart of the supervisor",
}


@click.command("reload", short_help="Read the configuration again.")
@click.option("--check", is_flag=True, help="Only say what is wrong, or what would change.")
@json_flag
@with_client
def reload(client: Client, check: bool, as_json: bool) -> None:
    """Takes in all that has changed in the file that the supervisor was started with, or nothing if it is wrong.

    Models whose settings did not change keep their processes; no running answer is ended. To load one model with other
    settings, see `vramd load --reload`.
    """
    output.result(client.reload_config(check_only=check), as_json, _show)


def _show(read: Reloaded) -> None:
    if not read.file:
        output.say("the supervisor was started without a configuration file")
    rows = [
        (one.key, one.before or "-", one.after or "-", _EFFECTS.get(one.effect, one.effect)) for one in read.changes
    ]
    output.table(("KEY", "BEFORE", "AFTER", "EFFECT"), rows, "nothing has changed")
