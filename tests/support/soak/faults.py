"""The faults of a soak, drawn by weight, and the operator who sees to it that each model answers again."""

import contextlib
import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import psutil
import vramd
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.soak import models
from support.soak.requests import OK, Journal, read
from support.supervisor_process import BOUND_S, until
from support.wire import CHANNEL_OPTIONS

EVERY_S = (2.0, 5.0)
LAST_S = 10.0
PROBE_EVERY_S = 0.2
RECOVERED_WITHIN_S = 60.0
TESTS = Path(__file__).parents[2]
LATE = frozenset({"DEADLINE_PASSED", "DEADLINE_EXCEEDED"})
CRASHED = frozenset({"WORKER_CRASHED", "WORKER_CRASHED_MID_STREAM", "MODEL_QUARANTINED", "REQUEST_QUARANTINED"})
HUNG = CRASHED | {"WORKER_HUNG"}
OUT_OF_MEMORY = CRASHED | {"HOST_OOM"}
NOTICED_WITHIN_S = 5.0
"""The loss of a process."""
TIGHT = frozenset({"MEMORY_EXHAUSTED", "MODEL_UNLOADED"})
"""How a request may fail while another program has the memory."""


@dataclass
class Window:
    """The time in which a fault may show, and to whom."""

    fault: str
    began_s: float
    models: frozenset[str] = frozenset()
    clients: frozenset[int] = frozenset()
    """Numbers of client processes."""
    allows: frozenset[str] = frozenset()
    """How requests may fail that are hit."""
    ended_s: float = math.inf
    noticed_within_s: float | None = None
    """The supervisor has to notice that a process is lost."""
    recovered: bool = True
    """Whether its model answered again within the bound, and a configuration was taken or refused as it is."""


class Crew:
    """The processes of the clients."""

    def __init__(self, plan: Path, processes: int) -> None:
        self._plan = plan
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._count = 0
        self.killed: set[int] = set()
        for _ in range(processes):
            self._start()

    def _start(self) -> None:
        self._count += 1
        command = [sys.executable, "-m", "support.soak.client", str(self._plan), str(self._count)]
        self._processes[self._count] = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL)

    def any(self, choice: random.Random) -> tuple[int, "subprocess.Popen[bytes]"]:
        return choice.choice(list(self._processes.items()))

    def replace(self, number: int) -> None:
        """Kills one, and starts another."""
        self.killed.add(number)
        if process := self._processes.pop(number, None):
            process.kill()
            process.wait()
            self._start()

    def end(self, bound_s: float) -> list[int]:
        """Waits until all have come to their end; kills and returns those that have not. Raises if one has failed."""
        late = []
        for number, process in self._processes.items():
            try:
                code = process.wait(bound_s)
            except subprocess.TimeoutExpired:
                late.append(number)
                process.kill()
                process.wait()
            else:
                if code:
                    raise RuntimeError(f"client process {number} ended with {code}")
        return late


class Injector:
    """Draws faults until its time is over. Each goes on in a thread as long as its window is open."""

    def __init__(
        self, address: str, client: vramd.Client, configuration: Path, crew: Crew, folder: Path, seed: int
    ) -> None:
        """`configuration` is the supervisor's file, `folder` has the requests of the clients."""
        self._address, self._client, self._configuration, self._crew = address, client, configuration, crew
        self._folder = folder
        self._journal, self._writing = Journal(folder, 0), threading.Lock()
        self._choice = random.Random(seed)
        self._operators = ThreadPoolExecutor(16, "operator")
        self._going_on: list[Future[None]] = []
        self.windows: list[Window] = []
        self.unhealthy: list[str] = []
        """When the supervisor did not say that it serves."""
        self._faults: list[tuple[int, Callable[[], None]]] = [
            (25, lambda: self._signal("SIGKILL")),
            (10, lambda: self._signal("SIGSEGV")),
            (10, lambda: self._signal("SIGABRT")),
            (10, lambda: self._signal("SIGSTOP", HUNG, models.STALL_S)),
            (5, lambda: self._load("hanging", LATE, 2)),
            (8, lambda: self._load("starving", OUT_OF_MEMORY)),
            (5, lambda: self._load("leaving", CRASHED)),
            (5, lambda: self._load("noisy", frozenset({OK}))),
            (8, self._other_program),
            (2, lambda: self._reload("its configuration changes", "drain_s = 5", "drain_s = 6", OK)),
            (2, lambda: self._reload("its configuration is wrong", "drain_s", "drane_s", "CONFIG_INVALID")),
            (1, self._silent_connections),
            (2, self._kill_a_client),
            (2, self._stop_a_client),
        ]

    def run(self, until_s: float) -> None:
        """Waits for the first answer to a client, and leaves some time to the clients behind the last fault."""
        weights, faults = zip(*self._faults, strict=True)
        until("clients are answered", lambda: any(one.client and one.end == OK for one in read(self._folder)))
        while (wait_s := self._choice.uniform(*EVERY_S)) < until_s - LAST_S - time.time():
            time.sleep(wait_s)
            (fault,) = self._choice.choices(faults, weights)
            self._look_at_health()
            fault()
            self._look_at_health()
        for one in self._going_on:
            one.result()
        self._operators.shutdown()

    def _look_at_health(self) -> None:
        try:
            with grpc.insecure_channel(self._address, CHANNEL_OPTIONS) as channel:
                status = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=BOUND_S)
            said = health_pb2.HealthCheckResponse.ServingStatus.Name(status.status)
        except grpc.RpcError as error:
            said = error.code().name
        if said != "SERVING":
            latest = self.windows[-1].fault if self.windows else "nothing"
            self.unhealthy.append(f"at {time.time():.2f}, after {latest}: {said}")

    def _begin(self, window: Window, go_on: Callable[[], None]) -> None:
        """Opens a window; it closes when `go_on` has returned."""

        def work() -> None:
            go_on()
            window.ended_s = time.time()

        self.windows.append(window)
        self._going_on.append(self._operators.submit(work))

    def _open(self) -> list[Window]:
        return [window for window in self.windows if window.ended_s == math.inf]

    def _ask(self, kind: str, model: str, may: frozenset[str], work: Callable[[], object]) -> str:
        """Makes a request of the soak itself; returns its end."""
        with self._writing:
            number = self._journal.begun(kind, model, may | {OK})
        end, said = OK, ""
        try:
            work()
        except vramd.VramdError as failure:
            end, said = failure.reason, str(failure)
        with self._writing:
            self._journal.ended(number, end, said)
        return end

    def _signal(self, name: str, allows: frozenset[str] = CRASHED, more_s: float = 0) -> None:
        """A signal to the process of one of the models that serve, and an operator who sees that it answers again."""
        hurt = {model for window in self._open() if window.noticed_within_s for model in window.models}
        free = [one for one in self._client.resident() if one.model in models.SERVING and one.model not in hurt]
        if not (there := [one for one in free if one.state == "READY" and one.pid]):
            return
        target = self._choice.choice(there)
        assert target.pid
        window = Window(
            name, time.time(), frozenset({target.model}), allows=allows, noticed_within_s=NOTICED_WITHIN_S + more_s
        )
        with contextlib.suppress(ProcessLookupError):  # it has just been unloaded
            os.kill(target.pid, getattr(signal, name))
            self._begin(window, lambda: self._see_to(target.model, window))

    def _see_to(self, model: str, window: Window) -> None:
        """Asks until the model answers again, and ends its quarantine."""
        end_s = time.monotonic() + RECOVERED_WITHIN_S

        def ask() -> object:
            return self._client.generate(model, f"{end_s}", max_tokens=1).text

        while (end := self._ask("probe", model, window.allows, ask)) != OK:
            if end == "MODEL_QUARANTINED":
                self._reset(model)
            if time.monotonic() > end_s:
                window.recovered = False
                return
            time.sleep(PROBE_EVERY_S)

    def _reset(self, model: str) -> None:
        self._ask("reset", model, frozenset(), lambda: self._client.reset(model))

    def _load(self, model: str, may: frozenset[str], limit_s: float = BOUND_S) -> None:
        """A model that shows its fault when it is loaded, and is taken away again."""
        if any(model in window.models for window in self._open()):
            return

        def go_on() -> None:
            self._ask("faulty", model, may, lambda: self._client.embed(model, "x", timeout_s=limit_s))
            gone = frozenset({"MODEL_NOT_LOADED"})
            self._ask("unload", model, gone, lambda: self._client.unload(model, force=True))
            self._reset(model)

        self._begin(Window(f"{model}: {', '.join(models.FAULTY[model])}", time.time(), frozenset({model})), go_on)

    def _other_program(self) -> None:
        """Another program is about to use much of the card for some seconds."""
        size_bytes = int(models.CARD_TOTAL_BYTES * self._choice.uniform(0.3, 0.8))
        stays_s = self._choice.uniform(1, 3)
        may = LATE | {"RESERVATION_EXHAUSTED"}

        def go_on() -> None:
            given: list[vramd.Reservation] = []
            self._ask(
                "reserve", "", may, lambda: given.append(self._client.reserve(size_bytes, device="card", timeout_s=3))
            )
            time.sleep(stays_s)
            for one in given:
                self._ask("release", "", frozenset(), partial(self._client.release, one.id))

        self._begin(Window("another program's memory", time.time(), frozenset(models.SIMULATED), allows=TIGHT), go_on)

    def _reload(self, fault: str, old: str, new: str, end: str) -> None:
        """It is read again with a change, and then as it was."""
        if any("configuration" in window.fault for window in self._open()):
            return

        def go_on() -> None:
            before = self._configuration.read_text("utf-8")
            self._configuration.write_text(before.replace(old, new), "utf-8")
            if self._ask("reload", "", frozenset({end}), self._client.reload_config) != end:
                window.recovered = False
            self._configuration.write_text(before, "utf-8")
            self._ask("reload", "", frozenset(), self._client.reload_config)

        window = Window(fault, time.time())
        self._begin(window, go_on)

    def _silent_connections(self) -> None:
        """A hundred connections that say nothing."""
        host, _, port = self._address.rpartition(":")

        def go_on() -> None:
            with contextlib.ExitStack() as connections:
                for _ in range(100):
                    connections.enter_context(socket.create_connection((host, int(port)), BOUND_S))
                time.sleep(1)

        self._begin(Window("a hundred silent connections", time.time()), go_on)

    def _kill_a_client(self) -> None:
        number, _ = self._crew.any(self._choice)
        self._begin(
            Window("a client is killed", time.time(), clients=frozenset({number})), lambda: self._crew.replace(number)
        )

    def _stop_a_client(self) -> None:
        """Its deadlines go on meanwhile."""
        number, process = self._crew.any(self._choice)
        stays_s = self._choice.uniform(1, 4)

        def go_on() -> None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may be killed too
                stopped = psutil.Process(process.pid)
                stopped.suspend()
                time.sleep(stays_s)
                stopped.resume()

        self._begin(Window("a client is stopped", time.time(), clients=frozenset({number}), allows=LATE), go_on)
