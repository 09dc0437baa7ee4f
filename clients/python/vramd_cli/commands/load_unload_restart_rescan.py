"""`load`, `unload`, `restart`, `rescan`: which models are there, and which are loaded."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click
from vramd import Client, LoadProgress, NotLoaded, ResidentModel

from .. import output
from ..connection import with_client, with_started_client
from ..parameters import HeadedCommand, ModelId
from ..settings import json_flag, load_flags, reload_flag, timeout_flag

if TYPE_CHECKING:
    from typing_extensions import Unpack
    from vramd import LoadSettings


@click.command("load", cls=HeadedCommand, short_help="Load a model.")
@click.argument("model", type=ModelId())
@reload_flag
@load_flags
@timeout_flag
@json_flag
@with_started_client
def load(
    client: Client,
    model: str,
    reload: bool,
    timeout_s: float | None,
    as_json: bool,
    **settings: Unpack[LoadSettings],
) -> None:
    """Loads MODEL, or joins its load; ends when it is ready. Ctrl-C leaves the load to the supervisor.

    With --reload requests that run may end first, and those that wait keep their place.
    """
    with output.progress(model) as line:

        def on_progress(step: LoadProgress) -> None:
            line.show(step.message or step.state.lower(), step.progress)

        resident = client.load(model, reload=reload, on_progress=on_progress, timeout_s=timeout_s, **settings)
    _tell(resident, as_json)


@click.command("restart", short_help="Give a loaded model a new process.")
@click.argument("model", type=ModelId())
@click.option("--force", is_flag=True, help="End running requests at once.")
@timeout_flag
@json_flag
@with_client
def restart(client: Client, model: str, force: bool, timeout_s: float | None, as_json: bool) -> None:
    """Ends the process of MODEL, and starts a new one with the same settings; ends when that is ready.

    Requests that wait for MODEL keep their place.
    """
    with output.progress(model) as line:
        line.show("restarting", None)
        resident = client.restart(model, force=force, timeout_s=timeout_s)
    _tell(resident, as_json)


def _tell(resident: ResidentModel, as_json: bool) -> None:
    if as_json:
        output.json(resident)
        return
    places = ", ".join(f"{output.size(use.reserved_bytes)} on {use.id}" for use in resident.devices)
    output.say(f"{resident.model} is loaded: pid {resident.pid}, {places}, context {resident.context_tokens}")
    for step in resident.degraded:
        output.say(f"less than usual: {step}")
    for caution in resident.cautions:
        output.say(f"beware: {caution}")


@click.command("unload", short_help="Unload a model, and say what came back.")
@click.argument("model", required=False, type=ModelId())
@click.option("--all", "everything", is_flag=True, help="Unload all loaded models.")
@click.option("--force", is_flag=True, help="End running requests at once.")
@timeout_flag
@json_flag
@with_client
def unload(
    client: Client, model: str | None, everything: bool, force: bool, timeout_s: float | None, as_json: bool
) -> None:
    """Ends the process of MODEL; returns when it is gone and its memory is back. With --json --all it is a list."""
    if everything == (model is not None):
        raise click.UsageError("give MODEL or --all.")
    if model is not None:
        receipt = client.unload(model, force=force, timeout_s=timeout_s)
        output.json(receipt) if as_json else output.say(output.receipt(receipt))
        return
    receipts = []
    for resident in client.resident():
        with contextlib.suppress(NotLoaded):  # it has left meanwhile
            receipts.append(client.unload(resident.model, force=force, timeout_s=timeout_s))
            if not as_json:
                output.say(output.receipt(receipts[-1]))
    if as_json:
        output.json(receipts)
    elif not receipts:
        click.echo("no model is loaded", err=True)


@click.command("rescan", short_help="Look into the folders of models again.")
@json_flag
@with_client
def rescan(client: Client, as_json: bool) -> None:
    """Looks into the folders of models again, and says what changed."""
    found = client.rescan()
    if as_json:
        output.json(found)
        return
    for sign, names in (("+", found.added), ("-", found.removed)):
        for name in names:
            output.say(f"{sign} {name}")
    output.say(f"{found.known} models known")
