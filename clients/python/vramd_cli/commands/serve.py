"""`vramd serve`: the supervisor itself, in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from vramd_common.handshake import Failed

from ..parameters import DEVICE_SIZE, Duration, Parsed

if TYPE_CHECKING:
    from vramd_supervisor.domain.config import Size
    from vramd_supervisor.owner import Lifeline

PEM = click.Path(dir_okay=False)
LEVELS = ("debug", "info", "warning", "error")


def _lifeline(text: str) -> Lifeline:
    from vramd_supervisor.owner import Lifeline

    return Lifeline.parse(text)


class ServeCommand(click.Command):
    """Tells a program that started it of wrong usage too, in the one line that it waits for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Called by click."""
        awaited = any(word == "--owned" or word.startswith("--handshake") for word in args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if awaited:
                click.echo(Failed(error.exit_code, error.format_message()).line())
            raise


@click.command("serve", cls=ServeCommand, context_settings={"show_default": True}, short_help="Start the supervisor.")
@click.option("--config", type=click.Path(path_type=Path), envvar="VRAMD_CONFIG", help="Configuration file (TOML).")
@click.option("--models", multiple=True, metavar="DIR", help="Folder with GGUF files; may be given several times.")
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    type=DEVICE_SIZE,
    metavar="DEVICE=SIZE",
    help="Most that may be promised on a device: host=600MiB.",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one.  [default: 50151]")
@click.option("--tls-cert", type=PEM, help="Certificate to serve with by TLS; `vramd cert` makes one.")
@click.option("--tls-key", type=PEM, help="Key of the certificate.")
@click.option(
    "--tls-client-ca", type=PEM, help="Serve clients only whose certificate is one of these, or signed by one."
)
@click.option(
    "--insecure-network",
    is_flag=True,
    help="Listen on the network without TLS: anyone on the network path can read the traffic.",
)
@click.option("--runtime-dir", type=click.Path(path_type=Path, file_okay=False), help="Where clients find this one.")
@click.option("--untested-engine", is_flag=True, help="Use a build of llama.cpp that vramd was not tested with.")
@click.option("--no-huge-pages", is_flag=True, help="Keep models in RAM in pages of 4 KiB.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="VRAMD_LOG_LEVEL",
    help="The least that is logged.",
)
@click.option("--record", type=click.Path(path_type=Path), help="Write all events and actions here, for `replay`.")
@click.option(
    "--handshake",
    type=click.Choice(["stdout"]),
    help="Say one line for programs on stdout, VRAMD_READY {…} or VRAMD_ERROR {…}, and log into the file only.",
)
@click.option(
    "--lifeline",
    type=Parsed("lifeline", _lifeline),
    metavar="stdin|pid:N",
    help="Exit when stdin closes or when process N exits.",
)
@click.option("--idle-exit", type=Duration(), metavar="TIME", help="End after so long without any call, such as 10m.")
@click.option("--owned", is_flag=True, help="The same as --handshake stdout --lifeline stdin.")
@click.option("--tell-workers", is_flag=True, hidden=True)  # for `vramd bench`: a private wire is no interface
@click.version_option(package_name="vramd", prog_name="vramd")
def serve(
    config: Path | None,
    models: tuple[str, ...],
    budgets: tuple[tuple[str, Size], ...],
    host: str | None,
    port: int | None,
    tls_cert: str | None,
    tls_key: str | None,
    tls_client_ca: str | None,
    insecure_network: bool,
    runtime_dir: Path | None,
    untested_engine: bool,
    no_huge_pages: bool,
    log_level: str,
    record: Path | None,
    handshake: str | None,
    lifeline: Lifeline | None,
    idle_exit: float | None,
    owned: bool,
    tell_workers: bool,
) -> None:
    """Starts the supervisor and stays with it until it ends.

    Ctrl-C ends it in order, twice at once.
    """
    # gRPC, which reads this at its import, else ends its threads for a fork and starts them again after it. That is its
    # end where the system has no more of them, and there a `vfork` that fails is tried again as a fork.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    from vramd_supervisor.main import run
    from vramd_supervisor.owner import Lifeline
    from vramd_supervisor.settings.settings_file import Flags

    if owned:
        handshake, lifeline = "stdout", lifeline or Lifeline()
    flags = Flags(
        models,
        dict(budgets),
        host,
        port,
        tls_cert,
        tls_key,
        tls_client_ca,
        insecure_network=insecure_network,
        untested_engine=untested_engine,
        no_huge_pages=no_huge_pages,
        idle_exit_s=idle_exit,
    )
    greets = handshake is not None
    sys.exit(
        run(
            config,
            flags,
            runtime_dir,
            log_level=log_level,
            record=record,
            handshake=greets,
            lifeline=lifeline,
            tell_workers=tell_workers,
        )
    )
