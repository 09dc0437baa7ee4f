"""`vramd select`: the best model for a task, and why. Other commands resolve "task:NAME" here."""

from typing import Literal

import click
from vramd import AskSettings, Client, Selection

from .. import output
from ..connection import with_started_client
from ..parameters import HeadedCommand
from ..settings import json_flag, prefer_flag, timeout_flag

Prefer = Literal["light_now"]

PREFIX = "task:"


@click.command("select", cls=HeadedCommand, short_help="Say which model is the best one for a task, and why.")
@click.option("--task", required=True, help="What is to be done: code_generation, dialogue, math and so on.")
@click.option("--role", default="", help="Who asks: architect, npc and so on.")
@click.option("--context", type=click.IntRange(min=0), default=0, help="Tokens of context that are needed at least.")
@prefer_flag
@timeout_flag
@json_flag
@with_started_client
def select(
    client: Client,
    task: str,
    role: str,
    context: int,
    prefer: Prefer | None,
    timeout_s: float | None,
    as_json: bool,
) -> None:
    """Says which model is the best one for a task, and why. Loads nothing.

    The same is chosen where a call is given "task:NAME" instead of a model.
    """
    output.result(client.select(task, role=role, context=context, prefer=prefer, timeout_s=timeout_s), as_json, _tell)


def _tell(found: Selection) -> None:
    state = "loaded" if found.loaded else "not loaded" if found.fits else "does not fit"
    output.say(f"{found.model} ({state}), score {found.score:.1f}")
    for reason in found.reasons:
        output.say(f"  {reason}")
    if found.considered:
        output.say()
        rows = [(other.model, f"{other.score:.1f}", other.why_not) for other in found.considered]
        output.table(("OTHERS", "SCORE>", "WHY NOT"), rows, "")


def model_of(client: Client, model: str, settings: AskSettings, timeout_s: float | None) -> str:
    """The model that answers a call with these settings: resolves "task:NAME", returns an id unchanged."""
    if not model.startswith(PREFIX):
        return model
    context, prefer = settings.get("context") or 0, settings.get("prefer")
    return client.select(model.removeprefix(PREFIX), context=context, prefer=prefer, timeout_s=timeout_s).model
