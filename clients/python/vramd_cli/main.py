"""The group `vramd`: finds a command by its name, and reports every failure in one place.

Exit codes: 0 done, 1 the call failed, 2 wrong usage, 130 Ctrl-C; `serve` has further ones.
"""

import difflib
import errno
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from vramd.errors import InvalidRequest, LoadedDifferently, VramdError

from . import INTERRUPTED, commands, output

ORDER = (
    *("serve", "run", "chat", "embed", "models", "show", "ps", "status", "devices", "plan", "select"),
    *("load", "unload", "restart", "pin", "unpin", "keep", "hold", "reserve", "release", "reservations"),
    *("logs", "events", "why", "rescan", "token", "cert", "demo", "bench"),
    *("doctor", "estimate", "simulate", "replay", "reload", "drain", "undrain", "shutdown"),
)
"""Order of the help. A command that is missing here comes last."""


def _modules() -> Mapping[str, str]:
    files = [file.name for file in pkgutil.iter_modules(commands.__path__)]
    found = {command: file for file in files for command in file.split("_")}
    return {name: found[name] for name in sorted(found, key=lambda name: (*ORDER, name).index(name))}


COMMANDS = _modules()
"""Command → the file that has it."""

HABITS: Mapping[str, str] = {"list": "models", "ls": "models", "stop": "unload"}
"""Names of other tools → the command here; both work."""

DOWNLOADS = ("pull", "get", "push", "create", "cp", "rm")
"""Commands of other tools that manage model files."""

HELP: tuple[type[click.ClickException], ...] = (
    (click.exceptions.NoArgsIsHelpError,) if hasattr(click.exceptions, "NoArgsIsHelpError") else ()
)
"""The exception by which newer versions of click print the help."""


class Vramd(click.Group):
    """Imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """None if there is no such command."""
        name = HABITS.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"{commands.__name__}.{COMMANDS[name]}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"there is no command {name!r}{_suggestion(name)}")
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _failures_reported():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command. A refusal is reported in terms of the command line: the option, or --reload."""
        reloads = "--reload" in ctx.args
        with _failures_reported():
            try:
                return super().invoke(ctx)
            except LoadedDifferently as error:
                if reloads or _parameter(self._invoked(ctx), "reload") is None:
                    raise
                words = f"{error.message}\n--reload gives it a new process with these settings, for all callers"
                raise LoadedDifferently(error.reason, words, error.metadata) from error
            except InvalidRequest as error:
                field = error.metadata.get("field", "")
                given = _parameter(self._invoked(ctx), field)
                if given is None:
                    raise
                problem = error.message.removeprefix(f"{field}: ")
                raise click.BadParameter(problem, param_hint=f"'{given}'") from error
            except click.UsageError as error:
                if error.ctx is None and (command := self._invoked(ctx)):  # an option that lacks its argument
                    error.ctx = click.Context(command, ctx, ctx.invoked_subcommand)
                raise

    def _invoked(self, ctx: click.Context) -> click.Command | None:
        return self.get_command(ctx, ctx.invoked_subcommand or "")


def _parameter(command: click.Command | None, field: str) -> str | None:
    """The option or argument that fills a field of a request: it has the same name, with or without its unit."""
    name = field.rpartition(".")[2]
    names = {name, *(name.removesuffix(unit) for unit in ("_tokens", "_bytes", "_s"))}
    for one in command.params if command else ():
        if one.name in names:
            return one.opts[0] if isinstance(one, click.Option) else one.human_readable_name
    return None


def _suggestion(name: str) -> str:
    if name in DOWNLOADS:
        return ": vramd leaves the files of models alone; put a .gguf file into a folder that it looks into"
    near = difflib.get_close_matches(name, [*COMMANDS, *HABITS], n=3)
    return f"; did you mean {' or '.join(near)}?" if near else "; `vramd --help` lists all"


@contextmanager
def _failures_reported() -> Iterator[None]:
    """Turns exceptions into a message on stderr and an exit code."""
    try:
        yield
    except VramdError as error:
        output.failed(f"{error} ({error.reason})")
        raise click.exceptions.Exit(1) from error
    except HELP:
        raise
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            for line in (*error.ctx.get_usage().splitlines(), f"Try '{error.ctx.command_path} --help'.", ""):
                output.say(line, err=True)
        output.failed(error.format_message())
        raise click.exceptions.Exit(error.exit_code) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        output.failed("there is no space left for what is to be written")
        raise click.exceptions.Exit(1) from error
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(INTERRUPTED) from error


@click.group(cls=Vramd, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vramd", message="vramd %(version)s")
def vramd() -> None:
    """Local models, one process each, within the memory that is there."""
