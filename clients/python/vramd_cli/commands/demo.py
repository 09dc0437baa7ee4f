"""`vramd demo`: shows what vramd does, with a model that ships with it."""

import time
from collections.abc import Mapping
from dataclasses import asdict

import click

from .. import output
from ..play import FOLDER, MODEL_FILE, Audience, Played, Step, play
from ..settings import json_flag


class Person(Audience):
    """Prints the demo for a person."""

    def __init__(self) -> None:
        self._number = 0
        self._answer = output.Answer()

    def begins(self, title: str) -> None:
        click.secho(f"\n{self._number}. {title}", bold=True)
        self._number += 1

    def needs(self, needs_bytes: Mapping[str, int], budget_bytes: int) -> None:
        rows = [(model, output.size(size)) for model, size in needs_bytes.items()]
        output.table(("MODEL", "NEEDS>"), rows, "")
        output.say(f"The budget is {output.size(budget_bytes)}: two of them fit.")

    def asks(self, model: str, prompt: str) -> None:
        """Prints the question and the beginning of the answer."""
        output.say()
        output.say(f"   you -> {model}: {prompt}")
        self._answer = output.Answer(indent="   ")
        self._answer.add(f"   {model}: ")

    def hears(self, text: str) -> None:
        self._answer.add(text)

    def killed(self, model: str, pid: int) -> None:
        self._answer.add(f"\n(meanwhile the process of {model}, pid {pid}, was killed in the middle of its answer)")

    def interrupted(self, pid: int) -> None:
        self._answer.add(f" [kill -9 {pid}]")

    def ends(self, step: Step) -> None:
        self._answer.end()
        for answer in step.answers:
            if answer.resumes:
                output.say(f"   {answer.model} went on in process {answer.pid}, exactly behind the last word")
            if answer.error:
                output.say(f"   {answer.model} was cut off with {answer.error} after: {answer.text!r}")
        for task, selection in step.chosen.items():
            output.say(f"   {task}: {selection.model}, {selection.reasons[0]}")
        if step.evicted:
            output.say(f"   evicted: {step.evicted.model}, because {step.evicted.message}")
        if step.receipt:
            output.say(f"   receipt: {output.receipt(step.receipt)}")
        rows: list[tuple[str, ...]] = [
            (
                model.model,
                model.state,
                str(model.pid or "-"),
                output.size(model.reserved_bytes),
                output.size(model.measured_bytes),
            )
            for model in step.models
        ]
        host = next(device for device in step.ledger if device.id == "host")
        rows.append((host.id, "budget", "-", output.size(host.budget_bytes), f"{output.size(host.free_bytes)} free"))
        output.table(("LEDGER", "STATE", "PID>", "RESERVED>", "MEASURED>"), rows, "")


@click.command("demo", short_help="Show what vramd does, with a model that ships with it.")
@click.option("--where", is_flag=True, help="Only print the folder of its models, for `serve --models`.")
@json_flag
def demo(where: bool, as_json: bool) -> None:
    """Loads, swaps, kills and chooses small models within a minute. All text comes from llama.cpp.

    It starts a supervisor of its own and ends it again; one that runs already is not touched.
    """
    if where:
        output.say(str(FOLDER))
        return
    began_s = time.monotonic()
    if as_json:
        played = play(Audience())
        output.json({**asdict(played), "seconds": round(time.monotonic() - began_s, 1)})
        return
    output.say(f"Three entries over one tiny model, {MODEL_FILE.name}, with contexts of different size;")
    output.say("and two more models as tiny, one for code and one for sums.")
    played = play(Person())
    output.say()
    output.say(f"Done in {time.monotonic() - began_s:.0f} s. With models of yours: vramd serve --models DIR")
    output.say()
    output.table(("STEP", "MODEL", "ENGINE", "PID>", "TOKENS>", "EVICTED", "CAME BACK>", "ENDED"), _summary(played), "")


def _summary(played: Played) -> list[tuple[str, ...]]:
    """A row for each answer."""
    return [
        (
            str(number),
            answer.model,
            answer.engine,
            str(answer.pid),
            "-" if answer.completion_tokens is None else str(answer.completion_tokens),
            step.evicted.model if step.evicted and answer is step.answers[-1] else "-",
            output.size(step.receipt.observed_bytes) if step.receipt else "-",
            "killed" if answer.error else "resumed" if answer.resumes else "well",
        )
        for number, step in enumerate(played.steps, start=1)
        for answer in step.answers
    ]
