"""The options of a load and of an answer.

They come to the command under the names that the SDK's `LoadSettings` and `AnswerSettings` have, and are passed on as
they are: the supervisor judges their values.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from vramd.settings import ON_CRASH, PREFERENCES, PRIORITIES
from vramd_common.load_settings import LOAD_SETTINGS
from vramd_common.sampling import DELIVERY, LIMITS, SAMPLING
from vramd_common.settings_table import Setting

from .parameters import Duration, Headed

Command = Callable[..., None]

LOADING = "Loading"
ANSWER = "Answer"

_KINDS: Mapping[type, Mapping[str, Any]] = {
    int: {"type": int},
    float: {"type": float},
    str: {"type": str},
    bool: {"is_flag": True, "default": None},
    tuple: {"type": str, "multiple": True},
}
_FLAGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "keep_alive_s": ("--keep-alive", {"type": Duration(stays=True)}),
    "degrade": ("--degrade/--no-degrade", _KINDS[bool]),
}
"""Options with another name or form than their settings."""


def load_flags(command: Command) -> Command:
    """Adds the options of a load; the keys of `LoadSettings`."""
    return _with_options(command, LOAD_SETTINGS, LOADING)


def reload_flag(command: Command) -> Command:
    """Adds --reload."""
    text = "If it is loaded with other settings, give it a new process with these, for all callers."
    return Headed.add("--reload", is_flag=True, heading=LOADING, help=text)(command)


def ask_flags(command: Command) -> Command:
    """Adds --priority, --prefer and --on-crash: the further keys of `AskSettings`."""
    text = "If its process dies, is stuck or is ended: go on in another one, or fail."
    command = Headed.add("--on-crash", type=click.Choice(list(ON_CRASH)), help=text, heading=LOADING)(command)
    return priority_flag("How urgent it is; default: as configured for the model.", LOADING)(prefer_flag(command))


def priority_flag(text: str, heading: str = "Options") -> Callable[[Command], Command]:
    """Adds how urgent something is; `text` says what."""
    return Headed.add("--priority", type=click.Choice(list(PRIORITIES)), help=text, heading=heading)


def prefer_flag(command: Command) -> Command:
    """Adds what to do where the best model for a task is not loaded."""
    text = "For a task: light_now takes a loaded model that suits, rather than wait for the best one."
    return Headed.add("--prefer", type=click.Choice(list(PREFERENCES)), help=text, heading=LOADING)(command)


def answer_flags(command: Command) -> Command:
    """Adds the options of an answer: the further keys of `AnswerSettings`, as far as they concern a text."""
    cache = [row for row in DELIVERY if row.field in ("session", "cache")]
    return _with_options(ask_flags(command), (*LIMITS, *SAMPLING, *cache), ANSWER)


def timeout_flag(command: Command) -> Command:
    """Adds the deadline of the call."""
    text = "How long the call may take: 90s, 5m; default: as the supervisor is configured."
    return click.option("--timeout", "timeout_s", type=Duration(), metavar="TIME", help=text)(command)


def json_flag(command: Command) -> Command:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _with_options(command: Command, table: Sequence[Setting], heading: str) -> Command:
    for row in reversed(table):
        flag, kind = _FLAGS.get(row.name) or (f"--{row.name.replace('_', '-')}", _KINDS[row.kind])
        if row.words and row.kind is int:
            kind = _KINDS[str]
        command = Headed.add(flag, row.name, help=row.described, heading=heading, **kind)(command)
    return command
