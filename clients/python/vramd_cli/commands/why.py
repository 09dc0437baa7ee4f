"""`vramd why`: what was decided about a model, and for which reasons."""

import time
from collections.abc import Mapping, Sequence

import click
from vramd import Client, Decision

from .. import output
from ..connection import with_client
from ..parameters import ModelId
from ..settings import json_flag

_WORDS: Mapping[str, str] = {
    "load": "loaded",
    "evict": "evicted",
    "refuse": "refused",
    "degrade": "loaded with less",
    "give_back": "took more than it was promised",
    "thrash": "thrashing",
    "unload": "unloaded",
    "resume": "went on",
    "threads": "slowed down",
    "crashed": "crashed",
}
"""Cause or kind of a decision → how its line begins."""
_INDENT = 12


@click.command("why", short_help="Say why a model was loaded, unloaded, evicted, refused, degraded or slowed down.")
@click.argument("model", default="", type=ModelId())
@click.option("-n", "--lines", "limit", type=click.IntRange(min=1), default=20, help="The most decisions to print.")
@json_flag
@with_client
def why(client: Client, model: str, limit: int, as_json: bool) -> None:
    """Says what was decided about MODEL, or about all models, newest first: the cause, the numbers, and what was not
    done instead. It remembers earlier runs of the supervisor.
    """
    found = client.decisions(model, limit=limit)
    output.result(found, as_json, lambda found: _tell(found, named=not model))


def _tell(found: Sequence[Decision], *, named: bool) -> None:
    if not found:
        output.say("nothing was decided", err=True)
    now_s = time.time()
    for decision in found:
        _tell_one(decision, now_s, named=named)


def _tell_one(decision: Decision, now_s: float, *, named: bool) -> None:
    when = f"{output.duration(max(0.0, now_s - decision.time_s))} ago"
    word = _WORDS.get(decision.cause) or _WORDS.get(decision.kind, decision.kind)
    about = f"{decision.model} " if named and decision.model else ""
    whom = f" for {decision.for_whom}" if decision.for_whom else ""
    output.line(f"{when:>10}  {about}{word}{whom}: {decision.message}", _INDENT)
    numbers = ", ".join(_number(name, amount) for name, amount in decision.numbers.items())
    for further in (numbers, *(f"not {one.what}: {one.why}" for one in decision.rejected)):
        if further:
            output.line(f"{'':>{_INDENT}}{further}", _INDENT + 2)


def _number(name: str, amount: float) -> str:
    """Formats a number by the unit at the end of its name."""
    if name.endswith("_bytes"):
        return f"{_words(name, '_bytes')} {output.size(round(amount))}"
    if name.endswith("_s"):
        return f"{_words(name, '_s')} {amount:.3g} s"
    return f"{_words(name)} {amount:g}"


def _words(name: str, unit: str = "") -> str:
    return name.removesuffix(unit).replace("_", " ")
