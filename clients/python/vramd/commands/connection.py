"""The options by which every command finds the supervisor."""

import functools
from collections.abc import Callable
from pathlib import Path

import click
from vramd_proto.v1.rendezvous import default_runtime_dir

from vramd.client import Client
from vramd.commands.starting import ensure_running

Command = Callable[..., None]


def with_client(command: Command) -> Command:
    """Adds the options, and hands the command an open client as its first argument."""

    @click.option("--runtime-dir", type=click.Path(path_type=Path), help="Folder of the supervisor to call.")
    @click.option("--address", metavar="HOST:PORT", help="Address of the supervisor, instead of a folder.")
    @click.option("--token-file", type=click.Path(path_type=Path), help="File with its token; else VRAMD_TOKEN.")
    @click.option("--start", is_flag=True, help="Start a supervisor if none runs.")
    @functools.wraps(command)
    def connected(
        runtime_dir: Path | None, address: str | None, token_file: Path | None, start: bool, **arguments: object
    ) -> None:
        if address is not None and runtime_dir is not None:
            raise click.UsageError("--address and --runtime-dir name two supervisors: give one.")
        if start:
            if address is not None:
                raise click.UsageError("--start starts one on this machine: it goes with --runtime-dir.")
            runtime_dir = runtime_dir or default_runtime_dir()
            ensure_running(runtime_dir)
        with Client(runtime_dir, address=address, token_file=token_file) as client:
            command(client, **arguments)

    return connected
