"""The command line: one room per kind of command, opened when the command is called.

Exit codes: 0 done, 1 the call failed, 2 wrong usage, 130 Ctrl-C; `serve` has its own.
"""

import importlib
from collections.abc import Mapping

import click

from vramd.console import INTERRUPTED
from vramd.errors import VramdError

ROOMS: Mapping[str, str] = {
    "serve": "serve",
    "run": "run",
    "embed": "embed",
    "models": "listings",
    "ps": "listings",
    "status": "listings",
    "devices": "listings",
    "load": "residency",
    "unload": "residency",
    "logs": "logs",
    "rescan": "residency",
    "shutdown": "shutdown",
}
"""Command → the module that has it under the same name."""


class Vramd(click.Group):
    """Opens the room of a command, and says in one place how calls fail."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """In the order of the help."""
        return list(ROOMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  click's signature
        """None for a name that is no command."""
        if cmd_name not in ROOMS:
            return None
        command = getattr(importlib.import_module(f"{__name__}.{ROOMS[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; its failure becomes a line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except VramdError as error:
            click.echo(f"vramd: {error} ({error.reason})", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@click.group(cls=Vramd, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vramd", message="vramd %(version)s")
def vramd() -> None:
    """Local models, one process each, within the memory that is there."""
