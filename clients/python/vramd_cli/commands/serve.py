"""`vramd serve`: the supervisor itself, in this process. Its arguments are its own business."""

import importlib.util
import runpy
import sys

import click

from ..console import NEEDS_SERVER


class HandedOn(click.Command):
    """A command whose arguments, --help too, go on as they are."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads nothing."""
        ctx.params["arguments"] = tuple(args)
        return []


@click.command("serve", cls=HandedOn, short_help="Start the supervisor.")
def serve(arguments: tuple[str, ...]) -> None:
    """Starts the supervisor and stays with it until it ends."""
    if any(importlib.util.find_spec(module) is None for module in ("psutil", "grpc_health")):
        raise click.ClickException(NEEDS_SERVER)
    sys.argv = ["vramd serve", *arguments]
    runpy.run_module("vramd_supervisor", run_name="__main__", alter_sys=True)
