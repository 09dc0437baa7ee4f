"""`vramd cert`: a certificate, so that other machines can call."""

import contextlib
import errno
import os
import socket
from datetime import timedelta
from pathlib import Path

import click

from .. import output

ALWAYS = ("localhost", "127.0.0.1", "::1")


@click.command("cert", short_help="Make a certificate, so that other machines can call.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder for vramd-cert.pem and vramd-key.pem.  [default: this one]",
)
@click.option("--days", type=click.IntRange(1, 3650), default=825, show_default=True, help="How long it is valid.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def cert(names: tuple[str, ...], folder: Path, days: int, force: bool) -> None:
    """Makes a self-signed certificate and its key.

    NAMEs are the hosts and addresses by which others call this machine; without one it is the name of this machine.
    The names of this machine for itself are always in it. The key is readable for you only; copy the certificate to the
    machines that call, for their --ca.
    """
    try:
        from ..self_signed import make
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; pip install 'vramd[tls]' brings what is needed") from error
    hosts = list(dict.fromkeys((*(names or (socket.gethostname(),)), *ALWAYS)))
    try:
        chain, key = make(hosts, timedelta(days=days))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'NAME'") from error
    cert_file, key_file = folder / "vramd-cert.pem", folder / "vramd-key.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in (cert_file, key_file) if not force else ():
            if file.exists():
                raise FileExistsError(errno.EEXIST, "is there already", str(file))
        _write(key_file, key, 0o600, force)
        _write(cert_file, chain, 0o644, force)
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename} is there already; --force replaces it") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    output.say(f"{cert_file}: for {', '.join(hosts)}, valid for {days} days")
    output.say(f"{key_file}: its key")
    output.say(f"serve with:  vramd serve --host 0.0.0.0 --tls-cert {cert_file} --tls-key {key_file}")
    output.say(f"call with:   vramd ps --address {hosts[0]}:50151 --ca {cert_file.name} --token-file FILE")


def _write(file: Path, data: bytes, mode: int, force: bool) -> None:
    if force:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
        out.write(data)
