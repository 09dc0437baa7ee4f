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
from .lobby import Lobby, Waiting
from .pressure import Level, Pressure, Reading, explain
from .standings import Standings
from .state import (
    TRANSITIONS,
    Announcement,
    Entry,
    ImpossibleTransitionError,
    Incarnation,
    ModelState,
    Request,
    RequestKind,
    RequestState,
    is_pinned,
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


class World:
    """The state of the core, and the actions that the present event has brought so far."""

    def __init__(self, config: Config, accounts: Mapping[str, Account], usable_cores: int, spare_bytes: int) -> None:
        self.config = config
        self.usable_cores = usable_cores
        self.ledger = Ledger(accounts)
        self.entries: dict[str, Entry] = {}
        self.requests: dict[int, Request] = {}
        self.processes: dict[int, Incarnation] = {}
        """Every process that lives or whose memory is not back yet, by incarnation."""
        self.standings = Standings(config.scheduling.keep_resident)
        """What may be done about each of them."""
        self.owners: dict[int, Entry] = {}
        """Whose each process is; spares have none."""
        self.waiting: dict[str, Waiting] = {}
        """Loads without a process, first come first served."""
        self.lobby = Lobby(config.scheduling.starvation_bound_s)
        """Those of them, and of the reservations, that wait for room."""
        self.announcing: dict[int, Announcement] = {}
        """Reservations that wait for room, by the request of their caller; in one line with the loads."""
        self.announced: dict[int, Announcement] = {}
        """Reservations that stand, by their row."""
        self.pressures = dict.fromkeys(accounts, Pressure())
        """How scarce the memory of each device is."""
        self.short: dict[str, int] = {}
        """Bytes per device that idle models have to give back at once, because others need the headroom."""
        self.spare: Incarnation | None = None
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
        self.room_changed = False
        """Loads that wait have to be thought about."""
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

    def touch(self, entry: Entry) -> None:
        """Has the scheduler think about this model before the event is over."""
        self.touched[entry.model.id] = None
        if entry.current:
            self.sort_anew(entry.current)
        if entry.renewal and entry.renewal.incarnation:
            self.sort_anew(entry.renewal.incarnation)

    def sort_anew(self, incarnation: Incarnation) -> None:
        """What may be done about a process has changed, or what it holds."""
        self.standings.stale[incarnation.id] = None

    def move(self, entry: Entry, after: ModelState, because: Because) -> None:
        """The one place where a model changes its state. Raises ImpossibleTransitionError."""
        before = entry.state
        if after not in TRANSITIONS[before]:
            raise ImpossibleTransitionError(entry, after, because.words)
        entry.state, entry.because = after, because
        incarnation = entry.current.id if entry.current else 0
        entry.story.append(f"{self.now_s:.3f} {before.name} -> {after.name}: {because.words}")
        self.emit(ModelChanged(entry.model.id, incarnation, before, after, because))
        self.report(entry, None, because.words, because.cause)
        self.touch(entry)

    def report(self, entry: Entry, share: float | None, message: str, cause: Cause | None = None) -> None:
        """Tells those who wait for a load."""
        awaited = self._awaited(entry)
        for request in entry.loads.values():
            # Who holds a model hears of its states only, and that it is ready once it is kept for him.
            if request.kind is not RequestKind.HOLD or (share is None and entry.state is not ModelState.READY):
                self.emit(Report(request.id, entry.state, share, message, awaited, cause=cause))
        self.tell_place(entry, share, message)

    def tell_place(self, entry: Entry, share: float | None, message: str) -> None:
        """Tells those who asked to hear it what they wait for, and their place: one walk numbers them all."""
        awaited = self._awaited(entry)
        for ahead, request in enumerate(entry.queue if entry.curious else ()):
            if request.id in entry.curious:
                self.emit(Report(request.id, entry.state, share, message, awaited, ahead))

    def _awaited(self, entry: Entry) -> Awaited | None:
        """What those wait for who want a model."""
        return self.waiting[entry.model.id].awaited if entry.state is ModelState.QUEUED else _AWAITED.get(entry.state)

    def stop_waiting(self, entry: Entry) -> None:
        """A load waits no longer, for its plans or for room."""
        if waiting := self.waiting.pop(entry.model.id, None):
            self.lobby.remove(waiting)
            self.room_changed = True

    def next_row(self) -> int:
        """An id for a row of the ledger: of a process, or of an announced reservation."""
        self._rows += 1
        return self._rows

    def next_turn(self) -> int:
        """A place at the end of the line of those who wait for room."""
        self._turns += 1
        return self._turns

    def incarnate(self) -> Incarnation:
        """A new process, in the books only."""
        incarnation = Incarnation(self.next_row())
        self.processes[incarnation.id] = incarnation
        return incarnation

    def promise(self, incarnation: Incarnation, needs: Mapping[str, int], cause: str) -> None:
        """Writes or rewrites a process's row."""
        self.ledger.reserve(incarnation.id, needs)
        self.sort_anew(incarnation)
        self._ledger_changed(cause)

    def strike(self, incarnation: Incarnation, cause: str) -> Mapping[str, int]:
        """Ends a process's row and returns what it held."""
        held = self.ledger.release(incarnation.id)
        del self.processes[incarnation.id]
        self.owners.pop(incarnation.id, None)
        self.standings.forget(incarnation.id)
        self._ledger_changed(cause)
        return held

    def name_of(self, row: int) -> str:
        """What to call a row of the ledger."""
        if reservation := self.announced.get(row):
            return reservation.name
        owner = self.owners.get(row)
        return owner.model.id if owner else "a spare worker"

    def bond_of(self, row: int) -> str:
        """Why others may not end a row's process, if they may not."""
        owner = self.owners.get(row)
        if owner and owner.holds:
            return "held by a client"
        return "pinned" if owner and is_pinned(owner) else ""

    def announce(self, announcement: Announcement) -> None:
        """Writes the row of a reservation that a caller announced; its time begins."""
        announcement.until_s = self.now_s + announcement.ttl_s
        self.ledger.announce(announcement.id, {announcement.device: announcement.size_bytes})
        self.announced[announcement.id] = announcement
        self._ledger_changed(f"{announcement.name} stands for {announcement.ttl_s:g} s")

    def withdraw(self, announcement: Announcement, cause: str) -> None:
        """Ends the row of a reservation."""
        del self.announced[announcement.id]
        self.ledger.release(announcement.id)
        self.emit(CancelExpiry(announcement.id))
        self._ledger_changed(f"{announcement.name} {cause}")

    def _ledger_changed(self, message: str) -> None:
        ledger = self.ledger
        rows = {d: (ledger.reserved_bytes(d), account.budget_bytes) for d, account in ledger.accounts.items()}
        self.emit(LedgerChanged(rows, message))
        self.room_changed = True

    def press(self, device: str, reading: Reading) -> None:
        """Takes in how scarce the memory of a device is now."""
        before = self.pressures[device]
        after = self.pressures[device] = before.after(reading)
        if short_bytes := after.short_bytes(reading):
            self.short[device] = short_bytes
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

    def enqueue(self, entry: Entry, request: Request) -> None:
        """Puts a request at the end of its model's queue."""
        self.requests[request.id] = request
        entry.queue.add(request)
        if request.kind is not RequestKind.RUN:
            entry.loads[request.id] = request
        elif request.progress:
            entry.curious[request.id] = request
        self.queued += 1
        self.touch(entry)

    def enqueue_ahead(self, entry: Entry, request: Request) -> None:
        """Puts a request before all of its model's queue, behind those that were put there before."""
        self.enqueue(entry, request)
        entry.queue.remove(request.id)
        entry.queue.add_ahead(request)

    def hold_again(self, entry: Entry, because: Because) -> None:
        """Callers that keep a model warm want it back once its process is gone, if not by their own wish.

        They stand before all others, so that it comes back with the settings that they have it with.
        """
        holds, entry.holds = entry.holds, {}
        for request in holds.values():
            request.state = RequestState.QUEUED
            self.emit(Report(request.id, entry.state, None, because.words, cause=because.cause))
            self.enqueue_ahead(entry, request)

    def leave_queue(self, request: Request) -> None:
        """Takes a request out of its queue, if it is in there."""
        entry = self.entries[request.model]
        entry.loads.pop(request.id, None)
        entry.curious.pop(request.id, None)
        if entry.queue.remove(request.id):
            self.queued -= 1
            self.touch(entry)

    def end(self, request: Request) -> None:
        """Forgets a request, wherever it is; its place is free."""
        del self.requests[request.id]
        self.emit(CancelDeadline(request.id))
        self.leave_queue(request)
        entry = self.entries[request.model]
        if entry.holds.pop(request.id, None):
            if entry.current:
                entry.current.last_used_s = self.now_s
            self.room_changed = True
            self.touch(entry)
        if entry.renewal:
            self.touch(entry)
        incarnation = self.processes.get(request.incarnation or 0)
        if incarnation is None:
            return
        if request.kind is RequestKind.UNLOAD:
            incarnation.unload_waiters.remove(request.id)
            return
        incarnation.in_flight.remove(request.id)
        incarnation.answered = True
        incarnation.last_used_s = self.now_s
        self.touch(self.entries[request.model])
        if not incarnation.in_flight:
            self.share_threads(incarnation)

    def refuse(self, request: Request, why: Refusal) -> None:
        """Ends a request with an error."""
        self.end(request)
        self.emit(Refuse(request.id, why))

    def refuse_queue(self, entry: Entry, why: Refusal) -> None:
        """Ends everything that waits for a model with an error."""
        for request in list(entry.queue):
            self.refuse(request, why)

    def abort(self, incarnation: Incarnation, why: Refusal) -> None:
        """Ends everything that runs on a process with an error."""
        for request_id in sorted(incarnation.in_flight):
            self.refuse(self.requests[request_id], why)

    def unloaded(self, entry: Entry, cause: str = "") -> Refusal:
        """What callers of a model hear that is unloaded under them; with the supervisor all else ends too."""
        if self.ending:
            return shutting_down()
        model, why = entry.model.id, f": {cause}" if cause else ""
        return refusal(Reason.MODEL_UNLOADED, f"{model} was unloaded{why}; call again to load it anew", model=model)

    def share_threads(self, incarnation: Incarnation) -> None:
        """A worker begins to generate, or has ended: all get their shares, and those whose share changed are told."""
        before, plan = len(self._generating), incarnation.plan
        if plan and incarnation.in_flight and not incarnation.exited:
            self._generating[incarnation.id] = plan.settings.threads
        else:
            self._generating.pop(incarnation.id, None)
            self.threads.pop(incarnation.id, None)
        if len(self._generating) == before:
            return
        if min(before, len(self._generating)) >= self.usable_cores:  # everybody has one, and keeps it
            if incarnation.id in self._generating:
                self.threads[incarnation.id] = 1
            return
        known, self.threads = self.threads, shares(self.usable_cores, self._generating)
        for worker, threads in self.threads.items():
            if known.get(worker, threads) != threads:
                self.emit(SetThreads(worker, threads))
