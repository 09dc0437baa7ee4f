"""`vramd shutdown`: the end of a supervisor."""

import time

import click
import psutil
from vramd import Client
from vramd.launching import listens
from vramd_common.rendezvous import Address

from ..connection import with_client

END_LIMIT_S = 60.0
"""Running requests may take 30 s to end, and workers a few seconds more."""

_LOOK_EVERY_S = 0.05


@click.command("shutdown", short_help="End the supervisor and its workers.")
@click.option("--force", is_flag=True, help="End running requests at once.")
@with_client
def shutdown(client: Client, force: bool) -> None:
    """Ends the workers, then the supervisor; returns when it is gone."""
    recorded = Address.read(client.address_file) if client.address_file else None
    client.shutdown(force=force)
    client.close()
    end_s = time.monotonic() + END_LIMIT_S
    while _lives(recorded, client):
        if time.monotonic() > end_s:
            raise click.ClickException(f"the supervisor agreed to end, but is there after {END_LIMIT_S:.0f} s")
        time.sleep(_LOOK_EVERY_S)


def _lives(recorded: Address | None, client: Client) -> bool:
    """Whether the supervisor still runs; one on this machine removes its file last, after its port is closed."""
    if recorded is None or client.address_file is None:
        return listens(client.address)
    return Address.read(client.address_file) == recorded and psutil.pid_exists(recorded.pid)
