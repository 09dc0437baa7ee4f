"""`pin`, `unpin`, `keep`: how long a model stays loaded."""

import re

import click

from vramd import Client, Model
from vramd.commands import show
from vramd.commands.connection import with_client
from vramd.commands.settings import json_flag

STAYS_S = -1.0
"""What the supervisor reads as for ever."""

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def read_duration(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Seconds of 90, 90s, 10m, 1.5h, 2d; -1 of -1 and forever. Called by click."""
    if value in ("-1", "forever"):
        return STAYS_S
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)", value.strip(), re.ASCII)
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration; for example 90s, 10m, 2h, 0, forever", ctx, param)
    return float(match[1]) * _UNITS_S[match[2]]


@click.command("pin", short_help="Never evict a model.")
@click.argument("model")
@json_flag
@with_client
def pin(client: Client, model: str, as_json: bool) -> None:
    """MODEL, once loaded, is never evicted to make room, until the supervisor ends or it is unpinned."""
    _tell(client.update(model, pinned=True), as_json, "is pinned")


@click.command("unpin", short_help="Let a model be evicted again.")
@click.argument("model")
@json_flag
@with_client
def unpin(client: Client, model: str, as_json: bool) -> None:
    """MODEL may be evicted to make room, and leaves when it was idle for too long."""
    _tell(client.update(model, pinned=False), as_json, "is not pinned")


@click.command("keep", short_help="Say how long an idle model stays.")
@click.argument("model")
@click.option(
    "--alive",
    metavar="TIME",
    callback=read_duration,
    required=True,
    help="90s, 10m, 2h; 0 leaves at once, -1 or forever stays.",
)
@json_flag
@with_client
def keep(client: Client, model: str, alive: float, as_json: bool) -> None:
    """MODEL stays for so long after its last use, until the supervisor ends."""
    if alive == STAYS_S:
        words = "stays"
    elif alive == 0:
        words = "leaves at once after its use"
    else:
        words = f"stays {show.duration(alive)} after its last use"
    _tell(client.update(model, keep_alive_s=alive), as_json, words)


def _tell(model: Model, as_json: bool, words: str) -> None:
    if as_json:
        show.as_json(model)
    else:
        click.echo(f"{model.id} {words}")
