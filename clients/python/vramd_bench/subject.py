"""Runs the supervisor that is measured: a new one for each benchmark, with models of one file, on host RAM."""

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
from vramd.launching import SERVE
from vramd_common.rendezvous import RuntimeDir
from vramd_supervisor.devices.host_memory import usable_cores

from . import wire
from .figures import BenchError
from .streamed import TEXT

SPARE_LIMIT_S = 60.0
LOOK_EVERY_S = 0.01
HOST = "host"


@dataclass(frozen=True)
class Setup:
    """The settings that all benchmarks share."""

    path: Path
    runs: int
    quick: bool
    """Few and short measurements: they show that everything works, their figures mean nothing."""
    peer: Path | None = None
    """llama-server, to be measured in the same run."""

    @property
    def threads(self) -> int:
        """CPU threads of a model that computes alone: all of them, or one in a quick run."""
        return 1 if self.quick else usable_cores(0)


@dataclass(frozen=True)
class Need:
    """The bytes that the ledger books for a loaded model, and for the spare worker beside it."""

    model_bytes: int
    spare_bytes: int

    @property
    def budget_for_one(self) -> int:
        """Enough for one model and the spare, too little for two models."""
        return self.model_bytes + self.spare_bytes + (self.model_bytes - self.spare_bytes) // 2


class Subject:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def client(self) -> Client:
        return self._supervisor.client

    @property
    def pid(self) -> int:
        return self._supervisor.pid

    def way(self, model: str) -> wire.Way:
        """Opens a raw channel to it, like those to the other targets."""
        place = find(self._supervisor.runtime_dir)
        return wire.to_supervisor(place.address, metadata(place), model)

    def worker(self, model: ResidentModel) -> wire.WorkerPlace:
        """Returns how the process that serves a loaded model is called without the supervisor."""
        told = json.loads(RuntimeDir(self._supervisor.runtime_dir).workers_file.read_text("utf-8"))
        return wire.WorkerPlace(*told[str(model.pid)])

    def text(self, model: str, tokens: int) -> str:
        """Returns a text of about so many tokens."""
        phrase = f" {TEXT}"
        return phrase * max(1, tokens // len(self.client.tokenize(model, phrase)))

    def wait_for_spare(self) -> int:
        """Waits until the spare worker listens; returns its process id. Raises BenchError."""
        end_s = time.monotonic() + SPARE_LIMIT_S
        while time.monotonic() < end_s:
            busy = {model.pid for model in self.client.resident()}
            for process in psutil.Process(self.pid).children():
                if process.pid not in busy and _listens(process):
                    return process.pid
            time.sleep(LOOK_EVERY_S)
        raise BenchError(f"no idle worker stands ready after {SPARE_LIMIT_S:g} s")


def _listens(process: psutil.Process) -> bool:
    """Whether a worker can be called: it has bound its socket by then."""
    try:
        return any(connection.laddr for connection in process.net_connections("all"))
    except psutil.NoSuchProcess:
        return False


@contextmanager
def running(
    setup: Setup,
    models: Sequence[str],
    budget_bytes: int | None = None,
    flags: Sequence[str] = (),
    server: Sequence[str] = (),
    threads: int | None = None,
) -> Iterator[Subject]:
    """Runs a supervisor that knows the file under these names; without a budget it has all RAM.

    `flags` are options of `vramd serve`, `server` lines of the section of that name, `threads` those of
    each model. Raises VramdError.
    """
    # An arm that has just ended counts as another program for a second or two, and must not cost this one its threads.
    lines = ["[server]", "yield_cores = false", *server]
    lines += [] if budget_bytes is None else [f"[devices.{HOST}]", f"budget = {budget_bytes}"]
    for name in models:
        # A string of JSON is one of TOML as well.
        lines += [
            f"[models.{name}]",
            f"path = {json.dumps(str(setup.path))}",
            f'device = "{HOST}"',
            "keep_alive_s = -1",
        ]
        given = 1 if setup.quick else threads
        lines += [] if given is None else [f"threads = {given}"]
    with tempfile.TemporaryDirectory(prefix="vb") as folder:
        config = Path(folder, "vramd.toml")
        config.write_text("\n".join(lines) + "\n", "utf-8")
        # Neither earlier runs nor the user's supervisor share learned figures with this one.
        os.environ["VRAMD_STATE_DIR"] = folder
        supervisor = Supervisor.start(config=config, serve=(*SERVE, "--tell-workers", *flags))
        try:
            yield Subject(supervisor)
        finally:
            supervisor.stop(force=True)


def pid_of(model: ResidentModel) -> int:
    """Process id of a loaded model."""
    assert model.pid is not None
    return model.pid


def context_of(model: ResidentModel) -> int:
    """Tokens of a loaded model's context."""
    assert model.context_tokens is not None
    return model.context_tokens


def look_up_need(setup: Setup) -> Need:
    """Loads the model once and reads its bookings."""
    with running(setup, ["a"]) as subject:
        model = subject.client.load("a")
        subject.wait_for_spare()
        (host,) = (device for device in subject.client.devices() if device.id == HOST)
        return Need(model.reserved_bytes, host.reserved_bytes - model.reserved_bytes)
