"""What a supervisor has in use, looked at while a soak runs and at rest before and behind it."""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import psutil
import vramd
from support.insight import Insight
from support.supervisor_process import SupervisorProcess, until

SAMPLE_EVERY_S = 2.0
LOOKS = 10
REST_S = 0.3


@dataclass(frozen=True)
class AtRest:
    """A supervisor without a loaded model and without clients."""

    descriptors: int
    threads: int
    bytes_in_use: int
    reserved: dict[str, int]
    """Bytes by device that stay promised."""


def at_rest(supervisor: SupervisorProcess, client: vramd.Client, insight: Insight) -> AtRest:
    """Has every model go, and waits for the spare. Takes the least of some looks: ends of connections come late."""
    supervisor.clear(client)
    until("the spare is all that is left", lambda: len(supervisor.workers()) == 1)
    process = psutil.Process(supervisor.pid)
    looks: list[tuple[int, int, int]] = []
    for _ in range(LOOKS):
        time.sleep(REST_S)
        if sys.platform != "win32":
            looks.append((process.num_fds(), process.num_threads(), insight.bytes_in_use(supervisor.pid)))
    descriptors, threads, bytes_in_use = (min(column) for column in zip(*looks, strict=True))
    return AtRest(descriptors, threads, bytes_in_use, {one.id: one.reserved_bytes for one in client.devices()})


class Watch:
    """Samples the supervisor in a thread, and remembers every process below it."""

    def __init__(self, supervisor: SupervisorProcess, client: vramd.Client, insight: Insight) -> None:
        self._supervisor, self._client, self._insight = supervisor, client, insight
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self.bytes_in_use: list[tuple[float, int]] = []
        """By moments, in Unix time."""
        self.seen: set[psutil.Process] = set()
        self.over_budget: list[str] = []

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            self.bytes_in_use.append((time.time(), self._insight.bytes_in_use(self._supervisor.pid)))
            self.seen.update(self._supervisor.workers())
            self.over_budget += [one.id for one in self._client.devices() if one.reserved_bytes > one.budget_bytes]

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def zombies(supervisor: SupervisorProcess) -> list[psutil.Process]:
    return [one for one in supervisor.workers() if one.status() == psutil.STATUS_ZOMBIE]
