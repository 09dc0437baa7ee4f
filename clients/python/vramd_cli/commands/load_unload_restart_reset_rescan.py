"""`load`, `unload`, `restart`, `reset`, `rescan`: which models are there, and which are loaded."""

import contextlib

import click
from typing_extensions import Unpack
from vramd import Client, LoadSettings, Model, NotLoaded, Receipt, Rescan, ResidentModel

from .. import output
from ..connection import with_client, with_started_client
from ..parameters import HeadedCommand, ModelId
from ..settings import json_flag, load_flags, reload_flag, timeout_flag


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
        resident = client.load(model, reload=reload, on_progress=line.step, timeout_s=timeout_s, **settings)
    output.result(resident, as_json, _tell)


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
    output.result(resident, as_json, _tell)


@click.command("reset", short_help="End a model's quarantine.")
@click.argument("model", type=ModelId())
@json_flag
@with_client
def reset(client: Client, model: str, as_json: bool) -> None:
    """Forgets that processes of MODEL died, or that llama.cpp refused its file, so that it is tried again."""
    output.result(client.reset(model), as_json, _show_reset)


def _show_reset(model: Model) -> None:
    output.say(f"{model.id} is {model.state}; the next call loads it")


def _tell(resident: ResidentModel) -> None:
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
        output.result(client.unload(model, force=force, timeout_s=timeout_s), as_json, _show_receipt)
        return
    receipts = []
    for resident in client.resident():
        with contextlib.suppress(NotLoaded):  # it has left meanwhile
            receipts.append(client.unload(resident.model, force=force, timeout_s=timeout_s))
            if not as_json:
                _show_receipt(receipts[-1])
    if as_json:
        output.json(receipts)
    elif not receipts:
        output.say(output.NO_RESIDENT, err=True)


def _show_receipt(given: Receipt) -> None:
    output.say(output.receipt(given))


@click.command("rescan", short_help="Look into the folders of models again.")
@json_flag
@with_client
def rescan(client: Client, as_json: bool) -> None:
    """Looks into the folders of models again, and says what changed."""
    output.result(client.rescan(), as_json, _show_changes)


def _show_changes(found: Rescan) -> None:
    for sign, names in (("+", found.added), ("-", found.removed)):
        for name in names:
            output.say(f"{sign} {name}")
    output.say(f"{found.known} models known")
