"""The options of a load and of an answer.

They come to the command under the names that the SDK's `LoadSettings` and `AnswerSettings` have, and are passed on as
they are: the supervisor judges their values.
"""

from collections.abc import Callable

import click

from vramd.scheduling import PREFERENCES, PRIORITIES

Command = Callable[..., None]

_LOAD: tuple[tuple[str, type, str], ...] = (
    ("--context", int, "Tokens that all parallel sequences share."),
    ("--threads", int, "CPU threads while the model computes alone."),
    ("--device", str, "Id of a device, or auto."),
    ("--gpu-layers", int, "Layers on the GPU; -1 is all, 0 none."),
    ("--batch", int, "Tokens per decode step."),
    ("--kv-type", str, "Type of the KV cache, for example q8_0."),
    ("--parallel", int, "Sequences that may run at the same time."),
    ("--ubatch", int, "Tokens of one computation, a part of the batch."),
    ("--flash-attention", str, "auto, on or off."),
    ("--swa-full", bool, "Keep the whole context in layers with a sliding window too."),
    ("--outputs", str, "Results of one computation: auto, all or a number."),
    ("--kv-split", bool, "A cache of its own for each sequence."),
    ("--gpu-only", bool, "Refuse rather than leave a layer to the CPU."),
    ("--least-context", int, "The context may be lowered to so many tokens."),
    ("--degrade/--no-degrade", bool, "Take smaller settings than the usual ones where those do not fit, or never."),
    ("--keep-alive", float, "Seconds it stays after its last use; 0 leaves at once, -1 stays."),
)
_ANSWER: tuple[tuple[str, type, str], ...] = (
    ("--max-tokens", int, "Tokens generated at most."),
    ("--temperature", float, "0 takes the likeliest token always."),
    ("--top-p", float, "Smallest set of tokens of this probability."),
    ("--top-k", int, "So many likeliest tokens; 0 is off."),
    ("--min-p", float, "Tokens at least this share as likely as the likeliest."),
    ("--repeat-penalty", float, "Divides the logits of recent tokens; 1 is off."),
    ("--frequency-penalty", float, "Taken from a logit each time its token occurred."),
    ("--presence-penalty", float, "Taken from a logit once if its token occurred."),
    ("--seed", int, "Same seed, same text."),
    ("--max-tokens-per-s", float, "Tokens per second at most."),
)

_NAMES = {"--keep-alive": "keep_alive_s"}
"""Where the setting has another name than the option."""


def load_flags(command: Command) -> Command:
    """Adds the options of a load; the keys of `LoadSettings`."""
    return _with_options(command, _LOAD)


def ask_flags(command: Command) -> Command:
    """Adds how a call waits: the further keys of `AskSettings`."""
    return priority_flag("How urgent it is; else as the configuration says of the model.")(prefer_flag(command))


def priority_flag(text: str) -> Callable[[Command], Command]:
    """Adds how urgent something is; `text` says what."""
    return click.option("--priority", type=click.Choice(list(PRIORITIES)), help=text)


def prefer_flag(command: Command) -> Command:
    """Adds what to do where the best model for a task is not loaded."""
    text = "For a task: light_now takes a loaded model that suits, rather than wait for the best one."
    return click.option("--prefer", type=click.Choice(list(PREFERENCES)), help=text)(command)


def answer_flags(command: Command) -> Command:
    """Adds the options of an answer: the further keys of `AnswerSettings`."""
    stop = click.option("--stop", multiple=True, help="End before this text; may be given again.")
    return stop(_with_options(ask_flags(command), _ANSWER))


def timeout_flag(command: Command) -> Command:
    """Adds the deadline of the call."""
    return click.option("--timeout", "timeout_s", type=float, metavar="S", help="Seconds the call may take.")(command)


def json_flag(command: Command) -> Command:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _with_options(command: Command, options: tuple[tuple[str, type, str], ...]) -> Command:
    for flag, kind, text in reversed(options):
        name = _NAMES.get(flag, flag.split("/")[0].strip("-").replace("-", "_"))
        switch = {"is_flag": True, "default": None} if kind is bool else {"type": kind}
        command = click.option(flag, name, help=text, **switch)(command)
    return command
