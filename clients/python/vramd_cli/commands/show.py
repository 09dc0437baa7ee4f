"""`vramd show`: one model, in full."""

import click
from vramd import Client, Model

from .. import output
from ..connection import with_started_client
from ..parameters import HeadedCommand, ModelId
from ..settings import json_flag


@click.command("show", cls=HeadedCommand, short_help="Show all that is known of a model.")
@click.argument("model", type=ModelId())
@json_flag
@with_started_client
def show(client: Client, model: str, as_json: bool) -> None:
    """All that is known of MODEL, loaded or not. What a load would take: `vramd plan MODEL`."""
    output.result(client.model(model), as_json, _tell)


def _tell(found: Model) -> None:
    rows = [(name, words) for name, words in _facts(found) if words]
    width = max(len(name) for name, _ in rows)
    for name, words in rows:
        output.line(f"{name:<{width}}  {words}", width + 2)


def _facts(model: Model) -> list[tuple[str, str | None]]:
    context = model.trained_context_tokens
    parameters = model.parameters
    facts: list[tuple[str, str | None]] = [
        ("model", model.id),
        ("aliases", ", ".join(model.aliases)),
        ("problem", model.problem),
        ("file", model.path),
        ("size", output.size(model.size_bytes) if model.size_bytes else None),
        ("kind", model.architecture or model.engine),
        ("parameters", f"{parameters:,}" if parameters else None),
        ("type", model.quantization),
        ("trained for", f"{context} tokens" if context else None),
        ("chat template", "yes" if model.has_chat_template else "no"),
        ("projector", model.projector_path),
        ("state", model.state),
        ("pinned", "yes" if model.pinned else None),
        *(("beware", caution) for caution in model.cautions),
    ]
    if resident := model.resident:
        facts += [
            ("process", f"pid {resident.pid}" if resident.pid else None),
            ("memory", ", ".join(f"{output.size(use.reserved_bytes)} on {use.id}" for use in resident.devices)),
            ("context", f"{resident.context_tokens} tokens" if resident.context_tokens else None),
            ("at work", f"{resident.in_flight} of {resident.parallel}, {resident.queued} wait"),
            *(("less than usual", step) for step in resident.degraded),
        ]
    return facts
