"""`vramd serve`: the supervisor itself, in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..parameters import DEVICE_SIZE

if TYPE_CHECKING:
    from vramd_supervisor.domain.config import Size

PEM = click.Path(dir_okay=False)
LEVELS = ("debug", "info", "warning", "error")


@click.command("serve", context_settings={"show_default": True}, short_help="Start the supervisor.")
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
@click.option("--insecure-network", is_flag=True, help="Listen on the network without TLS: others can read all of it.")
@click.option("--runtime-dir", type=click.Path(path_type=Path, file_okay=False), help="Where clients find this one.")
@click.option("--untested-engine", is_flag=True, help="Use a build of llama.cpp that vramd was not tested with.")
@click.option(
    "--log-level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    envvar="VRAMD_LOG_LEVEL",
    help="The least that is logged.",
)
@click.option("--record", type=click.Path(path_type=Path), help="Write all events and actions here, for `replay`.")
@click.option("--owned", is_flag=True, help="End when stdin ends: the program that started this one is gone.")
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
    log_level: str,
    record: Path | None,
    owned: bool,
) -> None:
    """Starts the supervisor and stays with it until it ends.

    Ctrl-C ends it in order, twice at once.
    """
    from vramd_supervisor.main import run
    from vramd_supervisor.settings.settings_file import Flags

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
    )
    sys.exit(run(config, flags, runtime_dir, log_level=log_level, record=record, owned=owned))
