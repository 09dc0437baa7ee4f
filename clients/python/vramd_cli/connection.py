"""The options by which every command finds the supervisor."""

import functools
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from vramd.client import Client
from vramd.errors import NotFound
from vramd.finding import own_runtime_dir
from vramd.launching import SERVE

from .parameters import Headed
from .starting import end, ensure_running

Command = Callable[..., None]

HEADING = "Connection"

SUFFIX = ".gguf"


def with_client(command: Command) -> Command:
    """Adds the options, and hands the command an open client as its first argument.

    A MODEL that is a file becomes the id that the supervisor has for it.
    """

    @_connection_options
    @functools.wraps(command)
    def connected(runtime_dir: Path | None, address: str | None, token_file: Path | None, **arguments: object) -> None:
        _check(runtime_dir, address)
        with Client(runtime_dir, address=address, token_file=token_file) as client:
            command(client, **_named(client, arguments))

    return connected


def with_started_client(command: Command) -> Command:
    """As `with_client`, for commands that a supervisor may be started for: adds --start and --models.

    A supervisor that was started for a model which it then does not know is ended again: the next attempt, with the
    right folder, would find it in its way.
    """

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
    @_connection_options
    @functools.wraps(command)
    def connected(
        runtime_dir: Path | None,
        address: str | None,
        token_file: Path | None,
        start: bool,
        folders: tuple[Path, ...],
        **arguments: object,
    ) -> None:
        _check(runtime_dir, address)
        if folders and not start:
            raise click.UsageError("--models is for a supervisor that --start starts.")
        if start and address is not None:
            raise click.UsageError("--start starts one on this machine: it goes with --runtime-dir.")
        process = None
        if start:
            runtime_dir = runtime_dir or own_runtime_dir()
            process = ensure_running(runtime_dir, _serve(folders, arguments.get("model")))
        try:
            with Client(runtime_dir, address=address, token_file=token_file) as client:
                command(client, **_named(client, arguments))
        except NotFound as error:
            if start and error.reason == "MODEL_NOT_FOUND":
                _explain(process, runtime_dir, error)
            raise

    return connected


def _connection_options(command: Command) -> Command:
    path = click.Path(path_type=Path)
    for names, settings in reversed(
        (
            (("--runtime-dir",), {"type": path, "help": "Folder of the supervisor to call."}),
            (("--address",), {"metavar": "HOST:PORT", "help": "Address of the supervisor, instead of a folder."}),
            (("--token-file",), {"type": path, "help": "File with its token; else VRAMD_TOKEN."}),
        )
    ):
        command = Headed.add(*names, heading=HEADING, **settings)(command)
    return command


def _check(runtime_dir: Path | None, address: str | None) -> None:
    if address is not None and runtime_dir is not None:
        raise click.UsageError("--address and --runtime-dir name two supervisors: give one.")


def _serve(folders: Sequence[Path], model: object) -> Sequence[str]:
    """The command of a supervisor that knows models. Raises UsageError where nobody says which."""
    if not folders and isinstance(model, str) and is_file(model):
        folders = (Path(model).parent,)
    if not folders and not os.environ.get("VRAMD_MODELS") and not os.environ.get("VRAMD_CONFIG"):
        raise click.UsageError(
            "--start does not know where your models are: give --models DIR, or set VRAMD_MODELS or VRAMD_CONFIG."
        )
    return [*SERVE, *(word for folder in folders for word in ("--models", str(folder.absolute())))]


def _explain(process: "subprocess.Popen[bytes] | None", runtime_dir: Path | None, error: NotFound) -> None:
    """Ends what was started in vain, or says that another supervisor was there before."""
    if process is not None:
        end(process)
        raise NotFound(error.reason, f"{error.message}; what was started for it is ended", error.metadata) from None
    words = f'one runs already, and looks into other folders: `vramd shutdown --runtime-dir "{runtime_dir}"` ends it'
    raise NotFound(
        error.reason, f"{error.message}; --start started no supervisor, as {words}", error.metadata
    ) from None


def is_file(model: str) -> bool:
    """Whether a MODEL is a file of models here, and not an id."""
    return (os.sep in model or model.lower().endswith(SUFFIX)) and os.path.isfile(model)  # noqa: PTH113  Path raises for a name that is too long for a file


def _named(client: Client, arguments: dict[str, object]) -> dict[str, object]:
    """The arguments, with the model's id in the place of its file."""
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
