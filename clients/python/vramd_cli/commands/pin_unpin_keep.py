"""`pin`, `unpin`, `keep`: how long a model stays loaded, and how urgent it is."""

from typing import Literal

import click
from vramd import Client, Model

from .. import output
from ..connection import with_client
from ..parameters import STAYS_S, Duration, ModelId
from ..settings import json_flag, priority_flag

Urgency = Literal["interactive", "normal", "batch"]


@click.command("pin", short_help="Never evict a model.")
@click.argument("model", type=ModelId())
@json_flag
@with_client
def pin(client: Client, model: str, as_json: bool) -> None:
    """MODEL, once loaded, is never evicted to make room, until the supervisor ends or it is unpinned."""
    _tell(client.update(model, pinned=True), as_json, "is pinned")


@click.command("unpin", short_help="Let a model be evicted again.")
@click.argument("model", type=ModelId())
@json_flag
@with_client
def unpin(client: Client, model: str, as_json: bool) -> None:
    """MODEL may be evicted to make room again, and is unloaded when it was idle for too long."""
    _tell(client.update(model, pinned=False), as_json, "is not pinned")


@click.command("keep", short_help="Say how long an idle model stays, and how urgent it is.")
@click.argument("model", type=ModelId())
@click.option(
    "--alive",
    metavar="TIME",
    type=Duration(stays=True),
    help="90s, 10m, 2h; 0 leaves at once, -1 or forever stays.",
)
@priority_flag("How urgent its requests are that do not say.")
@json_flag
@with_client
def keep(client: Client, model: str, alive: float | None, priority: Urgency | None, as_json: bool) -> None:
    """Sets how long MODEL stays after its last use, and how urgent its requests are, until the supervisor ends."""
    words = [] if alive is None else [_staying(alive)]
    if priority is not None:
        words.append(f"has requests of priority {priority}")
    if not words:
        raise click.UsageError("there is nothing to change: give --alive, --priority or both.")
    _tell(client.update(model, keep_alive_s=alive, priority=priority), as_json, " and ".join(words))


def _staying(alive_s: float) -> str:
    if alive_s == STAYS_S:
        return "stays"
    if alive_s == 0:
        return "leaves at once after its use"
    return f"stays {output.duration(alive_s)} after its last use"


def _tell(model: Model, as_json: bool, words: str) -> None:
    output.result(model, as_json, lambda model: output.say(f"{model.id} {words}"))
