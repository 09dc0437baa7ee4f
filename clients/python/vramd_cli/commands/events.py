"""`vramd events`: what happens, as it happens."""

import time
from collections.abc import Mapping

import click
from vramd import (
    Client,
    Event,
    Evicted,
    LedgerChanged,
    ModelChanged,
    PressureChanged,
    QueueChanged,
    Receipt,
    Thrashing,
)
from vramd.callbacks import TOPICS

from .. import output
from ..connection import with_client
from ..settings import json_flag

_NAMES: Mapping[str, str] = {kind: topic for topic, kind in TOPICS.items()}


@click.command("events", short_help="Follow what happens.")
@click.option("--kind", "topics", type=click.Choice(list(TOPICS)), multiple=True, help="Only these; may be repeated.")
@click.option(
    "--after", type=click.IntRange(min=0), help="Begin behind this number; 0: with the oldest that is remembered."
)
@json_flag
@with_client
def events(client: Client, topics: tuple[str, ...], after: int | None, as_json: bool) -> None:
    """Prints a line for each event, until Ctrl-C (exit code 130, as with `logs --follow`) or the supervisor's end.

    Without --after it begins with the next that happens. With --json each line is an object.
    """
    with client.watch([TOPICS[topic] for topic in topics], after_sequence=after) as feed:
        for event in feed:
            if as_json:
                output.json(event, indent=None)
            else:
                _tell(event)


def _tell(event: Event) -> None:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time_s))
    before = f"{event.sequence:>6}  {clock}  {_NAMES.get(event.kind, event.kind):<8}  "
    output.line(f"{before}{_words(event)}", len(before))


def _words(event: Event) -> str:
    match event.detail:
        case ModelChanged(model, worker_id, before, after, _, message):
            return f"{model} ({worker_id}) {before} -> {after}: {message}"
        case LedgerChanged(devices, message):
            rows = (f"{row.id} {output.size(row.reserved_bytes)} of {output.size(row.budget_bytes)}" for row in devices)
            return f"{', '.join(rows)}: {message}"
        case Evicted(model, worker_id, _, message, for_model, for_reservation):
            whom = for_model or (f"reservation {for_reservation}" if for_reservation else "other programs")
            return f"{model} ({worker_id}) leaves for {whom}: {message}"
        case Receipt() as receipt:
            return output.receipt(receipt)
        case PressureChanged(device, before, after, free_bytes, external_bytes, _, message):
            sizes = f"{output.size(free_bytes)} free, {output.size(external_bytes)} of others"
            return f"{device} {before} -> {after}, {sizes}: {message}"
        case QueueChanged(model, queued, queued_in_all):
            return f"requests that wait for {model}: {queued}, for all models: {queued_in_all}"
        case Thrashing() as thrashing:
            return _thrashing(thrashing)
        case None:
            return "of a kind that this version does not know"


def _thrashing(found: Thrashing) -> str:
    fits = (f"{one.model} with {', '.join(one.changes)} ({output.size(one.needed_bytes)})" for one in found.together)
    cure = f"would fit together: {'; '.join(fits)}" if found.together else "no settings are known under which they fit"
    rate = f"{found.loads_per_minute:.1f} loads per minute, {found.useful_share:.0%} of the time for answers"
    return f"{' and '.join(found.models)} drive each other out: {rate}; {cure}"
