"""The memory of the core, as data, and the functions by which it emits actions. Pure: no I/O, no clock."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..domain.config import Config, DeviceConfig
from ..domain.decisions import Decision, DecisionKind, numbers_of
from ..domain.errors import Refusal
from .actions import Action, Decided, LedgerChanged
from .cpu_load import CpuLoad
from .ledger import Account, Ledger
from .pressure import Level, Pressure
from .queues import AdmissionQueue
from .restarts import Breaker, Limits
from .state import ModelRuntime, PendingLoad, Request, Reservation, WorkerProcess, why_kept
from .suspects import Suspects
from .thrash import Loads, PingPong

Waiting: TypeAlias = PendingLoad | Reservation
"""A load or reservation that waits for room."""


class CoreState:
    """All that the core remembers between two events, and the actions that the present event has brought so far."""

    def __init__(self, config: Config, accounts: Mapping[str, Account], usable_cores: int, spare_bytes: int) -> None:
        self.config = config
        self.cpu = CpuLoad(usable_cores, usable_cores)
        """The cores that generating workers share."""
        self.now_s = 0.0
        self.ending = False
        self.draining = False
        """Nothing new is admitted."""
        self.models: dict[str, ModelRuntime] = {}
        self.requests: dict[int, Request] = {}
        self.queued = self.joined = 0
        """Requests in the queues of all models; those of them that only wait for a load, and take no place."""

        self.workers: dict[int, WorkerProcess] = {}
        """Every process that lives or whose memory is not back yet, by id."""
        self.spare: WorkerProcess | None = None
        self.spare_bytes = spare_bytes
        self.spare_wanted = False
        """False until the shell runs, and after a spare failed, until some worker starts again."""
        self.residents: set[int] = set()
        """The processes of the last `keep_resident` models that were used, as of the last look."""
        self.threads: dict[int, int] = {}
        """CPU threads of each worker that generates now."""
        self.threads_wanted: dict[int, int] = {}
        """Threads that each of these would use if it were alone."""

        self.ledger = Ledger(accounts)
        self.pressures = dict.fromkeys(accounts, Pressure())
        """How scarce the memory of each device is."""
        self.over_budget: set[str] = set()
        """Devices on which more is promised than a budget that was lowered allows."""
        self.headroom_deficit: dict[str, int] = {}
        """Bytes per device that idle models have to give back at once, because others need the headroom."""
        self.pending_loads: dict[str, PendingLoad] = {}
        """Loads without a process, by their model."""
        self.pending_reservations: dict[int, Reservation] = {}
        """Reservations that wait for room, by the request of their caller."""
        self.admission_queue = AdmissionQueue[Waiting](config.scheduling.starvation_bound_s)
        """Loads and reservations that wait for room."""
        self.reservations: dict[int, Reservation] = {}
        """Reservations that were granted, by their row."""

        self.last_begun_s = -math.inf
        self.load_bytes_per_s: float | None = None
        """How fast the last load of a file read its weights."""
        self.loads = Loads()
        """The last loads and evictions, to recognise ping-pong."""
        self.ping_pongs: dict[tuple[str, ...], PingPong] = {}
        """Recognised ones, while settings are being looked for under which they would fit together."""

        self.breaker, self.suspects = Breaker(), Suspects()

        self.touched: dict[str, None] = {}
        """Models whose next step the scheduler has to decide before the event is over."""
        self.actions: list[Action] = []
        self._ids = self._turns = 0

    @property
    def limits(self) -> Limits:
        """What the configuration says of deaths."""
        return Limits(self.config.server.strikes, self.config.server.quarantine_s)

    def emit(self, action: Action) -> None:
        """Adds to what the present event brings."""
        self.actions.append(action)

    def decide(self, decision: Decision) -> None:
        """Records why something was done, or was not."""
        self.emit(Decided(decision))

    def record_refusal(self, about: str, why: Refusal) -> None:
        """Records a refusal; `about` is a model, or a reservation in words."""
        numbers = numbers_of(why)
        self.decide(Decision(DecisionKind.REFUSE, about, why.message, numbers=numbers, reason=why.reason.name))

    def ledger_changed(self, message: str) -> None:
        """Reports the promised bytes to watchers."""
        ledger = self.ledger
        rows = {d: (ledger.reserved_bytes(d), account.budget_bytes) for d, account in ledger.accounts.items()}
        self.emit(LedgerChanged(rows, message))

    def touch(self, model: ModelRuntime) -> None:
        """Has the scheduler decide this model's next step before the event is over."""
        self.touched[model.id] = None

    def next_id(self) -> int:
        """An id for a row of the ledger: of a process, or of a reservation."""
        self._ids += 1
        return self._ids

    def next_turn(self) -> int:
        """A place at the end of the queue for room."""
        self._turns += 1
        return self._turns

    def new_worker(self) -> WorkerProcess:
        """A new process, in the books only."""
        worker = WorkerProcess(self.next_id())
        self.workers[worker.id] = worker
        return worker

    def promise(self, worker: WorkerProcess, needs: Mapping[str, int], cause: str) -> None:
        """Writes or rewrites a process's row of the ledger."""
        self.ledger.book(worker.id, needs)
        self.ledger_changed(cause)

    def free_row(self, worker: WorkerProcess, cause: str) -> Mapping[str, int]:
        """Forgets a process and frees its row of the ledger; returns the bytes that the row held."""
        held = self.ledger.release(worker.id)
        del self.workers[worker.id]
        self.ledger_changed(cause)
        return held

    def name_of(self, row: int) -> str:
        """Name of a row of the ledger in messages."""
        reservation = self.reservations.get(row)
        return reservation.name if reservation else self.workers[row].name

    def why_protected(self, row: int) -> str:
        """Why the process of a row is protected from eviction ("pinned", "held by a client"), or ""."""
        worker = self.workers.get(row)
        return why_kept(worker.owner) if worker and worker.owner else ""

    def is_closed(self, device: str) -> bool:
        """Whether other programs need the headroom of a device, so that nothing is loaded there."""
        return self.pressures[device].level >= Level.CLOSED

    def alarm_share(self, device: str) -> float:
        """The share of a device that has to be in use for a warning."""
        alarm = self.config.devices.get(device, DeviceConfig()).alarm
        return self.config.server.alarm if alarm is None else alarm


Handlers: TypeAlias = Mapping[type[Any], Callable[[CoreState, Any], None]]
"""Handlers by kind of event: each module that handles events has such a table."""
