"""`vramd logs`: what was printed."""

import click

from vramd import Client
from vramd.commands import show
from vramd.commands.connection import with_client
from vramd.commands.parameters import ModelId


@click.command("logs", short_help="Print the log of a model, or of the supervisor.")
@click.argument("model", required=False, default="", type=ModelId())
@click.option("-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Lines of the past.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@with_client
def logs(client: Client, model: str, lines: int, follow: bool) -> None:
    """Prints what the worker of MODEL printed, or without MODEL the supervisor."""
    with client.logs(model, lines=lines, follow=follow) as feed:
        nothing = True
        for line in feed:
            show.say(line, keep="\t")
            nothing = False
    if nothing:
        what = f"the process of {model} has" if model else "the supervisor has"
        show.say(f"{what} printed nothing", err=True)
