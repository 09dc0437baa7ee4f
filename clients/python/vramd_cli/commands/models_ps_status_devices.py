"""`models`, `ps`, `status`, `devices`: what there is."""

from collections.abc import Sequence

import click
from vramd import Client, Device, Model, ResidentModel, Status

from .. import output
from ..connection import with_client, with_started_client
from ..parameters import STAYS_S
from ..settings import json_flag
from .reserve_release_reservations import show_reservations


@click.command("models", short_help="List the models vramd knows.")
@json_flag
@with_started_client
def models(client: Client, as_json: bool) -> None:
    """Every model that vramd knows, loaded or not."""
    output.result(client.models(), as_json, _show_models)


def _show_models(listed: Sequence[Model]) -> None:
    rows = [
        (
            model.id,
            model.state,
            output.size(model.size_bytes),
            model.architecture or model.engine,
            model.quantization or "-",
            str(model.trained_context_tokens or "-"),
        )
        for model in listed
    ]
    columns = ("MODEL", "STATE", "SIZE>", "KIND", "TYPE", "CONTEXT>")
    output.table(columns, rows, "no model is known: vramd serve --models DIR")
    _notes([(one.id, words) for one in listed for words in (one.problem, output.deaths(one.deaths), *one.cautions)])


@click.command("ps", short_help="List the loaded models.")
@json_flag
@with_client
def ps(client: Client, as_json: bool) -> None:
    """The models that have a process, wait for one, or are in quarantine, and the reservations.

    --json has the models only.

    BUSY: requests that run, of those that may run at once, and how many wait. UNTIL: how long it stays loaded while
    idle, or what keeps it.
    """
    resident = client.resident()
    output.result(resident, as_json, _show_resident)
    if not as_json and (standing := client.reservations()):
        output.say()
        show_reservations(standing)


@click.command("devices", short_help="List the devices and their memory.")
@json_flag
@with_client
def devices(client: Client, as_json: bool) -> None:
    """Every device, counted or not."""
    output.result(client.devices(), as_json, _show_devices)


@click.command("status", short_help="Show supervisor, devices and loaded models.")
@json_flag
@with_client
def status(client: Client, as_json: bool) -> None:
    """The supervisor, its devices and the loaded models, at one moment."""
    output.result(client.status(), as_json, _show_status)


def _show_status(now: Status) -> None:
    info = now.supervisor
    output.say(
        f"vramd {info.version} at {info.address}, pid {info.pid}, up {output.duration(info.uptime_s)}, "
        f"{output.size(info.rss_bytes)}, {info.usable_cores} cores"
    )
    if 0 < info.cores_left < info.usable_cores:
        share = f"{info.cores_left} of {info.usable_cores} cores"
        output.say(f"other programs take {info.foreign_cores:.1f} cores: models compute on {share}")
    if info.ending:
        output.say(f"ending: {info.running} running, nothing new")
    elif info.draining:
        output.say(f"draining: {info.running} running, {info.queued} waiting, nothing new until `vramd undrain`")
    output.say(f"event loop: at most {info.loop_lag_s * 1000:.0f} ms late in the last minute")
    output.say()
    _show_devices(now.devices)
    output.say()
    _show_resident(now.models)


def _show_resident(resident: Sequence[ResidentModel]) -> None:
    rows = [
        (
            model.model,
            model.state,
            str(model.pid or "-"),
            ",".join(use.id for use in model.devices) or "-",
            str(model.context_tokens or "-"),
            output.size(model.reserved_bytes),
            output.size(model.measured_bytes),
            f"{model.in_flight}/{model.parallel}" + (f" +{model.queued}" if model.queued else ""),
            _leaves_in(model),
        )
        for model in resident
    ]
    columns = ("MODEL", "STATE", "PID>", "ON", "CONTEXT>", "RESERVED>", "MEASURED>", "BUSY>", "UNTIL>")
    output.table(columns, rows, output.NO_RESIDENT)
    _notes([(model.model, f"held by {', '.join(model.holders)}" if model.holders else None) for model in resident])
    _notes([(model.model, output.deaths(model.deaths)) for model in resident])


def _leaves_in(model: ResidentModel) -> str:
    """The time until it is unloaded if it stays idle, or what keeps it."""
    if model.pinned:
        return "pinned"
    if model.holders:
        return "held"
    if model.keep_alive_left_s is not None:
        return output.duration(model.keep_alive_left_s)
    return "stays" if model.keep_alive_s == STAYS_S else "-"


def _show_devices(listed: Sequence[Device]) -> None:
    rows = [
        (
            device.id,
            device.kind,
            output.size(device.total_bytes),
            output.size(device.budget_bytes),
            output.size(device.reserved_bytes),
            output.size(device.external_bytes),
            output.size(device.free_bytes),
            device.pressure,
        )
        for device in listed
    ]
    columns = ("DEVICE", "KIND", "TOTAL>", "BUDGET>", "RESERVED>", "OTHERS>", "FREE>", "PRESSURE")
    output.table(columns, rows, "there is no device")
    _notes([(device.id, device.unusable) for device in listed])


def _notes(rows: Sequence[tuple[str, str | None]]) -> None:
    for name, note in rows:
        if note:
            output.say(f"{name}: {note}")
