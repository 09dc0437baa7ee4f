"""`vramd token`: what another program needs to call the supervisor."""

from pathlib import Path

import click
from vramd.finding import own_runtime_dir
from vramd_common.rendezvous import RuntimeDir

from .. import output

SCOPES = ("use", "admin")


@click.command("token", short_help="Print a token for another program.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="use",
    show_default=True,
    help="use: asks models, holds them and looks around; "
    "admin: also loads, unloads, resets, reserves, reloads, drains and ends.",
)
@click.option("--runtime-dir", type=click.Path(path_type=Path), help="Folder of the supervisor.")
def token(scope: str, runtime_dir: Path | None) -> None:
    """Prints a token of the supervisor that runs now.

    Clients take it by VRAMD_TOKEN, which --runtime-dir overrules, or by --token-file. Each start makes new ones.
    """
    folder = RuntimeDir(runtime_dir or own_runtime_dir())
    file = folder.use_token_file if scope == "use" else folder.token_file
    try:
        output.say(file.read_text("utf-8").strip())
    except FileNotFoundError as error:
        raise click.ClickException(f"no supervisor runs in {folder.path}") from error
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from error
