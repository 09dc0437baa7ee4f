"""`drain`, `undrain`: whether the supervisor admits new work."""

import time

import click
from vramd import Client, Drained

from .. import output
from ..connection import with_client
from ..settings import json_flag

_LOOK_EVERY_S = 0.2


@click.command("drain", short_help="Admit nothing new, and let what runs end.")
@click.option("--wait", is_flag=True, help="Return once nothing runs or waits any more.")
@json_flag
@with_client
def drain(client: Client, wait: bool, as_json: bool) -> None:
    """New requests, loads, holds and reservations are refused; what was admitted before is served.

    Models stay loaded. `vramd undrain` admits work again, `vramd shutdown` ends the supervisor.
    """
    left = client.drain()
    while wait and (left.running or left.queued):
        time.sleep(_LOOK_EVERY_S)
        now = client.status().supervisor
        left = Drained(now.running, now.queued)
    output.result(left, as_json, _show)


def _show(left: Drained) -> None:
    output.say(f"nothing new is admitted; {left.running} running, {left.queued} waiting")


@click.command("undrain", short_help="Admit work again.")
@with_client
def undrain(client: Client) -> None:
    """Ends what `vramd drain` has begun."""
    client.undrain()
