"""The vramd that is measured: a supervisor of its own for each benchmark, with models of one file, on host RAM."""

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from vramd import Client, ResidentModel, Supervisor
from vramd.channel import metadata
from vramd.finding import find

from . import wire
from .figures import BenchError

SPARE_LIMIT_S = 60.0
LOOK_EVERY_S = 0.01
HOST = "host"


@dataclass(frozen=True)
class Setup:
    """What every benchmark is told."""

    path: Path
    """The model's file."""
    runs: int
    quick: bool
    """Few and short measurements: figures of no worth, to see that everything works."""


@dataclass(frozen=True)
class Need:
    """What the ledger holds for one loaded model, and for the spare worker beside it."""

    model_bytes: int
    spare_bytes: int

    @property
    def budget_for_one(self) -> int:
        """Holds one model and the spare, and not two models."""
        return self.model_bytes + self.spare_bytes + (self.model_bytes - self.spare_bytes) // 2


class Subject:
    """A running supervisor."""

    def __init__(self, supervisor: Supervisor, quick: bool) -> None:
        self._supervisor = supervisor
        self._quick = quick

    @property
    def client(self) -> Client:
        """For what is not measured."""
        return self._supervisor.client

    @property
    def pid(self) -> int:
        """Of the supervisor's process."""
        return self._supervisor.pid

    def way(self, model: str) -> wire.Way:
        """Calls through it, as plain as those to the others."""
        place = find(self._supervisor.runtime_dir)
        return wire.to_supervisor(place.address, metadata(place), model)

    def threads(self) -> int:
        """CPU threads that a model alone has: all that there are; one if it is to be quick on a busy machine."""
        return 1 if self._quick else self.client.status().supervisor.usable_cores

    def wait_for_spare(self) -> int:
        """Waits until an idle worker listens beside those with a model; its process id. Raises BenchError."""
        end_s = time.monotonic() + SPARE_LIMIT_S
        while time.monotonic() < end_s:
            busy = {model.pid for model in self.client.resident()}
            for process in psutil.Process(self.pid).children():
                if process.pid not in busy and _listens(process):
                    return process.pid
            time.sleep(LOOK_EVERY_S)
        raise BenchError(f"no idle worker stands ready after {SPARE_LIMIT_S:g} s")


def _listens(process: psutil.Process) -> bool:
    """A worker has a name on a socket, of the file system or of a port, from the moment it can be called."""
    try:
        return any(connection.laddr for connection in process.net_connections("all"))
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(setup: Setup, models: Sequence[str], budget_bytes: int | None = None) -> Iterator[Subject]:
    """A supervisor that knows the file under these names; without a budget it has the whole RAM. Raises VramdError."""
    lines = [] if budget_bytes is None else [f"[devices.{HOST}]", f"budget = {budget_bytes}"]
    for name in models:
        # A string of JSON is one of TOML as well.
        lines += [
            f"[models.{name}]",
            f"path = {json.dumps(str(setup.path))}",
            f'device = "{HOST}"',
            "keep_alive_s = -1",
        ]
        lines += ["threads = 1"] if setup.quick else []
    with tempfile.TemporaryDirectory(prefix="vb") as folder:
        config = Path(folder, "vramd.toml")
        config.write_text("\n".join(lines) + "\n", "utf-8")
        # Each run begins without what earlier ones have taught, and teaches the user's supervisor nothing.
        os.environ["VRAMD_STATE_DIR"] = folder
        supervisor = Supervisor.start(config=config)
        try:
            yield Subject(supervisor, setup.quick)
        finally:
            supervisor.stop(force=True)


def context_of(model: ResidentModel) -> int:
    """Tokens of context that a loaded model has."""
    assert model.context_tokens is not None
    return model.context_tokens


def look_up_need(setup: Setup) -> Need:
    """Loads the model once, to see what it is booked with."""
    with running(setup, ["a"]) as subject:
        model = subject.client.load("a")
        subject.wait_for_spare()
        (host,) = (device for device in subject.client.devices() if device.id == HOST)
        return Need(model.reserved_bytes, host.reserved_bytes - model.reserved_bytes)
