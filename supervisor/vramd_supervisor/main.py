"""The supervisor's own process, from its start to its exit code.

Exit codes: 0 ended in order, 1 could not listen, use its runtime folder or find its owner, 2 wrong configuration,
69 already running, 70 internal, 75 its end took too long and was cut off, 128 and more for a signal before it listens.
Ctrl-C then raises KeyboardInterrupt.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from vramd_common import heap
from vramd_common.handshake import Failed, Ready
from vramd_common.printable import printable
from vramd_common.rendezvous import default_runtime_dir

from . import signals
from .certificate import Certificate, CertificateError, read_certificate
from .domain.config import Config
from .files.private import write_for_owner_only, write_no_core_file
from .host import Host, spare_stderr
from .instance import AlreadyRunningError, Instance
from .listening import AddressError, Listening
from .owner import Lifeline, Owner, OwnerGoneError
from .server import serve
from .settings.settings_file import ConfigError, Flags, Origin
from .simulation.recorder import RecordingFile
from .threads.queued_writer import FLUSH_S, output_aside
from .threads.serial_calls import NoAnswerError, NoThreadError, SerialCalls
from .workers.log_book import LineFormatter

ALREADY_RUNNING = 69
INTERNAL = 70
INTERRUPTED = 130
START_S = 10.0
"""For the configuration, and for the runtime folder."""
LEAVE_S = 5.0
log = logging.getLogger(__name__)


class StartError(Exception):
    """The supervisor cannot start; the text is for the user, each line a reason."""

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def run(
    file: Path | None,
    flags: Flags,
    runtime_dir: Path | None,
    *,
    log_level: str = "info",
    record: Path | None = None,
    handshake: bool = False,
    lifeline: Lifeline | None = None,
    tell_workers: bool = False,
) -> int:
    """Serves until it is asked to end; returns the exit code.

    `file` is the configuration, `record` receives all events and actions. With `handshake` stdout has one line for the
    program that started this one, and nothing else; `lifeline` ends it with that program. `tell_workers`
    writes into the runtime folder how workers are called.
    """
    heap.share_one()
    write_for_owner_only()
    write_no_core_file()
    with output_aside():
        host = Host() if handshake else None
        try:
            return _run(file, flags, runtime_dir, log_level, record, host, lifeline, tell_workers)
        except StartError as error:
            for line in str(error).splitlines():
                _print(sys.stderr, f"vramd: {line}")
            _fail(host, error.exit_code, str(error))
            return error.exit_code
        except (SystemExit, KeyboardInterrupt) as leaving:
            code = INTERRUPTED if isinstance(leaving, KeyboardInterrupt) else int(leaving.code or 0)
            _fail(host, code, "ended before it was listening: the owner exited or a signal arrived")
            raise
        except Exception as error:
            log.exception("a fault of vramd: the supervisor ends")
            _fail(host, INTERNAL, f"a fault of vramd: {error!r}")
            return INTERNAL


def _fail(host: Host | None, code: int, message: str) -> None:
    if host:
        host.say(Failed(code, message))


def _run(
    file: Path | None,
    flags: Flags,
    runtime_dir: Path | None,
    log_level: str,
    record: Path | None,
    host: Host | None,
    lifeline: Lifeline | None,
    tell_workers: bool,
) -> int:
    printer = logging.StreamHandler(sys.stderr)
    printer.setFormatter(LineFormatter())
    logging.basicConfig(level=log_level.upper(), handlers=[printer])
    signals.leave_orderly()
    owner = belong(lifeline) if lifeline else None
    here = start_folder()
    file = here / file if file else None
    flags = replace(flags, models=tuple(str(here / folder) for folder in flags.models))
    origin = Origin(file, kept_environment(os.environ, here), flags)
    config = configuration(origin)
    certificate = certificate_of(config)
    instance = take(here / (runtime_dir or default_runtime_dir()))
    base = file.parent if file else here

    def ready(at: Listening) -> None:
        if host:
            log.info("from here on in %s", instance.folder.logs / "supervisor.log")
            logging.getLogger().removeHandler(printer)
            spare_stderr(instance.folder.start_log)
            host.say(Ready(at.address, os.getpid(), version("vramd"), str(instance.folder.path)))
            return
        here = "" if at.real == at.address else f" (for this machine {at.address})"
        text = f"vramd {version('vramd')} listens on {at.real}{here}; runtime folder {instance.folder.path}"
        _print(sys.stdout, text)

    try:
        recording = open_recording(record)
        ended_well = asyncio.run(
            serve(
                config,
                origin,
                base,
                instance,
                ready,
                owner=owner,
                certificate=certificate,
                record=recording,
                tell_workers=tell_workers,
            )
        )
        if recording and not recording.settle(FLUSH_S):
            _print(sys.stderr, f"vramd: {record}: the recording is not whole, its disk did not take all")
    except AddressError as error:
        raise StartError(1, str(error)) from error
    finally:
        leave(instance)
    return 0 if ended_well else INTERNAL


def belong(lifeline: Lifeline) -> Owner:
    """Begins the watch over the program that this one belongs to. Raises StartError if that is gone."""
    try:
        return Owner(lifeline)
    except OwnerGoneError as error:
        raise StartError(1, str(error)) from error


def start_folder() -> Path:
    """The current folder. Raises StartError if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        text = "the folder that this is started in is gone; start it in one that is there"
        raise StartError(1, text) from error


def configuration(origin: Origin) -> Config:
    """Reads the configuration. Raises StartError for mistakes and a drive without answer."""
    try:
        return SerialCalls(str(origin.file), START_S).ask(origin.read)
    except NoAnswerError as error:
        raise StartError(2, f"{error}; is its drive there?") from error
    except ConfigError as error:
        raise StartError(2, str(error)) from error


def kept_environment(environment: Mapping[str, str], here: Path) -> dict[str, str]:
    """The environment with folders of models made absolute: the folder of the start may be gone later."""
    kept = dict(environment)
    if folders := kept.get("VRAMD_MODELS"):
        whole = (str(here / Path(folder).expanduser()) for folder in folders.split(os.pathsep) if folder)
        kept["VRAMD_MODELS"] = os.pathsep.join(whole)
    return kept


def certificate_of(config: Config) -> Certificate | None:
    """The certificate to serve with, if there is one. Raises StartError."""
    if not config.server.tls_cert:
        return None
    try:
        return SerialCalls(config.server.tls_cert, START_S).ask(lambda: read_certificate(config.server))
    except (CertificateError, NoAnswerError) as error:
        raise StartError(2, str(error)) from error


def take(folder: Path) -> Instance:
    """Claims the runtime folder for this process. Raises StartError."""
    try:
        return SerialCalls(str(folder), START_S).ask(lambda: Instance(folder))
    except AlreadyRunningError as error:
        raise StartError(ALREADY_RUNNING, str(error)) from error
    except (OSError, NoAnswerError) as error:
        raise StartError(1, f"the runtime folder cannot be used: {error}") from error


def leave(instance: Instance) -> None:
    """Releases the runtime folder within a bound; the next supervisor cleans up what is left."""
    try:
        SerialCalls("the runtime folder", LEAVE_S).ask(instance.leave)
    except NoThreadError:
        instance.leave()
    except NoAnswerError as error:
        _print(sys.stderr, f"vramd: {error}")


def open_recording(path: Path | None) -> RecordingFile | None:
    """A new recording, or none. Raises StartError if it cannot be written."""
    try:
        return RecordingFile(path) if path else None
    except (OSError, NoAnswerError) as error:
        raise StartError(1, f"{path}: {getattr(error, 'strerror', error)}") from error


def _print(stream: TextIO | None, text: str) -> None:
    """A line; there is no stream under pythonw."""
    if stream:
        stream.write(f"{printable(text)}\n")
        stream.flush()
