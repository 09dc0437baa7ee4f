"""`vramd estimate`: the memory of a model by the rules of thumb, beside vramd's own figure and how far off they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import output
from ..settings import json_flag

if TYPE_CHECKING:
    from vramd_supervisor.offline.estimate import Estimate, Rule

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("estimate", short_help="Estimate a model's memory by the rules of thumb, and say how wrong they are.")
@click.option("--params", type=_POSITIVE, help="Billions of parameters; else the file's.")
@click.option("--bits", type=_POSITIVE, help="Bits per parameter; else the file's, as its type is called.")
@click.option("--context", type=click.IntRange(1), help="Tokens of the context; no rule knows it.")
@click.option("--model", type=click.Path(path_type=Path), metavar="FILE", help="GGUF file, for vramd's own figure.")
@json_flag
def estimate(params: float | None, bits: float | None, context: int | None, model: Path | None, as_json: bool) -> None:
    """Prints what the rules say of a model, and for a FILE what vramd itself counts on, with the rules' errors."""
    from vramd_supervisor.offline import estimate as offline

    if model is None and (params is None or bits is None):
        raise click.UsageError("Give --params and --bits, or a --model that tells them.")
    try:
        found = offline.estimate(params, bits, context, model)
    except offline.EstimateError as error:
        raise output.Failed(str(error), 2 if isinstance(error, offline.UnknownSizeError) else 1) from error
    output.result(found, as_json, _tell)


def _tell(found: Estimate) -> None:
    rows = [(rule.rule, _bytes(rule), _error(rule.error)) for rule in found.rules]
    if exact := found.exact:
        kinds = f"{exact.confidence}, {exact.source}"
        context_words = f"{found.context_tokens} tokens on {exact.device}"
        rows.append((f"vramd: {context_words} ({kinds})", output.size(exact.total_bytes), "-"))
    output.say(f"{found.parameters / 1e9:.4g} billion parameters of {found.bits:g} bits")
    output.say()
    output.table(("RULE", "MEMORY>", "ERROR>"), rows, "there is no rule")
    if not exact:
        output.say()
        output.say("No rule knows the context, nor what a computation takes: --model FILE gives vramd's own figure.")


def _bytes(rule: Rule) -> str:
    least, most = output.size(rule.least_bytes), rule.most_bytes
    if most is None:
        return f"{least} or more"
    return least if most == rule.least_bytes else f"{least} to {output.size(most)}"


def _error(share: float | None) -> str:
    return "-" if share is None else f"{share:+.0%}"
