"""Simulated worker processes: each action of the core takes virtual time, then its event follows.

Simulated models show their faults, as far as these take time or end something.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from typing_extensions import assert_never
from vramd_common.load_settings import Settings

from ..core.actions import Load, SetThreads, Spawn, Stop
from ..core.events import (
    Event,
    LoadProgressed,
    MemoryReleased,
    Streamed,
    WorkerExited,
    WorkerReady,
    WorkerStalled,
    WorkerStarted,
)
from ..domain.catalog import Simulation
from ..domain.config import Config
from ..domain.device_view import HOST
from ..domain.receipt import Receipt
from .clock import VirtualClock
from .machine import IDLE_WORKER_BYTES, VirtualMachine, share_of_pace

_FIRST_PID = 1000
_EXIT = "exited with code 3"
"""Exit of a simulated model that dies by a fault."""
_TOKENS_BEFORE = {
    "exit-in-prompt": 0,
    "exit-in-decode": 3,
    "hang-in-decode": 3,
    "block-after-first-token": 1,
    "spin-in-decode": 3,
    "close-sockets": 3,
}
"""Tokens of an answer before the fault shows."""


@dataclass(frozen=True)
class Work:
    prompt_tokens: int
    tokens: int


@dataclass(eq=False)
class _Run:
    parts: list[tuple[float, Callable[[], object]]]
    """The parts to come: seconds, if computed alone, and the call at their end."""
    left_s: float = 0.0
    """Seconds left of the present part, as of `since_s`."""
    share: float = 1.0
    """Share of the pace that it has alone."""
    since_s: float = 0.0
    cancel: Callable[[], object] | None = None
    """Forgets the end of the present part."""


@dataclass(eq=False)
class _Worker:
    worker_id: int
    holds: Mapping[str, int]
    """Bytes per device."""
    load: Load | None = None
    cancel: Callable[[], object] | None = None
    """Forgets what it is about to do by itself."""
    stop_s: float | None = None
    """The moment it was asked to stop."""
    gone: bool = False
    runs: dict[int, _Run] = field(default_factory=dict)
    """By request."""

    @property
    def faults(self) -> tuple[str, ...]:
        source = self.load.model.source if self.load else None
        return source.manners if isinstance(source, Simulation) else ()

    @property
    def settings(self) -> Settings:
        assert self.load is not None
        return self.load.plan.settings


class VirtualWorkers:
    def __init__(
        self, clock: VirtualClock, machine: VirtualMachine, config: Config, submit: Callable[[Event], None]
    ) -> None:
        self._clock = clock
        self._machine = machine
        self._patience_s = config.scheduling.stop_s
        self._stall_s, self._load_stall_s = config.server.stall_s, config.server.load_stall_s
        self._submit = submit
        self._workers: dict[int, _Worker] = {}

    def held_bytes(self, device: str) -> int:
        """Returns the bytes of all processes on a device, with those of dead ones until they are released."""
        return sum(worker.holds.get(device, 0) for worker in self._workers.values())

    def perform(self, action: Spawn | Load | Stop | SetThreads) -> None:
        match action:
            case Spawn(worker_id=worker_id):
                worker = self._workers[worker_id] = _Worker(worker_id, {HOST: IDLE_WORKER_BYTES})
                worker.cancel = self._clock.after(self._machine.machine.start_s, lambda: self._greet(worker))
            case Load(worker_id=worker_id):
                self._load(self._workers[worker_id], action)
            case Stop(worker_id=worker_id):
                self._stop(self._workers[worker_id])
            case SetThreads(worker_id=worker_id, threads=threads):
                worker = self._workers[worker_id]
                for run in worker.runs.values():
                    self._pace(run, share_of_pace(worker.settings, threads))
            case _:
                assert_never(action)

    def run(self, worker_id: int, request: int, threads: int, work: Work, ended: Callable[[], None]) -> None:
        """Computes an answer: submits Streamed at the first token and calls `ended` after the last."""
        worker = self._workers[worker_id]
        assert worker.load is not None
        pace = self._machine.pace(worker.load.model)
        token_s = 1 / pace.tokens_per_s
        first_s = work.prompt_tokens / pace.prompt_tokens_per_s + min(1, work.tokens) * token_s

        def end() -> None:
            del worker.runs[request]
            ended()

        run = worker.runs[request] = _Run(
            [
                (first_s, lambda: self._submit(Streamed(self._clock.now_s, request))),
                (max(0, work.tokens - 1) * token_s, end),
            ]
        )
        trouble = next((fault for fault in worker.faults if work.tokens > _TOKENS_BEFORE.get(fault, work.tokens)), "")
        if trouble:
            crash = (
                (lambda: self._exit(worker, _EXIT))
                if trouble in {"exit-in-prompt", "exit-in-decode"}
                else (lambda: self._stall(worker, self._stall_s))
            )
            before = _TOKENS_BEFORE[trouble]
            run.parts = [*run.parts[:1], (before * token_s, crash)] if before else [(first_s, crash)]
        run.left_s = run.parts[0][0]
        run.since_s = self._clock.now_s
        self._pace(run, share_of_pace(worker.settings, threads))

    def break_off(self, request: int) -> None:
        """Ends an answer whose caller has gone."""
        for worker in self._workers.values():
            if run := worker.runs.pop(request, None):
                self._forget(run.cancel)

    def _pace(self, run: _Run, share: float) -> None:
        """From now on a run has this share of the pace that it has alone."""
        self._forget(run.cancel)
        run.left_s = max(0.0, run.left_s - (self._clock.now_s - run.since_s) * run.share)
        run.share, run.since_s = share, self._clock.now_s
        run.cancel = self._clock.after(run.left_s / share, lambda: self._part_done(run)) if run.parts else None

    def _part_done(self, run: _Run) -> None:
        _, then = run.parts.pop(0)
        run.cancel, run.since_s = None, self._clock.now_s
        run.left_s = run.parts[0][0] if run.parts else 0.0
        self._pace(run, run.share)
        then()

    @staticmethod
    def _forget(cancel: Callable[[], object] | None) -> None:
        if cancel:
            cancel()

    def _greet(self, worker: _Worker) -> None:
        worker.cancel = None
        pid = _FIRST_PID + worker.worker_id
        self._submit(WorkerStarted(self._clock.now_s, worker.worker_id, pid, IDLE_WORKER_BYTES))

    def _load(self, worker: _Worker, action: Load) -> None:
        worker.load = action
        worker.holds = action.plan.quote.needs
        half_s = self._machine.pace(action.model).load_s / 2
        worker.cancel = self._clock.after(half_s, lambda: self._half_loaded(worker, half_s))

    def _half_loaded(self, worker: _Worker, rest_s: float) -> None:
        worker.cancel = None
        if "exit-in-load" in worker.faults or "oom" in worker.faults:
            self._exit(worker, _EXIT)
        elif "hang-in-load" in worker.faults:
            self._stall(worker, self._load_stall_s)
        else:
            worker.cancel = self._clock.after(rest_s, lambda: self._ready(worker))
            self._submit(LoadProgressed(self._clock.now_s, worker.worker_id, 0.5))

    def _stall(self, worker: _Worker, limit_s: float) -> None:
        """It makes no progress from now on, which is seen after its time."""

        def seen() -> None:
            if not worker.gone:
                how = f"it has made no progress for {limit_s:g} s"
                self._submit(WorkerStalled(self._clock.now_s, worker.worker_id, how, limit_s))

        self._clock.after(limit_s, seen)

    def _ready(self, worker: _Worker) -> None:
        worker.cancel = None
        tokens = worker.settings.context_tokens
        self._submit(WorkerReady(self._clock.now_s, worker.worker_id, tokens, dict(worker.holds)))

    def _stop(self, worker: _Worker) -> None:
        if worker.gone or worker.stop_s is not None:
            return
        worker.stop_s = self._clock.now_s
        self._forget(worker.cancel)
        deaf = "ignore-sigterm" in worker.faults
        wait_s, words = (
            (self._patience_s, "killed by SIGKILL") if deaf else (self._machine.machine.stop_s, "ended by SIGTERM")
        )
        worker.cancel = self._clock.after(wait_s, lambda: self._exit(worker, words))

    def _exit(self, worker: _Worker, words: str) -> None:
        if worker.gone:
            return
        worker.gone = True
        for request in list(worker.runs):
            self.break_off(request)
        self._clock.after(self._machine.machine.release_s, lambda: self._release(worker, words, self._clock.now_s))
        self._submit(WorkerExited(self._clock.now_s, worker.worker_id, words))

    def _release(self, worker: _Worker, words: str, now_s: float) -> None:
        release_s = self._machine.machine.release_s
        took_s = now_s - release_s - worker.stop_s if worker.stop_s is not None else 0.0
        del self._workers[worker.worker_id]
        pid = _FIRST_PID + worker.worker_id
        receipt = Receipt(worker.worker_id, pid, words, took_s, release_s, {})
        self._submit(MemoryReleased(now_s, worker.worker_id, receipt))
