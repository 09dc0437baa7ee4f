"""The options by which every command finds the supervisor, or starts one."""

import functools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click
from vramd.client import Client
from vramd.errors import NotFound
from vramd.finding import own_runtime_dir
from vramd.launching import SERVE

from .parameters import Command, Headed
from .starting import end, ensure_running

HEADING = "Connection"

SUFFIX = ".gguf"


def with_client(command: Command) -> Command:
    """Adds the options that find a supervisor, and calls the command with an open client as its first argument.

    A MODEL that is a file is replaced by the id that the supervisor has for it.
    """
    path = click.Path(path_type=Path)

    @Headed.add("--runtime-dir", type=path, heading=HEADING, help="Folder of the supervisor to call.")
    @Headed.add(
        "--address", metavar="HOST:PORT", heading=HEADING, help="Address of the supervisor, instead of a folder."
    )
    @Headed.add(
        "--token-file", type=path, heading=HEADING, help="File with its token; else VRAMD_TOKEN, else its folder."
    )
    @Headed.add("--ca", type=path, heading=HEADING, help="Call by TLS; the certificate to trust; else VRAMD_CA.")
    @Headed.add("--client-cert", type=path, heading=HEADING, help="For a supervisor that wants a certificate.")
    @Headed.add("--client-key", type=path, heading=HEADING, help="Key of that certificate.")
    @functools.wraps(command)
    def connected(
        runtime_dir: Path | None,
        address: str | None,
        token_file: Path | None,
        ca: Path | None,
        client_cert: Path | None,
        client_key: Path | None,
        **arguments: object,
    ) -> None:
        if address is not None and runtime_dir is not None:
            raise click.UsageError("--address and --runtime-dir name two supervisors: give one.")
        with Client(
            runtime_dir,
            address=address,
            token_file=token_file,
            ca=ca,
            client_cert=client_cert,
            client_key=client_key,
        ) as client:
            command(client, **_with_id(client, arguments))

    return connected


def with_started_client(command: Command) -> Command:
    """Like `with_client`, for commands that can start a supervisor: adds --start and --models.

    A supervisor that does not know the model it was started for is ended again; otherwise it would be in the way of the
    next attempt with the right folder.
    """
    connected = with_client(command)

    @Headed.add("--start", is_flag=True, heading=HEADING, help="Start a supervisor if none runs.")
    @Headed.add(
        "--models",
        "folders",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        multiple=True,
        metavar="DIR",
        heading=HEADING,
        help="With --start: a folder with models; else VRAMD_MODELS, or that of MODEL if it is a file.",
    )
    @functools.wraps(connected)
    def started(start: bool, folders: tuple[Path, ...], runtime_dir: Path | None, **arguments: object) -> None:
        if folders and not start:
            raise click.UsageError("--models is for a supervisor that --start starts.")
        if not start:
            connected(runtime_dir=runtime_dir, **arguments)
            return
        if arguments["address"] is not None:
            raise click.UsageError("--start starts one on this machine: it goes with --runtime-dir.")
        runtime_dir = runtime_dir or own_runtime_dir()
        process = ensure_running(runtime_dir, _serve(folders, arguments.get("model")))
        try:
            connected(runtime_dir=runtime_dir, **arguments)
        except NotFound as error:
            if error.reason == "MODEL_NOT_FOUND":
                _explain(process, runtime_dir, error)
            raise

    return started


def _serve(folders: Sequence[Path], model: object) -> Sequence[str]:
    """The command that starts a supervisor with models. Raises UsageError if no option or variable names a folder."""
    if not folders and isinstance(model, str) and is_file(model):
        folders = (Path(model).parent,)
    if not folders and not os.environ.get("VRAMD_MODELS") and not os.environ.get("VRAMD_CONFIG"):
        raise click.UsageError(
            "--start does not know where your models are: give --models DIR, or set VRAMD_MODELS or VRAMD_CONFIG."
        )
    return [*SERVE, *(word for folder in folders for word in ("--models", str(folder.absolute())))]


def _explain(process: "subprocess.Popen[bytes] | None", runtime_dir: Path, error: NotFound) -> NoReturn:
    """Ends the started supervisor, or says that another one was running before. Raises NotFound."""
    if process is not None:
        end(process)
        words = "what was started for it is ended"
    else:
        words = (
            "--start started no supervisor, as one runs already, and looks into other folders: "
            f'`vramd shutdown --runtime-dir "{runtime_dir}"` ends it'
        )
    raise NotFound(error.reason, f"{error.message}; {words}", error.metadata) from None


def is_file(model: str) -> bool:
    """Whether a MODEL is the path of an existing file, not an id."""
    return (os.sep in model or model.lower().endswith(SUFFIX)) and os.path.isfile(model)  # noqa: PTH113  Path raises for a name that is too long for a file


def _with_id(client: Client, arguments: dict[str, object]) -> dict[str, object]:
    """The arguments, with the model's id instead of its file."""
    model = arguments.get("model")
    if not isinstance(model, str) or not is_file(model):
        return arguments
    known = (one.id for one in client.models() if one.path and _same(one.path, model))
    return {**arguments, "model": next(known, model)}


def _same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)  # noqa: PTH121  both are plain names here
    except OSError:
        return False
