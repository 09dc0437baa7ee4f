"""`vramd run`: one answer, as it comes; without a prompt on a terminal a conversation."""

import contextlib
import dataclasses
import sys

import click
from typing_extensions import Unpack
from vramd import AnswerSettings, Client, Stream

from .. import INTERRUPTED, output, piped
from ..connection import with_started_client
from ..parameters import HeadedCommand, ModelId
from ..settings import answer_flags, json_flag, load_flags, reload_flag, timeout_flag
from .chat import converse, reload_model
from .select import model_of


@click.command("run", cls=HeadedCommand, short_help="Ask a model, and print its answer as it comes.")
@click.argument("model", type=ModelId())
@click.argument("prompt", required=False)
@click.option("--raw", is_flag=True, help="Go on with the prompt as it stands, without the chat template.")
@click.option("--timings", is_flag=True, help="Say on stderr where the time went.")
@answer_flags
@reload_flag
@load_flags
@timeout_flag
@json_flag
@with_started_client
def run(
    client: Client,
    model: str,
    prompt: str | None,
    raw: bool,
    timings: bool,
    reload: bool,
    timeout_s: float | None,
    as_json: bool,
    **settings: Unpack[AnswerSettings],
) -> None:
    """Asks MODEL, and prints its answer as it comes.

    What is piped in follows the PROMPT after a blank line; it is the whole prompt if PROMPT is "-" or is not given.
    Without both, on a terminal, it is a conversation, as in `vramd chat`.

    The prompt is a message to a model with a chat template, and a text to go on with otherwise. Ctrl-C ends the answer.
    Until it begins, a terminal shows what it waits for.

    MODEL is an id, a file, or a task such as task:code: the best model for that answers.
    """
    if reload:
        reload_model(client, model, timeout_s, settings)
    if prompt is None and sys.stdin.isatty():
        if raw or as_json or timings:
            raise click.UsageError("there is no PROMPT: --raw, --json and --timings are for a single answer.")
        converse(client, model, None, timeout_s, settings)
        return
    prompt = piped.prompt(prompt)
    chats = not raw and client.model(model_of(client, model, settings, timeout_s)).has_chat_template
    ask = client.chat if chats else client.generate
    with contextlib.ExitStack() as moving:
        on_waiting = None if as_json else moving.enter_context(output.waiting(model))
        with ask(model, prompt, on_waiting=on_waiting, timeout_s=timeout_s, **settings) as stream:
            try:
                if as_json:
                    _print_json(stream)
                else:
                    first = next(stream, "")
                    moving.close()  # the answer begins where the line was
                    output.answer(first, stream)
                if timings:
                    _print_timings(stream)
            except KeyboardInterrupt:
                stream.cancel()
                sys.exit(INTERRUPTED)


def _print_json(stream: Stream) -> None:
    finish = stream.finish
    output.json(
        {
            "model": stream.model,
            "text": stream.text,
            "token_ids": stream.token_ids,
            "finish": finish.reason,
            "usage": dataclasses.asdict(finish.usage),
        }
    )


def _print_timings(stream: Stream) -> None:
    told = stream.timeline
    if told is None:
        output.say("the supervisor does not say where the time went", err=True)
        return
    phases = {name: seconds for name, seconds in dataclasses.asdict(told).items() if name.endswith("_s")}
    times = (f"{name.removesuffix('_s')} {seconds:.3f} s" for name, seconds in phases.items() if seconds is not None)
    output.say(f"{told.model} ({told.worker_id}): {', '.join(times)}", err=True)
    if told.resumes:
        output.say(f"lost {told.resumes} of its processes, and went on: {told.resume}", err=True)
    use = stream.finish.usage
    # The first token ends the prompt's time, so the answer's time has one token less.
    computed = use.prompt_tokens - use.cached_prompt_tokens
    cached = f", {use.cached_prompt_tokens} of them cached" if use.cached_prompt_tokens else ""
    rates = (
        ("prompt", f"{use.prompt_tokens} tokens{cached}", computed, use.prompt_s),
        ("answer", f"{use.completion_tokens} tokens", use.completion_tokens - 1, use.generation_s),
    )
    output.say("; ".join(_rate(*rate) for rate in rates), err=True)


def _rate(name: str, tokens: str, timed: int, time_s: float | None) -> str:
    rate = f", {timed / time_s:.1f} tokens/s" if time_s and timed > 0 else ""
    return f"{name} {tokens}{rate}"
