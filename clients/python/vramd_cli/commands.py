"""The command line: one room per kind of command, opened when the command is called.

Exit codes: 0 done, 1 the call failed, 2 wrong usage, 130 Ctrl-C; `serve` has its own.
"""

import difflib
import errno
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from vramd.errors import InvalidRequest, LoadedDifferently, VramdError

from . import show
from .console import INTERRUPTED

ROOMS: Mapping[str, str] = {
    "serve": "serve",
    "run": "run",
    "chat": "chat",
    "embed": "embed",
    "models": "listings",
    "show": "showing",
    "ps": "listings",
    "status": "listings",
    "devices": "listings",
    "plan": "plan",
    "select": "select",
    "load": "residency",
    "unload": "residency",
    "restart": "residency",
    "pin": "staying",
    "unpin": "staying",
    "keep": "staying",
    "hold": "holding",
    "reserve": "reserving",
    "release": "reserving",
    "reservations": "reserving",
    "logs": "logs",
    "events": "events",
    "why": "why",
    "rescan": "residency",
    "demo": "demo",
    "bench": "bench",
    "doctor": "doctor",
    "estimate": "estimate",
    "simulate": "simulate",
    "replay": "replay",
    "shutdown": "shutdown",
}
"""Command → the module that has it under the same name."""

HABITS: Mapping[str, str] = {"list": "models", "ls": "models", "stop": "unload"}
"""What other tools call a command → what it is called here; both are understood."""

DOWNLOADS = ("pull", "get", "push", "create", "cp", "rm")
"""Commands of other tools that manage files of models."""


HELP: tuple[type[click.ClickException], ...] = (
    (click.exceptions.NoArgsIsHelpError,) if hasattr(click.exceptions, "NoArgsIsHelpError") else ()
)
"""The help in the shape of an error, which newer versions of click have."""


class Vramd(click.Group):
    """Opens the room of a command, and says in one place how calls fail."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """In the order of the help."""
        return list(ROOMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """None for a name that is no command."""
        name = HABITS.get(cmd_name, cmd_name)
        if name not in ROOMS:
            return None
        command = getattr(importlib.import_module(f"{__package__}.{ROOMS[name]}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Names what is near a name that is no command."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"there is no command {name!r}{_near(name)}")
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Reads what stands before the command."""
        with _telling():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; its failure becomes a line on stderr and an exit code."""
        reloads = "--reload" in ctx.args
        with _telling():
            try:
                return super().invoke(ctx)
            except LoadedDifferently as error:
                if reloads or _parameter(self.get_command(ctx, ctx.invoked_subcommand or ""), "reload") is None:
                    raise
                words = f"{error.message}\n--reload gives it a new process with these settings, for all callers"
                raise LoadedDifferently(error.reason, words, error.metadata) from error
            except InvalidRequest as error:
                command, field = self.get_command(ctx, ctx.invoked_subcommand or ""), error.metadata.get("field", "")
                given = _parameter(command, field)
                if given is None:
                    raise
                problem = error.message.removeprefix(f"{field}: ")
                raise click.BadParameter(problem, param_hint=f"'{given}'") from error


def _parameter(command: click.Command | None, field: str) -> str | None:
    """What of the command line a field of a request was made of: the same name, with or without its unit."""
    name = field.rpartition(".")[2]
    names = {name, *(name.removesuffix(unit) for unit in ("_tokens", "_bytes", "_s"))}
    for one in command.params if command else ():
        if one.name in names:
            return one.opts[0] if isinstance(one, click.Option) else one.human_readable_name
    return None


def _near(name: str) -> str:
    if name in DOWNLOADS:
        return ": vramd leaves the files of models alone; put a .gguf file into a folder that it looks into"
    near = difflib.get_close_matches(name, [*ROOMS, *HABITS], n=3)
    return f"; did you mean {' or '.join(near)}?" if near else "; `vramd --help` lists all"


@contextmanager
def _telling() -> Iterator[None]:
    """Says in one place, and in one way, what failed."""
    try:
        yield
    except VramdError as error:
        show.failed(f"{error} ({error.reason})")
        raise click.exceptions.Exit(1) from error
    except HELP:
        raise
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            for line in (*error.ctx.get_usage().splitlines(), f"Try '{error.ctx.command_path} --help'.", ""):
                show.say(line, err=True)
        show.failed(error.format_message())
        raise click.exceptions.Exit(error.exit_code) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        show.failed("there is no space left for what is to be written")
        raise click.exceptions.Exit(1) from error
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(INTERRUPTED) from error


@click.group(cls=Vramd, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vramd", message="vramd %(version)s")
def vramd() -> None:
    """Local models, one process each, within the memory that is there."""
