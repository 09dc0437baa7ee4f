"""`vramd serve`: reads the flags and the configuration, then serves until somebody ends it.

`python -m vramd_supervisor COMMAND` runs one of `ROOMS` instead, which prints one JSON document.

Exit codes: 0 ended in order, 1 could not listen or use its runtime folder, 2 wrong usage or configuration, 69 already
running, 70 internal, 130 Ctrl-C before the start was over.
"""

import asyncio
import importlib
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

import click
from vramd_common import heap
from vramd_common.printable import printable
from vramd_common.rendezvous import default_runtime_dir

from . import signals
from .domain.config import Config, Size
from .domain.sizes import parse_budget
from .files.reading import PATIENCE_S
from .instance import AlreadyRunningError, Instance
from .listening import AddressError, Listening
from .server import serve
from .settings.settings_file import ConfigError, Flags, load_config
from .simulation.recorder import RecordingFile
from .threads.lane import Lane, NoAnswerError, NoThreadError
from .threads.outlet import FLUSH_S, output_aside
from .workers.log_book import LineFormatter

ROOMS = {
    "doctor": "offline.doctor",
    "estimate": "offline.estimate",
    "plan": "offline.plan_cards",
    "replay": "simulation.replay",
    "simulate": "simulation.simulate",
}
"""Command → the module of this package whose `main` it is."""
LEVELS = ("debug", "info", "warning", "error")
ALREADY_RUNNING = 69
INTERNAL = 70
INTERRUPTED = 130
START_S = 10.0
"""For the configuration, and for the runtime folder."""
LEAVE_S = 5.0
STDERR = 2
"""Its descriptor, whatever stands for it in Python."""

log = logging.getLogger(__name__)


def read_budgets(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Size]:
    """DEVICE=SIZE on the command line, by device. Called by click."""
    try:
        return dict(map(parse_budget, given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("serve", context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--config", type=click.Path(path_type=Path), envvar="VRAMD_CONFIG", help="Configuration file (TOML).")
@click.option("--models", multiple=True, metavar="DIR", help="Folder with GGUF files; may be given several times.")
@click.option(
    "--budget",
    multiple=True,
    metavar="DEVICE=SIZE",
    callback=read_budgets,
    help="Most that may be promised on a device: host=600MiB.",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0 picks a free one.  [default: 50151]")
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
@click.version_option(version("vramd"), prog_name="vramd")
def main(
    config: Path | None,
    models: tuple[str, ...],
    budget: dict[str, Size],
    host: str | None,
    port: int | None,
    runtime_dir: Path | None,
    untested_engine: bool,
    log_level: str,
    record: Path | None,
    owned: bool,
) -> None:
    """Starts the supervisor and stays with it until it ends.

    Ctrl-C ends it in order, twice at once.
    """
    click.get_current_context().with_resource(output_aside())
    printer = logging.StreamHandler(sys.stderr)
    printer.setFormatter(LineFormatter())
    logging.basicConfig(level=log_level.upper(), handlers=[printer])
    here = start_folder()
    flags = Flags(tuple(str(Path(folder).absolute()) for folder in models), budget, host, port, untested_engine)
    settings = configuration(config, flags)
    instance = take((runtime_dir or default_runtime_dir()).absolute())
    file = config.absolute() if config else None
    base = file.parent if file else here

    def ready(at: Listening) -> None:
        here = "" if at.real == at.address else f" (for this machine {at.address})"
        text = f"vramd {version('vramd')} listens on {at.real}{here}; runtime folder {instance.folder.path}"
        click.echo(printable(text))
        if prints_into(instance.folder.start_log):
            # It would grow without bound, and has nothing that the supervisor's own log has not.
            log.info("from here on in %s", instance.folder.logs / "supervisor.log")
            logging.getLogger().removeHandler(printer)

    try:
        recording = open_recording(record)
        ended_well = asyncio.run(serve(settings, file, base, instance, ready, owned=owned, record=recording))
        if recording and not recording.settle(FLUSH_S):
            complain(f"vramd: {record}: the recording is not whole, its disk did not take all")
    except AddressError as error:
        complain(f"vramd: {error}")
        sys.exit(1)
    finally:
        leave(instance)
    sys.exit(0 if ended_well else INTERNAL)


def start_folder() -> Path:
    """The current folder; ends the process where it is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        complain("vramd: the folder that this is started in is gone; start it in one that is there")
        sys.exit(1)


def configuration(file: Path | None, flags: Flags) -> Config:
    """All that is set; what is wrong, or does not answer, ends the process."""
    try:
        config = Lane(str(file), START_S).ask(lambda: load_config(file, os.environ, flags))
    except NoAnswerError as error:
        complain(f"vramd: {error}; is its drive there?")
        sys.exit(2)
    except ConfigError as error:
        for mistake in str(error).splitlines():
            complain(f"vramd: {mistake}")
        sys.exit(2)
    for folder in config.server.models:
        if is_file(folder):
            complain(f"vramd: {folder} is a file; --models takes the folder that it is in, and finds it there")
            sys.exit(2)
    return config


def take(folder: Path) -> Instance:
    """The runtime folder, which is this process's from now on; one that cannot be had ends the process."""
    signals.leave_orderly()
    try:
        return Lane(str(folder), START_S).ask(lambda: Instance(folder))
    except AlreadyRunningError as error:
        complain(f"vramd: {error}")
        sys.exit(ALREADY_RUNNING)
    except (OSError, NoAnswerError) as error:
        complain(f"vramd: the runtime folder cannot be used: {error}")
        sys.exit(1)


def leave(instance: Instance) -> None:
    """Bounded; what cannot be taken back is found by the next one."""
    try:
        Lane("the runtime folder", LEAVE_S).ask(instance.leave)
    except NoThreadError:
        instance.leave()
    except NoAnswerError as error:
        complain(f"vramd: {error}")


def prints_into(file: Path) -> bool:
    """Whether what is written to stderr lands in this file."""
    try:
        return os.path.samestat(os.fstat(STDERR), file.stat())
    except OSError:  # there is no such file, or nothing to write to
        return False


def is_file(path: str) -> bool:
    """False also where that is not told in time."""
    try:
        return Lane(path, PATIENCE_S).ask(Path(path).is_file)
    except NoAnswerError:
        return False


def complain(text: str) -> None:
    """Why it ends, on stderr."""
    click.echo(printable(text), err=True)


def open_recording(path: Path | None) -> RecordingFile | None:
    """A new file, or none; one that cannot be written ends the process."""
    try:
        return RecordingFile(path) if path else None
    except (OSError, NoAnswerError) as error:
        complain(f"vramd: {path}: {getattr(error, 'strerror', error)}")
        sys.exit(1)


def dispatch(arguments: list[str]) -> None:
    """Hands the arguments to the room that the first one names, else to `serve`; ends the process."""
    heap.share_one()
    if arguments and arguments[0] in ROOMS:
        room = importlib.import_module(f".{ROOMS[arguments[0]]}", __package__)
        room.main(arguments[1:], prog_name=f"vramd {arguments[0]}")
    try:
        sys.exit(main.main(arguments, prog_name="vramd serve", standalone_mode=False))
    except click.UsageError as error:
        for line in ("Usage: vramd serve [OPTIONS]", "Try 'vramd serve --help'.", ""):
            click.echo(line, err=True)
        complain(f"vramd: {error.format_message()}")
        sys.exit(2)
    except click.Abort:  # Ctrl-C before it is heard as the wish that this ends
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    dispatch(sys.argv[1:])
