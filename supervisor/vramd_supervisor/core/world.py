"""What the core remembers, and the few ways to change it. Pure: no I/O, no clock.

Each change that somebody may want to see emits its notice here, so that none can be forgotten.
"""

import math
from collections.abc import Mapping

from vramd_common.reasons import Reason

from ..domain.causes import Awaited, Because, Cause
from ..domain.config import Config, DeviceConfig
from ..domain.decisions import Decision, DecisionKind, numbers_of
from ..domain.errors import Refusal, refusal, shutting_down
from .actions import (
    Action,
    CancelDeadline,
    CancelExpiry,
    Decided,
    LedgerChanged,
    ModelChanged,
    PressureChanged,
    Refuse,
    Report,
    SetThreads,
)
from .cores import shares
from .ledger import Account, Ledger
from .lobby import AdmissionQueue, PendingLoad
from .pressure import Level, Pressure, Reading, explain
from .state import (
    TRANSITIONS,
    ImpossibleTransitionError,
    ModelRuntime,
    ModelState,
    Request,
    RequestKind,
    RequestState,
    Reservation,
    WorkerProcess,
    why_kept,
)
from .thrash import Loads, PingPong

_AWAITED = {
    ModelState.STARTING: Awaited.PROCESS,
    ModelState.LOADING: Awaited.WEIGHTS,
    ModelState.READY: Awaited.PLACE,
    ModelState.DRAINING: Awaited.FORMER_PROCESS,
    ModelState.STOPPING: Awaited.FORMER_PROCESS,
}
"""What is waited for in most states; for room there are several things."""


class CoreState:
    """The state of the core, and the actions that the present event has brought so far."""

    def __init__(self, config: Config, accounts: Mapping[str, Account], usable_cores: int, spare_bytes: int) -> None:
        self.config = config
        self.usable_cores = usable_cores
        self.ledger = Ledger(accounts)
        self.models: dict[str, ModelRuntime] = {}
        self.requests: dict[int, Request] = {}
        self.workers: dict[int, WorkerProcess] = {}
        """Every process that lives or whose memory is not back yet, by incarnation."""
        self.residents: set[int] = set()
        """The processes of the last `keep_resident` models that were used, as of the last look."""
        self.pending_loads: dict[str, PendingLoad] = {}
        """Loads without a process, first come first served."""
        self.admission_queue = AdmissionQueue(config.scheduling.starvation_bound_s)
        """Those of them, and of the reservations, that wait for room."""
        self.pending_reservations: dict[int, Reservation] = {}
        """Reservations that wait for room, by the request of their caller; in one line with the loads."""
        self.reservations: dict[int, Reservation] = {}
        """Reservations that stand, by their row."""
        self.pressures = dict.fromkeys(accounts, Pressure())
        """How scarce the memory of each device is."""
        self.headroom_deficit: dict[str, int] = {}
        """Bytes per device that idle models have to give back at once, because others need the headroom."""
        self.spare: WorkerProcess | None = None
        self.spare_bytes = spare_bytes
        self.spare_wanted = False
        """False until the shell runs, and after a spare failed, until some worker starts again."""
        self.last_begun_s = -math.inf
        """The moment the last load began."""
        self.loads = Loads()
        """The last loads and evictions, to recognise ping-pong."""
        self.ping_pongs: dict[tuple[str, ...], PingPong] = {}
        """Recognised ones, while settings are being looked for under which they would fit together."""
        self.load_bytes_per_s: float | None = None
        """How fast the last load of a file read its weights."""
        self.threads: dict[int, int] = {}
        """CPU threads of each worker that generates now."""
        self.queued = 0
        self.ending = False
        self.now_s = 0.0
        self.touched: dict[str, None] = {}
        """Models whose next step has to be thought about."""
        self.actions: list[Action] = []
        self._generating: dict[int, int] = {}
        """Threads that each worker would use that generates now, if it were alone."""
        self._rows = 0
        self._turns = 0

    def emit(self, action: Action) -> None:
        """Adds to what the present event brings."""
        self.actions.append(action)

    def decide(self, decision: Decision) -> None:
        """Leaves a record of why something was done, or was not."""
        self.emit(Decided(decision))

    def record_refusal(self, about: str, why: Refusal) -> None:
        """Leaves a record of a refusal; `about` is a model, or a reservation in words."""
        numbers = numbers_of(why)
        self.decide(Decision(DecisionKind.REFUSE, about, why.message, numbers=numbers, reason=why.reason.name))

    def touch(self, model: ModelRuntime) -> None:
        """Has the scheduler think about this model before the event is over."""
        self.touched[model.id] = None

    def move(self, model: ModelRuntime, after: ModelState, because: Because) -> None:
        """The one place where a model changes its state. Raises ImpossibleTransitionError."""
        before = model.state
        if after not in TRANSITIONS[before]:
            raise ImpossibleTransitionError(model, after, because.words)
        model.state, model.because = after, because
        worker_id = model.current.id if model.current else 0
        model.story.append(f"{self.now_s:.3f} {before.name} -> {after.name}: {because.words}")
        self.emit(ModelChanged(model.id, worker_id, before, after, because))
        self.report(model, None, because.words, because.cause)
        self.touch(model)

    def report(self, model: ModelRuntime, share: float | None, message: str, cause: Cause | None = None) -> None:
        """Tells those who wait for a load."""
        awaited = self._awaited(model)
        for request in model.loads.values():
            # Who holds a model hears of its states only, and that it is ready once it is kept for him.
            if request.kind is not RequestKind.HOLD or (share is None and model.state is not ModelState.READY):
                self.emit(Report(request.id, model.state, share, message, awaited, cause=cause))
        self.tell_place(model, share, message)

    def tell_place(self, model: ModelRuntime, share: float | None, message: str) -> None:
        """Tells those who asked to hear it what they wait for, and their place: one walk numbers them all."""
        awaited = self._awaited(model)
        for ahead, request in enumerate(model.queue if model.progress_watchers else ()):
            if request.id in model.progress_watchers:
                self.emit(Report(request.id, model.state, share, message, awaited, ahead))

    def _awaited(self, model: ModelRuntime) -> Awaited | None:
        """What those wait for who want a model."""
        return self.pending_loads[model.id].awaited if model.state is ModelState.QUEUED else _AWAITED.get(model.state)

    def stop_waiting(self, model: ModelRuntime) -> None:
        """A load waits no longer, for its plans or for room."""
        if pending := self.pending_loads.pop(model.id, None):
            self.admission_queue.remove(pending)

    def next_id(self) -> int:
        """An id for a row of the ledger: of a process, or of an announced reservation."""
        self._rows += 1
        return self._rows

    def next_turn(self) -> int:
        """A place at the end of the line of those who wait for room."""
        self._turns += 1
        return self._turns

    def new_worker(self) -> WorkerProcess:
        """A new process, in the books only."""
        worker = WorkerProcess(self.next_id())
        self.workers[worker.id] = worker
        return worker

    def promise(self, worker: WorkerProcess, needs: Mapping[str, int], cause: str) -> None:
        """Writes or rewrites a process's row."""
        self.ledger.book(worker.id, needs)
        self._ledger_changed(cause)

    def free_row(self, worker: WorkerProcess, cause: str) -> Mapping[str, int]:
        """Ends a process's row and returns what it held."""
        held = self.ledger.release(worker.id)
        del self.workers[worker.id]
        self._ledger_changed(cause)
        return held

    def name_of(self, row: int) -> str:
        """What to call a row of the ledger."""
        if reservation := self.reservations.get(row):
            return reservation.name
        return self.workers[row].name

    def why_protected(self, row: int) -> str:
        """Why the process of a row is protected from eviction ("pinned", "held by a client"), or ""."""
        worker = self.workers.get(row)
        return why_kept(worker.owner) if worker and worker.owner else ""

    def reserve(self, reservation: Reservation) -> None:
        """Writes the row of a reservation that a caller announced; its time begins."""
        reservation.until_s = self.now_s + reservation.ttl_s
        self.ledger.reserve(reservation.id, {reservation.device: reservation.size_bytes})
        self.reservations[reservation.id] = reservation
        self._ledger_changed(f"{reservation.name} stands for {reservation.ttl_s:g} s")

    def end_reservation(self, reservation: Reservation, cause: str) -> None:
        """Ends the row of a reservation."""
        del self.reservations[reservation.id]
        self.ledger.release(reservation.id)
        self.emit(CancelExpiry(reservation.id))
        self._ledger_changed(f"{reservation.name} {cause}")

    def _ledger_changed(self, message: str) -> None:
        ledger = self.ledger
        rows = {d: (ledger.reserved_bytes(d), account.budget_bytes) for d, account in ledger.accounts.items()}
        self.emit(LedgerChanged(rows, message))

    def press(self, device: str, reading: Reading) -> None:
        """Takes in how scarce the memory of a device is now."""
        before = self.pressures[device]
        after = self.pressures[device] = before.after(reading)
        if deficit_bytes := after.deficit_bytes(reading):
            self.headroom_deficit[device] = deficit_bytes
        if after.level is not before.level:
            account = self.ledger.accounts[device]
            self.emit(
                PressureChanged(
                    device,
                    before.level,
                    after.level,
                    max(0, reading.free_bytes),
                    account.external_bytes,
                    account.headroom_bytes,
                    explain(after.level, reading),
                )
            )

    def is_closed(self, device: str) -> bool:
        """Whether others need the headroom of a device, so that nothing is loaded there."""
        return self.pressures[device].level >= Level.CLOSED

    def alarm_share(self, device: str) -> float:
        """How much of a device has to be in use before that is told."""
        own = self.config.devices.get(device, DeviceConfig()).alarm
        return self.config.server.alarm if own is None else own

    def enqueue(self, model: ModelRuntime, request: Request) -> None:
        """Puts a request at the end of its model's queue."""
        self.requests[request.id] = request
        model.queue.add(request)
        if request.kind is not RequestKind.RUN:
            model.loads[request.id] = request
        elif request.progress:
            model.progress_watchers[request.id] = request
        self.queued += 1
        self.touch(model)

    def enqueue_ahead(self, model: ModelRuntime, request: Request) -> None:
        """Puts a request before all of its model's queue, behind those that were put there before."""
        self.enqueue(model, request)
        model.queue.remove(request.id)
        model.queue.add_ahead(request)

    def hold_again(self, model: ModelRuntime, because: Because) -> None:
        """Callers that keep a model warm want it back once its process is gone, if not by their own wish.

        They stand before all others, so that it comes back with the settings that they have it with.
        """
        holds, model.holds = model.holds, {}
        for request in holds.values():
            request.state = RequestState.QUEUED
            self.emit(Report(request.id, model.state, None, because.words, cause=because.cause))
            self.enqueue_ahead(model, request)

    def leave_queue(self, request: Request) -> None:
        """Takes a request out of its queue, if it is in there."""
        model = self.models[request.model]
        model.loads.pop(request.id, None)
        model.progress_watchers.pop(request.id, None)
        if model.queue.remove(request.id):
            self.queued -= 1
            self.touch(model)

    def end(self, request: Request) -> None:
        """Forgets a request, wherever it is; its place is free."""
        del self.requests[request.id]
        self.emit(CancelDeadline(request.id))
        self.leave_queue(request)
        model = self.models[request.model]
        if model.holds.pop(request.id, None):
            if model.current:
                model.current.last_used_s = self.now_s
            self.touch(model)
        if model.renewal:
            self.touch(model)
        worker = self.workers.get(request.worker_id or 0)
        if worker is None:
            return
        if request.kind is RequestKind.UNLOAD:
            worker.unload_waiters.remove(request.id)
            return
        worker.in_flight.remove(request.id)
        worker.answered = True
        worker.last_used_s = self.now_s
        self.touch(self.models[request.model])
        if not worker.in_flight:
            self.share_threads(worker)

    def refuse(self, request: Request, why: Refusal) -> None:
        """Ends a request with an error."""
        self.end(request)
        self.emit(Refuse(request.id, why))

    def refuse_queue(self, model: ModelRuntime, why: Refusal) -> None:
        """Ends everything that waits for a model with an error."""
        for request in list(model.queue):
            self.refuse(request, why)

    def abort(self, worker: WorkerProcess, why: Refusal) -> None:
        """Ends everything that runs on a process with an error."""
        for request_id in sorted(worker.in_flight):
            self.refuse(self.requests[request_id], why)

    def unloaded(self, model: ModelRuntime, cause: str = "") -> Refusal:
        """What callers of a model hear that is unloaded under them; with the supervisor all else ends too."""
        if self.ending:
            return shutting_down()
        why = f": {cause}" if cause else ""
        return refusal(
            Reason.MODEL_UNLOADED, f"{model.id} was unloaded{why}; call again to load it anew", model=model.id
        )

    def share_threads(self, worker: WorkerProcess) -> None:
        """A worker begins to generate, or has ended: all get their shares, and those whose share changed are told."""
        before, plan = len(self._generating), worker.plan
        if plan and worker.in_flight and not worker.exited:
            self._generating[worker.id] = plan.settings.threads
        else:
            self._generating.pop(worker.id, None)
            self.threads.pop(worker.id, None)
        if len(self._generating) == before:
            return
        if min(before, len(self._generating)) >= self.usable_cores:  # everybody has one, and keeps it
            if worker.id in self._generating:
                self.threads[worker.id] = 1
            return
        known, self.threads = self.threads, shares(self.usable_cores, self._generating)
        for worker_id, threads in self.threads.items():
            if known.get(worker_id, threads) != threads:
                self.emit(SetThreads(worker_id, threads))
