"""The options of a load and of an answer.

They come to the command under the names that the SDK's `LoadSettings` and `AnswerSettings` have, and are passed on as
they are: the supervisor judges their values.
"""

from collections.abc import Callable

import click
from vramd.settings import PREFERENCES, PRIORITIES

from .parameters import Duration, Headed

Command = Callable[..., None]
Kind = type | click.ParamType  # type: ignore[type-arg]  # older versions of click take no argument

LOADING = "Loading"
ANSWER = "Answer"

_LOAD: tuple[tuple[str, Kind, str], ...] = (
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
    (
        "--keep-alive",
        Duration(stays=True),
        "How long it stays after its last use: 90s, 5m; 0 leaves at once, -1 stays.",
    ),
)
_ANSWER: tuple[tuple[str, Kind, str], ...] = (
    ("--max-tokens", int, "Tokens generated at most; default: what is left of the context."),
    ("--temperature", float, "0 takes the likeliest token always; default 0.8."),
    ("--top-p", float, "Smallest set of tokens of this probability; default 0.95, 1 is off."),
    ("--top-k", int, "Only this many of the likeliest tokens; default 40, 0 is off."),
    ("--min-p", float, "Tokens at least this share as likely as the likeliest; default 0.05, 0 is off."),
    ("--repeat-penalty", float, "Divides the logits of recent tokens; default 1, off."),
    ("--frequency-penalty", float, "Taken from a logit each time its token occurred; default 0."),
    ("--presence-penalty", float, "Taken from a logit once if its token occurred; default 0."),
    ("--seed", int, "Makes an answer repeatable while the model works on nothing else; default: drawn anew."),
    ("--max-tokens-per-s", float, "Tokens per second at most; default: as fast as it goes."),
)

_NAMES = {"--keep-alive": "keep_alive_s"}
"""Where the setting has another name than the option."""


def load_flags(command: Command) -> Command:
    """Adds the options of a load; the keys of `LoadSettings`."""
    return _with_options(command, _LOAD, LOADING)


def reload_flag(command: Command) -> Command:
    """Adds --reload."""
    text = "If it is loaded with other settings, give it a new process with these, for all callers."
    return Headed.add("--reload", is_flag=True, heading=LOADING, help=text)(command)


def ask_flags(command: Command) -> Command:
    """Adds --priority and --prefer: the further keys of `AskSettings`."""
    return priority_flag("How urgent it is; default: as configured for the model.", LOADING)(prefer_flag(command))


def priority_flag(text: str, heading: str = "Options") -> Callable[[Command], Command]:
    """Adds how urgent something is; `text` says what."""
    return Headed.add("--priority", type=click.Choice(list(PRIORITIES)), help=text, heading=heading)


def prefer_flag(command: Command) -> Command:
    """Adds what to do where the best model for a task is not loaded."""
    text = "For a task: light_now takes a loaded model that suits, rather than wait for the best one."
    return Headed.add("--prefer", type=click.Choice(list(PREFERENCES)), help=text, heading=LOADING)(command)


def answer_flags(command: Command) -> Command:
    """Adds the options of an answer: the further keys of `AnswerSettings`."""
    stop = Headed.add("--stop", multiple=True, heading=ANSWER, help="End before this text; may be given again.")
    return stop(_with_options(ask_flags(command), _ANSWER, ANSWER))


def timeout_flag(command: Command) -> Command:
    """Adds the deadline of the call."""
    text = "How long the call may take: 90s, 5m; default: as the supervisor is configured."
    return click.option("--timeout", "timeout_s", type=Duration(), metavar="TIME", help=text)(command)


def json_flag(command: Command) -> Command:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _with_options(command: Command, options: tuple[tuple[str, Kind, str], ...], heading: str) -> Command:
    for flag, kind, text in reversed(options):
        name = _NAMES.get(flag, flag.split("/")[0].strip("-").replace("-", "_"))
        switch = {"is_flag": True, "default": None} if kind is bool else {"type": kind}
        command = Headed.add(flag, name, help=text, heading=heading, **switch)(command)
    return command
