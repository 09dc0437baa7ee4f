"""`vramd plan`: what a load would take, whether it fits, and who would have to go."""

import asyncio
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import click
from typing_extensions import Unpack
from vramd import Client, LoadSettings, NearestSettings, NotFound, Plan, Quote, SupervisorNotFound, Victim, requests
from vramd.reading import read
from vramd_proto.v1.load_pb2 import LoadOptions

from .. import output
from ..connection import with_started_client
from ..parameters import CARD_SIZE, Command, HeadedCommand, ModelId
from ..settings import json_flag, load_flags, timeout_flag

SOURCES: Mapping[str, str] = {
    "learned": "as the same load took before",
    "dry_run": "by llama.cpp's own allocator, without allocating",
    "closed_form": "by formulas over the file's header",
    "file_size": "by the size of the file alone",
    "declared": "as the configuration declares it",
}
CONFIDENCES: Mapping[str, str] = {
    "exact": "exact",
    "close": "close (within some per cent)",
    "rough": "rough (an estimate)",
}

CALLS_ONLY: Mapping[str, str] = {
    "runtime_dir": "--runtime-dir",
    "address": "--address",
    "token_file": "--token-file",
    "ca": "--ca",
    "client_cert": "--client-cert",
    "client_key": "--client-key",
    "start": "--start",
    "folders": "--models",
    "timeout_s": "--timeout",
}
"""Options that --card excludes: only a call to a supervisor uses them."""

LEAST_TOLD_S = 0.1
"""A shorter expected load is not mentioned."""

CHANGEABLE = ("ubatch", "kv_type", "context", "gpu_layers", "batch", "outputs")
"""Settings that the alternatives may lower, in the order of the steps."""


def _or_on_cards(command: Command) -> Command:
    """Adds --card, which plans without a supervisor, and suggests it for a file that the supervisor does not know."""

    @click.option(
        "--card",
        "cards",
        metavar="SIZE",
        multiple=True,
        type=CARD_SIZE,
        help="Plan the file MODEL for an empty NVIDIA card of this size; may be given several times.",
    )
    @functools.wraps(command)
    def planned(model: str, cards: tuple[int, ...], as_json: bool, **arguments: object) -> None:
        if cards:
            if useless := [flag for name, flag in CALLS_ONLY.items() if arguments.pop(name)]:
                raise click.UsageError(f"--card asks no supervisor: {', '.join(useless)} cannot go with it.")
            _print(_imagine(model, cards, cast("LoadSettings", arguments)), arguments, as_json)
            return
        try:
            command(model=model, as_json=as_json, **arguments)
        except (NotFound, SupervisorNotFound) as error:
            if not os.path.isfile(model):  # noqa: PTH113  Path raises for a name that is too long for a file
                raise
            hint = f"{model} is a file: `vramd plan {model} --card 8GiB` plans it for a card of that size"
            raise click.ClickException(f"{error} ({error.reason})\n{hint}") from error

    return planned


def _imagine(file: str, cards: Sequence[int], settings: LoadSettings) -> Plan:
    """Plans for empty cards of these sizes in this process; no supervisor need run."""
    from vramd_supervisor.domain.errors import RefusedError
    from vramd_supervisor.offline.plan_cards import plan_for_cards

    options = requests.load_options(settings) or LoadOptions()
    try:
        return read(Plan, asyncio.run(plan_for_cards(Path(file).absolute(), cards, options)))
    except RefusedError as error:
        raise output.Failed(str(error)) from error


@click.command("plan", cls=HeadedCommand, short_help="Say what a load would take, and whether it fits.")
@click.argument("model", type=ModelId())
@load_flags
@timeout_flag
@json_flag
@_or_on_cards
@with_started_client
def plan(client: Client, model: str, timeout_s: float | None, as_json: bool, **settings: Unpack[LoadSettings]) -> None:
    """Says what a load of MODEL would take, whether it fits, and who would have to go. Changes nothing.

    With --card MODEL is a GGUF file, and no supervisor is needed. It is no failure if the model does not fit.
    """
    _print(client.plan(model, timeout_s=timeout_s, **settings), settings, as_json)


def _print(found: Plan, asked: Mapping[str, object], as_json: bool) -> None:
    output.result(found, as_json, lambda found: _tell(found, asked))


def _tell(found: Plan, asked: Mapping[str, object]) -> None:
    output.say(_verdict(found))
    if found.fits and found.message:
        output.say(found.message)
    output.say(_with_settings(found))
    output.say()
    _show_quote(found)
    output.say()
    output.say(_known_how(found.quote))
    if (found.expected_load_s or 0) >= LEAST_TOLD_S:
        output.say(f"a load would take about {found.expected_load_s:.1f} s")
    for victim in found.victims:
        output.say(_leaving(victim))
    for step in found.degraded:
        output.say(f"less than usual: {step}")
    for caution in found.cautions:
        output.say(f"beware: {caution}")
    for nearest in found.nearest:
        output.say(f"would fit, {output.size(nearest.needed_bytes)} in all: {_typed(found, nearest, asked)}")


def _verdict(found: Plan) -> str:
    if not found.fits:
        return f"does not fit: {found.message}"
    free = {device.id: device.free_bytes for device in found.devices}
    for victim in found.victims:
        for back in victim.gives_back:
            if back.id in free:
                free[back.id] += back.bytes
    places = ", ".join(
        f"{need.id}: {output.size(need.total_bytes)} of {output.size(free.get(need.id))} free"
        for need in found.quote.devices
    )
    gone = ", ".join(map(_name, found.victims))
    if found.message.startswith("waits"):
        return f"{found.model} will fit on {places}"
    return f"{found.model} fits on {places}{f', once {gone} is gone' if gone else ''}"


def _with_settings(found: Plan) -> str:
    settings = found.settings
    layers = "all" if settings.gpu_layers < 0 else settings.gpu_layers
    on_gpu = f", {layers} layers on the GPU" if layers else ""
    return (
        f"context {settings.context}, batch {settings.batch}, ubatch {settings.ubatch}, KV cache {settings.kv_type}, "
        f"{settings.parallel} parallel{on_gpu}"
    )


def _show_quote(found: Plan) -> None:
    free = {device.id: device.free_bytes for device in found.devices}
    rows = [
        (
            need.id,
            *map(output.size, (need.weights_bytes, need.context_bytes, need.compute_bytes, need.process_bytes)),
            output.size(need.total_bytes),
            output.size(free.get(need.id)),
        )
        for need in found.quote.devices
    ]
    columns = ("DEVICE", "WEIGHTS>", "CONTEXT>", "COMPUTE>", "PROCESS>", "TOTAL>", "FREE>")
    output.table(columns, rows, "it takes no memory")


def _known_how(quote: Quote) -> str:
    confidence = CONFIDENCES.get(quote.confidence, quote.confidence)
    return f"{confidence}, {SOURCES.get(quote.source, quote.source)}; found in {quote.seconds:.2f} s"


def _leaving(victim: Victim) -> str:
    back = ", ".join(f"{output.size(back.bytes)} on {back.id}" for back in victim.gives_back)
    return f"{_name(victim)} would go, and give back {back}"


def _name(victim: Victim) -> str:
    return victim.model or "the spare process"


def _typed(found: Plan, nearest: NearestSettings, asked: Mapping[str, object]) -> str:
    """The command line for settings that would fit: the given flags, with the necessary changes."""
    changed = {
        name: getattr(nearest, name) for name in CHANGEABLE if getattr(nearest, name) != getattr(found.settings, name)
    }
    kept = {name: value for name, value in asked.items() if name not in changed}
    return " ".join(" ".join(flag) for flag in _flags({**changed, **kept}))


def _flags(settings: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    """Each setting as a flag and its value."""
    options = {option.name: option for option in plan.params if isinstance(option, click.Option)}
    for name, value in settings.items():
        option = options[name]
        if value is None or (value is False and not option.secondary_opts):
            continue
        if isinstance(value, bool):
            yield (option.opts[0] if value else option.secondary_opts[0],)
        else:
            yield (option.opts[0], str(value))
