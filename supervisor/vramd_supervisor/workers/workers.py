"""The worker processes: starts, loads and stops them for the core, and reports back with events.

Runs in the event loop's thread; what takes time is a task whose end is an event.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from typing_extensions import assert_never
from vramd_common.reasons import Reason

from ..core.actions import Load, SetThreads, Spawn, Stop, WorkerAction
from ..core.events import (
    LoadProgressed,
    LoadRefused,
    MemoryReleased,
    WorkerExited,
    WorkerReady,
    WorkerStalled,
    WorkerStarted,
)
from ..devices.device import Device
from ..devices.release import measure_soon, measuring_calls, settle
from ..devices.sampler import LOOK_S
from ..domain.device_view import HOST
from ..domain.errors import RefusedError
from ..domain.exhaustion import exhausted
from ..domain.receipt import Exit, Observed, Receipt
from ..loop import Loop
from .beats import Beats
from .breach import BreachError
from .last_words import classed
from .log_book import Log, LogBook, Splitter, as_text
from .planning import FINAL, UNKNOWN_FACTS, Planning
from .process import BROKEN_S, WORKING_FOLDER, ChildProcess, HelloError, Spawner
from .progress import Limits, Stall
from .quotes import EngineFacts
from .usage_recorder import UsageRecorder
from .worker_client import CONNECT_S, LoadedFacts, WorkerClient

log = logging.getLogger(__name__)

DUMP_S = 0.3
"""A process that prints what its threads do has ended that once it printed nothing for so long."""
MOST_DUMP_S = 3.0
"""Time for that in all; a process that hangs may spin, and a busy machine holds it up."""
LAST_WORDS_S = 0.5
"""A process whose stdout has ended without a hello is gone by then, or it will not go by itself."""


class Worker:
    """A worker process, as the shell sees it."""

    def __init__(self, worker_id: int, spare_log: Log) -> None:
        self.worker_id = worker_id
        self.measuring = measuring_calls(worker_id)
        self.start: asyncio.Task[None] | None = None
        """Starts the process, and greets it."""
        self.spawned = asyncio.Event()
        """It has a process, or will have none."""
        self.process: ChildProcess | None = None
        self.client: WorkerClient | None = None
        self.log = spare_log
        self.has_model = False
        self.model = ""
        """Its model, for the log."""
        self.first_lines: list[str] = []
        """Lines from before it had a model."""
        self.last_lines: deque[str] = deque(maxlen=200)
        """The last lines that it printed."""
        self.line_count = 0
        """How many it has printed."""
        self.loads: Load | None = None
        """The load in progress."""
        self.pid = 0
        """Of the interpreter itself; where a launcher starts it, the child is only that. 0 before the hello."""
        self.devices: Sequence[str] = (HOST,)
        """Where it has bytes."""
        self.hung = False
        """It was ended because it made no progress."""
        self.refused = False
        """It has refused its file, whatever its settings."""
        self.fault = ""
        """Why the shell ended it, if the core did not want that."""
        self.stop_s: float | None = None
        """The moment it was asked to stop."""
        self.observed: Mapping[str, Observed] = {}

    def printed(self, lines: list[str]) -> None:
        """Takes in what it has printed. In the loop's thread: its log may change at any moment."""
        self.log.write(as_text(lines))
        self.log.add(lines)
        self.last_lines.extend(lines)
        self.line_count += len(lines)
        if not self.has_model:
            self.first_lines = (self.first_lines + lines)[-100:]

    async def dumped(self, process: ChildProcess, now_s: Callable[[], float]) -> None:
        """Waits, bounded, until it has printed what its threads do."""
        before = last = self.line_count
        end_s = now_s() + MOST_DUMP_S
        while not await process.exit_within(DUMP_S) and now_s() < end_s:
            if before < self.line_count == last:
                return
            last = self.line_count

    def give_log(self, model_log: Log) -> None:
        """From now on what it prints belongs to its model, and so does what it has printed before."""
        model_log.add(self.first_lines)
        model_log.write(as_text(self.first_lines))
        self.first_lines, self.log, self.has_model = [], model_log, True


class Workers:
    """The worker processes of a supervisor."""

    def __init__(
        self,
        loop: Loop,
        devices: Sequence[Device],
        logs: LogBook,
        planning: Planning,
        recorder: UsageRecorder,
        spawner: Spawner,
        socket_dir: Callable[[], str],
        look: Callable[[], Awaitable[None]],
        patience_s: float,
        untested_engine: bool,
        stalls: Limits,
        tell: Callable[[int, str, str], None] | None = None,
        *,
        mapped: bool = False,
        stream_gap_s: float = 0.0,
    ) -> None:
        """`socket_dir` gives the folder for the sockets of new processes; it may block, and raise OSError.

        `look` samples the devices once.
        `patience_s` is how long a process that was asked to stop may take before it is killed. `tell` gets the process
        id, the address and the nonce of each that is connected. `mapped`: weights are mapped from their files.
        `stream_gap_s`: longest time between two tokens of a stream while prompts are computed beside it.
        """
        self._loop = loop
        self._devices = {device.id: device for device in devices}
        self._logs = logs
        self._planning = planning
        self._recorder = recorder
        self._spawner = spawner
        self._socket_dir = socket_dir
        self._patience_s = patience_s
        self._untested_engine = untested_engine
        self._mapped, self._stream_gap_s = mapped, stream_gap_s
        self._look = look
        self._tell = tell
        self._workers: dict[int, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.beats = Beats(stalls, loop.now_s, self._hangs)
        """To be run as long as there are processes."""

    def client(self, worker_id: int) -> WorkerClient:
        """The channel to a worker that is ready."""
        client = self._workers[worker_id].client
        assert client is not None
        return client

    def pids(self) -> list[int]:
        """Returns the process ids of all that live."""
        return [w.pid for w in self._workers.values() if w.pid and w.process and not w.process.gone]

    def kill_all(self) -> None:
        """Ends whatever is left at the very end, without waiting."""
        for worker in self._workers.values():
            if worker.process:
                worker.process.kill_now()

    async def measured(self, worker_id: int) -> dict[str, int | None]:
        """Bytes that a worker takes now, per device; None where that cannot be known."""
        worker = self._workers.get(worker_id)
        if worker is None or worker.process is None or worker.process.gone:
            return {}
        observed = await measure_soon(worker.measuring, self._on(worker), worker.pid)
        return {device: seen.size_bytes for device, seen in observed.items()}

    def perform(self, action: WorkerAction) -> None:
        """Called by the loop."""
        match action:
            case Spawn(worker_id=worker_id):
                self._spawn(worker_id)
            case Load(worker_id=worker_id):
                worker = self._workers[worker_id]
                self._run(self._load(worker, action), worker)
            case Stop(worker_id=worker_id):
                worker = self._workers[worker_id]
                self._run(self._stop(worker), worker)
            case SetThreads(worker_id=worker_id, threads=threads):
                worker = self._workers[worker_id]
                self._run(self._set_threads(worker, threads), worker)
            case _:
                assert_never(action)

    def _run(self, work: Coroutine[Any, Any, None], worker: Worker | None = None) -> "asyncio.Task[None]":
        """Starts a task. If it fails, its worker process is killed, and the exit is an event."""

        def done(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if task.cancelled() or not (error := task.exception()):
                return
            log.error("a fault in the shell", exc_info=error)
            if worker and worker.process:
                worker.fault = f"a fault of vramd: {error}"
                worker.process.kill_now()

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    def _spawn(self, worker_id: int) -> None:
        worker = self._workers[worker_id] = Worker(worker_id, self._logs.spare)
        self._planning.expect(worker_id)
        worker.start = self._run(self._start(worker), worker)

    async def _start(self, worker: Worker) -> None:
        splitter, event_loop = Splitter(), asyncio.get_running_loop()

        def on_output(data: bytes) -> None:
            lines = splitter.feed(data) if data else splitter.close()
            if lines:
                event_loop.call_soon_threadsafe(worker.printed, lines)

        try:
            socket_dir = await self._spawner.run(self._socket_dir)
            worker.process = ChildProcess(
                await self._spawner.start("vramd_worker", WORKING_FOLDER),
                socket_dir,
                self._untested_engine,
                on_output,
                lambda how, words: self._exited(worker, how, words),
            )
        except asyncio.CancelledError:
            if worker.stop_s is None:
                raise
            self._exited(worker, Exit.NOT_STARTED, "ended before it was started")
            return
        except Exception as error:  # no file, no memory, no thread: whatever it is, there is no process
            if lack := exhausted(error):
                self._loop.submit(LoadRefused(self._loop.now_s(), worker.worker_id, lack))
            self._exited(worker, Exit.NOT_STARTED, f"could not be started: {error}")
            return
        finally:
            worker.spawned.set()
        await self._greet(worker, worker.process)

    async def _greet(self, worker: Worker, process: ChildProcess) -> None:
        """Waits for the hello, measures what an idle worker takes, and opens the channel."""
        try:
            hello = await process.hello()
        except HelloError as error:
            # A process that dies closes its stdout first: then its exit says more.
            if not await process.exit_within(LAST_WORDS_S):
                worker.fault = str(error)
                await process.kill()
            return
        worker.pid = hello.pid
        idle = (await measure_soon(worker.measuring, [self._devices[HOST]], worker.pid))[HOST].size_bytes
        client = WorkerClient(hello.address, process.nonce, partial(self._distrust, worker))
        worker.client = client
        try:
            if not await client.connect():
                return  # the process has ended, and its exit says how
        except asyncio.TimeoutError:
            worker.fault = f"it took no connection within {CONNECT_S:g} s"
            await process.kill()
            return
        if self._tell:
            self._tell(hello.pid, hello.address, process.nonce)
        idle_bytes = UNKNOWN_FACTS.idle_bytes if idle is None else idle
        self._planning.learn(
            worker.worker_id, EngineFacts(hello.llama_problem, hello.backends, idle_bytes, hello.llama_version)
        )
        self._run(self.beats.listen(worker.worker_id, client), worker)
        self._loop.submit(WorkerStarted(self._loop.now_s(), worker.worker_id, worker.pid, idle_bytes))

    def _hangs(self, worker_id: int, stall: Stall) -> None:
        worker = self._workers.get(worker_id)
        if worker is None or worker.fault:
            return
        log.warning("worker %d%s hangs: %s", worker_id, worker.model and f" ({worker.model})", stall.how)
        worker.fault, worker.hung = f"hung: {stall.how}", True
        self._loop.submit(WorkerStalled(self._loop.now_s(), worker_id, *stall))

    async def _load(self, worker: Worker, action: Load) -> None:
        """Runs a load to its end, whoever waits for it."""
        assert worker.client is not None
        worker.model = action.model.id
        worker.give_log(self._logs.of(action.model.id))
        settings, worker.loads = action.plan.settings, action
        worker.devices = tuple(action.plan.quote.devices)
        used = [self._devices[device] for device in settings.devices]
        backend = used[0].backend
        names, environment = backend.names(used), backend.environment(used)
        try:
            async for step in worker.client.load(
                action.model,
                settings,
                action.threads,
                names,
                environment,
                mapped=self._mapped,
                stream_gap_s=self._stream_gap_s,
            ):
                if isinstance(step, LoadedFacts):
                    worker.loads = None
                    self._planning.loaded(action)
                    measured = await self._take_stock(worker, action, step)
                    ready = WorkerReady(self._loop.now_s(), worker.worker_id, step.context_tokens, measured)
                    self._loop.submit(ready)
                else:
                    self._loop.submit(LoadProgressed(self._loop.now_s(), worker.worker_id, step))
        except BreachError:
            return  # it is ended, and its exit says why
        except RefusedError as error:
            why = error.refusal
        else:
            return
        worker.refused = why.reason in FINAL
        self._planning.refused(action, why)
        self._loop.submit(LoadRefused(self._loop.now_s(), worker.worker_id, why))
        if why.reason is Reason.MEMORY_EXHAUSTED:
            await self._recorder.exhausted(action, self._planning.facts)

    async def _take_stock(self, worker: Worker, action: Load, loaded: LoadedFacts) -> dict[str, int]:
        """Returns the bytes of a process whose model is loaded: as measured, at least as llama.cpp counts."""
        used = [self._devices[device] for device in action.plan.settings.devices]
        names = {"": HOST} | {name: card.id for name, card in zip(used[0].backend.names(used), used, strict=False)}
        engine = {names[name]: need for name, need in loaded.memory if name in names}
        observed = await measure_soon(worker.measuring, self._on(worker), worker.pid)
        measured = {device: seen.size_bytes for device, seen in observed.items()}
        if lesson := self._recorder.lesson(action, self._planning.facts, engine):
            self._run(self._recorder.observed(lesson, measured))
        counted = {device: need.engine_bytes for device, need in engine.items() if device != HOST}
        return counted | {device: size for device, size in measured.items() if size is not None}

    def _distrust(self, worker: Worker, words: str, broke: bool) -> None:
        """Ends a process that broke the protocol; one whose connection broke has a moment to be seen ending itself."""
        if worker.process and not worker.process.gone and not worker.fault:
            self._run(self._end_untrusted(worker, worker.process, words, BROKEN_S if broke else 0.0), worker)

    @staticmethod
    async def _end_untrusted(worker: Worker, process: ChildProcess, words: str, patience_s: float) -> None:
        if not await process.exit_within(patience_s) and not worker.fault:
            worker.fault = words
            process.kill_now()

    async def _set_threads(self, worker: Worker, threads: int) -> None:
        assert worker.client is not None
        try:
            await worker.client.set_threads(threads)
        except grpc.aio.AioRpcError as error:
            # It is on its way out, or its next grant carries the number.
            log.debug("worker %d did not take its threads: %s", worker.worker_id, error.details())

    async def _stop(self, worker: Worker) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(worker.spawned.wait(), self._patience_s)
        if worker.process is None:
            # Its start hangs, and the spawner ends what comes too late; or it has failed.
            if worker.start and worker.start.cancel():
                worker.stop_s = self._loop.now_s()
            return
        if worker.process.gone:
            return
        worker.stop_s = self._loop.now_s()
        worker.observed = await measure_soon(worker.measuring, self._on(worker), worker.pid)
        if worker.fault and worker.process.dump(worker.pid):
            await worker.dumped(worker.process, self._loop.now_s)
        await worker.process.stop(self._patience_s)
        if not worker.process.gone:
            log.warning("process %d is killed and still there; its memory stays booked", worker.process.pid)

    def _exited(self, worker: Worker, how: Exit, words: str) -> None:
        self._planning.learn(worker.worker_id, None)
        plain = words
        how, words = classed(how, words, list(worker.last_lines))
        if worker.fault:
            how = Exit.HUNG if worker.hung else Exit.FORCED
            words = worker.fault if worker.stop_s is not None else f"{worker.fault}; {words}"
        elif worker.refused:
            how = Exit.REFUSED
        now_s = self._loop.now_s()
        level = logging.WARNING if worker.stop_s is None else logging.INFO
        log.log(level, "worker %d%s: %s", worker.worker_id, worker.model and f" ({worker.model})", words)
        died = worker.loads if how in {Exit.CRASHED, Exit.ASSERTION} else None
        if died and (why := self._planning.died(died, plain, worker.last_lines)):
            self._loop.submit(LoadRefused(now_s, worker.worker_id, why))
        self._loop.submit(WorkerExited(now_s, worker.worker_id, words, how))
        self._run(self._release(worker, how, words, now_s))

    async def _release(self, worker: Worker, how: Exit, words: str, exit_s: float) -> None:
        """Waits until the devices show the memory of a dead process as free, then books it."""
        try:
            observed = await settle(self._on(worker), worker.pid, worker.observed)
        except Exception:  # a probe's fault must not keep memory booked for ever
            log.exception("the memory of worker %d could not be watched", worker.worker_id)
            observed = dict(worker.observed)
        try:
            if worker.client:
                await worker.client.close()
            # What others take must not be judged by a sample in which the dead still count.
            await asyncio.wait_for(self._look(), LOOK_S)
        except Exception as error:  # nor must anything else
            log.warning("the devices could not be looked at after worker %d: %r", worker.worker_id, error)
        now_s = self._loop.now_s()
        took_s = exit_s - worker.stop_s if worker.stop_s is not None else 0.0
        del self._workers[worker.worker_id]
        receipt = Receipt(worker.worker_id, worker.pid, words, took_s, now_s - exit_s, observed, how)
        self._loop.submit(MemoryReleased(now_s, worker.worker_id, receipt))

    def _on(self, worker: Worker) -> list[Device]:
        return [self._devices[device] for device in worker.devices]
