"""`vramd run`: one answer, as it comes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

from vramd import Client, InvalidRequest, Stream
from vramd.commands import show
from vramd.commands.connection import with_client
from vramd.commands.select import model_of
from vramd.commands.settings import answer_flags, json_flag, load_flags, timeout_flag
from vramd.console import INTERRUPTED

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from vramd.requests import AnswerSettings


@click.command("run", short_help="Ask a model, and print its answer as it comes.")
@click.argument("model")
@click.argument("prompt")
@click.option("--raw", is_flag=True, help="Go on with the prompt as it stands, without the chat template.")
@click.option("--timings", is_flag=True, help="Say on stderr where the time went.")
@answer_flags
@load_flags
@timeout_flag
@json_flag
@with_client
def run(
    client: Client,
    model: str,
    prompt: str,
    raw: bool,
    timings: bool,
    timeout_s: float | None,
    as_json: bool,
    **settings: Unpack[AnswerSettings],
) -> None:
    """Asks MODEL, and prints its answer as it comes. PROMPT "-" is read from stdin, less its last line break.

    The prompt is a message to a model with a chat template, and a text to go on with otherwise. Ctrl-C ends the answer.
    Until it begins, a terminal shows what it waits for.
    MODEL may be a task, such as task:code: the best model for it answers.
    """
    if prompt == "-":
        prompt = _read_prompt()
    chats = not raw and client.model(model_of(client, model, settings, timeout_s)).has_chat_template
    ask = client.chat if chats else client.generate
    with contextlib.ExitStack() as moving:
        on_waiting = None if as_json else moving.enter_context(show.waiting(model))
        with ask(model, prompt, on_waiting=on_waiting, timeout_s=timeout_s, **settings) as stream:
            try:
                if as_json:
                    _print_json(stream)
                else:
                    first = next(stream, "")
                    moving.close()  # the answer begins where the line was
                    _print_text(first, stream)
                if timings:
                    _print_timings(stream)
            except KeyboardInterrupt:
                stream.cancel()
                sys.exit(INTERRUPTED)


def _print_text(first: str, stream: Stream) -> None:
    try:
        click.echo(first, nl=False)
        for text in stream:
            click.echo(text, nl=False)
    finally:
        click.echo()  # an error stands on a line of its own


def _print_json(stream: Stream) -> None:
    finish = stream.finish
    click.echo(
        json.dumps(
            {
                "model": stream.model,
                "text": stream.text,
                "token_ids": stream.token_ids,
                "finish": finish.reason if finish else None,
                "usage": dataclasses.asdict(finish.usage) if finish else None,
            },
            indent=2,
        )
    )


def _print_timings(stream: Stream) -> None:
    told = stream.timeline
    if told is None:
        click.echo("the supervisor does not say where the time went", err=True)
        return
    phases = {name: seconds for name, seconds in dataclasses.asdict(told).items() if name.endswith("_s")}
    times = (f"{name.removesuffix('_s')} {seconds:.3f} s" for name, seconds in phases.items() if seconds is not None)
    click.echo(f"{told.model} ({told.incarnation}): {', '.join(times)}", err=True)


def _read_prompt() -> str:
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("FIELD_INVALID", f"stdin is no UTF-8 text: {error}", {"field": "prompt"}) from error
    return text.removesuffix("\n").removesuffix("\r")
