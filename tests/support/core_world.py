"""A world around the core without any I/O: what it asks for becomes errands that a test does in any order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from support.core_promises import hurry
from vramd_common.load_settings import LoadOptions, Settings
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import (
    Action,
    Complete,
    Evicted,
    Exit,
    FindPlans,
    FindTogether,
    Grant,
    GrantReservation,
    Interrupted,
    Load,
    Refuse,
    Spawn,
    Stop,
)
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import (
    Cancelled,
    CatalogueRead,
    DeviceSampled,
    Ended,
    Event,
    LoadProgressed,
    LoadRefused,
    MemoryReleased,
    ModelUpdated,
    PlansFound,
    PlansRefused,
    Requested,
    ReservationReleased,
    ReservationRequested,
    RestartRequested,
    ShutdownRequested,
    Started,
    Streamed,
    TogetherFound,
    UnloadRequested,
    WorkerExited,
    WorkerReady,
    WorkerStalled,
    WorkerStarted,
)
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.core.pressure import WINDOW_S
from vramd_supervisor.core.pump import Pump
from vramd_supervisor.core.state import ModelState, RequestKind, is_pinned
from vramd_supervisor.domain.catalog import Model, Simulation
from vramd_supervisor.domain.config import Config, Priority, SchedulingConfig
from vramd_supervisor.domain.errors import refusal
from vramd_supervisor.domain.quote import Confidence, DeviceBytes, Plan, Quote, Source
from vramd_supervisor.domain.receipt import Exit as EndOf
from vramd_supervisor.domain.receipt import Receipt
from vramd_supervisor.simulation.clock import VirtualClock

BUDGETS = {"card": 8, "host": 12}
NEEDS = {
    "small": {"card": 2, "host": 1},
    "middle": {"card": 4, "host": 2},
    "large": {"card": 7, "host": 1},
    "ram": {"host": 6},
    "pinned": {"card": 1, "host": 1},
    "giant": {"card": 9, "host": 1},
}
SPARE = 1


def plan(needs: Mapping[str, int], context_tokens: int = 2048, parallel: int = 2) -> Plan:
    device = max(needs, key=lambda d: needs[d])
    settings = Settings(context_tokens, 2, device, -1, 512, "f16", parallel)
    return Plan(
        settings,
        Quote({d: DeviceBytes(weights_bytes=b) for d, b in needs.items()}, Confidence.EXACT, Source.DRY_RUN),
    )


def needs_of(wanted: Model) -> Mapping[str, int]:
    return wanted.source.memory if isinstance(wanted.source, Simulation) else NEEDS[wanted.id]


def model(name: str) -> Model:
    return Model(
        name, Simulation(NEEDS[name], 1.0, 40.0, (), False), LoadOptions(keep_alive_s=60.0), pinned=name == "pinned"
    )


MODELS = {name: model(name) for name in NEEDS}


@dataclass(frozen=True)
class Release:
    """Errand of this world's own: the memory of a process that is gone comes back."""

    worker_id: int


Errand = Action | Release


class CoreWorld(Pump):
    """Holds what a shell would hold, and checks the core's promises after every event."""

    def __init__(
        self, config: Config | None = None, *, spare: bool = True, models: Mapping[str, Model] = MODELS
    ) -> None:
        self.config = config or Config(scheduling=SchedulingConfig(queue_per_model=6, queue_total=12))
        accounts = {device: Account(total_bytes=budget, budget_bytes=budget) for device, budget in BUDGETS.items()}
        self.core = Core(self.config, accounts, usable_cores=3, spare_bytes=SPARE)
        self.clock = VirtualClock()
        super().__init__(self._told_to_core, self._take, self.clock.at)
        self.errands: list[Errand] = []
        self.alive: set[int] = set()
        """Workers whose process runs."""
        self.memory: dict[int, dict[str, int]] = {}
        """Bytes that each process really holds until its memory is back."""
        self.open_requests: set[int] = set()
        self.granted: dict[int, int] = {}
        self.reserved: list[int] = []
        """Reservations that were granted, ended or not."""
        self.accepted = 0
        self.answered = 0
        self.exited = False
        self.actions: list[Action] = []
        """What the last event brought."""
        self._ids = count(1)
        self.models = models
        self.ways: dict[str, Sequence[Plan]] = {}
        """Where a model can be placed in other ways than the usual one."""
        self.measured: dict[str, dict[str, int]] = {}
        """What loads of a model turn out to take, where that is more than was quoted."""
        self.tell(CatalogueRead(self.now_s, models))
        if spare:
            self.tell(Started(self.now_s))

    @property
    def now_s(self) -> float:
        return self.clock.now_s

    @now_s.setter
    def now_s(self, now_s: float) -> None:
        self.clock.now_s = now_s

    def submit(self, event: Event) -> None:
        """What a timer calls."""
        self.tell(event)

    def tell(self, event: Event) -> list[Action]:
        """One event, with all promises checked before and after."""
        super().submit(event)
        self.core.check()
        for device, budget in BUDGETS.items():
            held = sum(memory.get(device, 0) for memory in self.memory.values())
            assert held <= self.core.state.ledger.reserved_bytes(device) <= budget, f"{device}: {held} really taken"
        return self.actions

    def _told_to_core(self, event: Event) -> list[Action]:
        self._alive_before = {i.id for i in self.core.state.workers.values() if not i.exited}
        self.actions = self.core.handle(event)
        return self.actions

    def _take(self, action: Action) -> None:
        match action:
            case Spawn(worker_id=worker_id):
                assert worker_id not in self._alive_before
                self.alive.add(worker_id)
                self.memory[worker_id] = {"host": SPARE}
                self.errands.append(action)
            case Load(worker_id=worker_id, plan=chosen):
                assert worker_id in self.alive
                self.memory[worker_id] = {d: b.total_bytes for d, b in chosen.quote.devices.items()}
                self.errands.append(action)
            case FindPlans() | FindTogether() | Stop():
                self.errands.append(action)
            case Evicted(model=victim, worker_id=worker_id, beneficiary=beneficiary):
                wrong = hurry(self.core, worker_id, beneficiary.name, self.now_s) if self.is_busy(worker_id) else ""
                assert not wrong, wrong
                assert not is_pinned(self.core.state.models[victim]), "a pinned model was made a victim"
            case Grant(request=request, worker_id=worker_id):
                assert request in self.open_requests
                assert request not in self.granted, "granted twice"
                assert worker_id in self.alive
                self.granted[request] = worker_id
            case Interrupted(request=request):
                assert self.granted.pop(request, None), "interrupted without a place"
            case GrantReservation(request=request, reservation=reservation):
                self.reserved.append(reservation)
                self._close(request)
            case Refuse(request=request) | Complete(request=request):
                self._close(request)
            case Exit():
                assert not self.alive
                self.exited = True
            case _:
                pass

    def is_busy(self, worker_id: int) -> bool:
        return worker_id in self.granted.values()

    def _close(self, request: int) -> None:
        assert request in self.open_requests, "ended twice"
        self.open_requests.remove(request)
        self.granted.pop(request, None)
        self.answered += 1

    def request(
        self,
        name: str,
        kind: RequestKind = RequestKind.RUN,
        limit_s: float = 600.0,
        keep_alive_s: float | None = None,
        context_tokens: int | None = None,
        priority: Priority | None = None,
        progress: bool = False,
        reload: bool = False,
        caller: str = "",
        resume: bool = True,
        fingerprint: str = "",
    ) -> int:
        request = self._accept()
        asked = LoadOptions(keep_alive_s=keep_alive_s, context_tokens=context_tokens)
        told = Requested(self.now_s, request, name, kind, limit_s, asked, priority, progress, reload, caller)
        self.tell(replace(told, resume=resume, fingerprint=fingerprint))
        return request

    def announce(self, device: str, size: int, ttl_s: float = 60.0, label: str = "game", limit_s: float = 600.0) -> int:
        request = self._accept()
        self.tell(ReservationRequested(self.now_s, request, device, size, ttl_s, label, limit_s))
        return request

    def release(self, reservation: int) -> None:
        self.tell(ReservationReleased(self.now_s, reservation))

    def unload(self, name: str, force: bool = False) -> int:
        request = self._accept()
        self.tell(UnloadRequested(self.now_s, request, name, 600.0, force))
        return request

    def restart(self, name: str, force: bool = False) -> int:
        request = self._accept()
        self.tell(RestartRequested(self.now_s, request, name, 600.0, force))
        return request

    def _accept(self) -> int:
        request = next(self._ids)
        self.accepted += 1
        self.open_requests.add(request)
        return request

    def caller(self, request: int, how: str) -> None:
        """A caller goes on, ends or leaves."""
        if how == "stream":
            self.tell(Streamed(self.now_s, request))
        elif how == "cancel" or request in self.granted:
            self._close(request)
            self.tell(Cancelled(self.now_s, request) if how == "cancel" else Ended(self.now_s, request))
            if how == "late end":
                self.tell(Ended(self.now_s, request))

    def run_errand(self, index: int = 0) -> None:
        """What the core asked for is done."""
        errand = self.errands.pop(index)
        match errand:
            case FindPlans(model=wanted, options=options, turn=turn):
                ways = self.ways.get(wanted.id) or (plan(needs_of(wanted), options.context_tokens or 2048),)
                self.tell(PlansFound(self.now_s, wanted.id, turn, ways))
            case FindTogether(models=models):
                plans = tuple(plan(needs_of(one)) for one in models)
                self.tell(TogetherFound(self.now_s, tuple(one.id for one in models), plans))
            case Spawn(worker_id=worker_id) if worker_id in self.alive:
                self.tell(WorkerStarted(self.now_s, worker_id, 1000 + worker_id, SPARE))
            case Load(worker_id=worker_id, model=wanted) if worker_id in self.alive:
                self.tell(LoadProgressed(self.now_s, worker_id, 0.5))
                self.tell(WorkerReady(self.now_s, worker_id, 2048, self.measured.get(wanted.id, {})))
            case Stop(worker_id=worker_id):
                self._gone(worker_id, "ended by SIGTERM")
            case Release(worker_id):
                del self.memory[worker_id]
                self.tell(MemoryReleased(self.now_s, worker_id, Receipt(worker_id, 1, "", 0.0, 0.0, {})))
            case _:
                pass

    def fail_errand(self, index: int = 0) -> None:
        """What the core asked for goes wrong, if it can."""
        errand = self.errands.pop(index)
        match errand:
            case FindPlans(model=wanted, turn=turn):
                why = refusal(Reason.MODEL_FILE_MISSING, "gone", model=wanted.id, path="x")
                self.tell(PlansRefused(self.now_s, wanted.id, turn, why))
            case Spawn(worker_id=worker_id):
                self.crash(worker_id)
            case Load(worker_id=worker_id, model=wanted) if worker_id in self.alive:
                why = refusal(Reason.MODEL_FILE_INVALID, "damaged", model=wanted.id)
                self.tell(LoadRefused(self.now_s, worker_id, why))
            case _:
                self.errands.insert(index, errand)

    def crash(self, worker_id: int, *, how: EndOf = EndOf.CRASHED) -> None:
        if worker_id in self.alive:
            words = "killed by SIGSEGV" if how is EndOf.CRASHED else how.name
            self._gone(worker_id, words, how)

    def stall(self, worker_id: int, *, before: bool = False) -> None:
        self.tell(WorkerStalled(self.now_s, worker_id, "decode has done nothing for 20 s", 20.0, before))

    def _gone(self, worker_id: int, words: str, how: EndOf = EndOf.ENDED) -> None:
        """The process ends; its memory comes back as an errand of its own, later."""
        if worker_id in self.alive:
            self.alive.remove(worker_id)
            brought = self.tell(WorkerExited(self.now_s, worker_id, words, how))
            self.actions = brought + self.tell(WorkerExited(self.now_s, worker_id, words, how))
            self.errands.append(Release(worker_id))

    def pin(self, name: str, pinned: bool) -> None:
        self.tell(ModelUpdated(self.now_s, name, pinned=pinned))

    def next_timer(self) -> None:
        """Moves the clock to the next timer, if there is one."""
        self.clock.step()

    def wait(self, seconds: float) -> list[Action]:
        """Lets time pass; what the core asks for meanwhile is done at once. Everything that it brought."""
        ends_s, brought = self.now_s + seconds, list[Action]()
        while True:
            if self.errands:
                self.run_errand()
            elif not self.clock.step(ends_s):
                break
            brought += self.actions
        self.now_s = ends_s
        return brought

    def sample(self, device: str, external: int) -> None:
        used = external + sum(memory.get(device, 0) for memory in self.memory.values())
        self.tell(DeviceSampled(self.now_s, device, BUDGETS[device], external, used))

    def rescan(self, without: str | None = None) -> None:
        self.tell(CatalogueRead(self.now_s, {name: known for name, known in self.models.items() if name != without}))

    def settle_down(self) -> None:
        """No more faults: what is asked for is done, what runs ends, nothing but one is pinned, until nothing moves."""
        for name, known in self.models.items():
            self.pin(name, known.pinned)
        for _ in range(2):  # closed devices have forgotten with the first and reopen with the second
            self.now_s += WINDOW_S
            for device in BUDGETS:
                self.sample(device, 0)
        for reservation in self.reserved:
            self.release(reservation)
        while self.errands or self.granted or self._pauses():
            while self.errands:
                self.run_errand()
            if self._pauses():
                self.next_timer()
            for request in sorted(self.granted):
                if request in self.granted:
                    self.caller(request, "end")

    def _pauses(self) -> bool:
        return any(one.state is ModelState.BACKOFF for one in self.core.state.models.values())

    def shut_down(self) -> None:
        self.tell(ShutdownRequested(self.now_s))
        self.settle_down()
