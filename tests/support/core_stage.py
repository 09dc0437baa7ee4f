"""A stage for the core: a virtual clock, timers as the loop keeps them, and workers that the dice make late or lost."""

import hashlib
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from support.core_promises import Promises
from vramd_common.load_settings import LoadOptions, Settings
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import (
    Action,
    Exit,
    FindPlans,
    FindTogether,
    Grant,
    GrantReservation,
    Interrupted,
    Load,
    Spawn,
    Stop,
)
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import (
    Event,
    LoadProgressed,
    LoadRefused,
    MemoryReleased,
    PlansFound,
    PlansRefused,
    ReservationReleased,
    TogetherFound,
    WorkerExited,
    WorkerReady,
    WorkerStarted,
)
from vramd_supervisor.core.pump import Pump
from vramd_supervisor.domain.catalog import Model, Simulation
from vramd_supervisor.domain.errors import refusal
from vramd_supervisor.domain.quote import Confidence, DeviceBytes, Plan, Quote, Source
from vramd_supervisor.domain.receipt import Exit as EndOf
from vramd_supervisor.domain.receipt import Receipt
from vramd_supervisor.simulation.clock import VirtualClock

T = TypeVar("T")

SPARE = 1
EVENTS_TOLD = 40


def _plan_of(model: Model, options: LoadOptions) -> Plan:
    assert isinstance(model.source, Simulation)
    needs = model.source.memory
    tokens = options.context_tokens or 2048
    settings = Settings(tokens, 2, max(needs, key=lambda d: needs[d]), -1, 512, "f16", options.parallel or 2)
    devices = {device: DeviceBytes(weights_bytes=size) for device, size in needs.items()}
    return Plan(settings, Quote(devices, Confidence.EXACT, Source.DRY_RUN))


class Stage(Pump):
    """Does what the core asks for, in time, late, twice or wrongly, and has its promises checked after every event."""

    def __init__(self, dice: random.Random, faults: set[str], core: Core, most_wait_s: float) -> None:
        """`most_wait_s` is what others may take before a load, beside its bound."""
        self.dice, self.faults, self.core = dice, faults, core
        self.clock = VirtualClock()
        super().__init__(self._told_to_core, self._begin, self.clock.at)
        self.promises = Promises(core, most_wait_s, self)
        self.memory = self.promises.memory
        self.alive: set[int] = set()
        self.exited = False
        self.events = 0
        self._told: deque[tuple[float, Event, list[Action]]] = deque(maxlen=EVENTS_TOLD)
        self._digest = hashlib.blake2b(digest_size=16)

    def serve(self, request: int) -> None:
        """A call runs from now on."""
        raise NotImplementedError

    def interrupt(self, request: int) -> None:
        """A call that ran waits again."""
        raise NotImplementedError

    @property
    def last_events(self) -> str:
        """What was told last, and what the core wanted done for it."""
        return "\n".join(f"{at_s:9.3f} {event}\n    {actions}" for at_s, event, actions in self._told)

    @property
    def trace(self) -> str:
        """Stands for all that was told and answered, to the last number."""
        return self._digest.hexdigest()

    @property
    def now_s(self) -> float:
        return self.clock.now_s

    def submit(self, event: Event) -> None:
        """One event: what it brings is begun, then checked."""
        super().submit(event)
        self.promises.follow(event, self._told[-1][2], self.now_s)

    def _told_to_core(self, event: Event) -> list[Action]:
        actions = self.core.handle(event)
        self.events += 1
        self._told.append((self.now_s, event, actions))
        return actions

    def keep_trace(self) -> None:
        """Has `trace` stand for this run; costs as much as the run."""
        handle = self.core.handle

        def handle_and_note(event: Event) -> list[Action]:
            actions = handle(event)
            self._digest.update(f"{event}{actions}".encode())
            return actions

        self.core.handle = handle_and_note  # type: ignore[method-assign]  # a pass-through, as a recorder is

    def _pick(self, *choices: T) -> T:
        return choices[self.dice.randrange(len(choices))]

    def _may(self, fault: str, share: float) -> bool:
        return fault in self.faults and self.dice.random() < share

    def _in(self, least_s: float, most_s: float, what: Callable[[float], Event], worker_id: int = 0) -> None:
        """News that come later; of a worker only while it lives, unless they may be late. Perhaps twice."""
        at_s = self.now_s + self.dice.uniform(least_s, most_s) + (3.0 if self._may("late", 0.1) else 0.0)
        self.clock.at(at_s, partial(self._arrive, what(at_s), worker_id))
        if self._may("twice", 0.2):
            again_s = at_s + self.dice.uniform(0.0, 2.0)
            self.clock.at(again_s, partial(self._arrive, what(again_s), worker_id))

    def _arrive(self, event: Event, worker_id: int) -> None:
        if worker_id and worker_id not in self.alive and "late" not in self.faults:
            return
        self.submit(event)
        if isinstance(event, WorkerReady) and worker_id in self.alive:
            row = self.core.state.ledger.rows.get(worker_id, {})
            if all(row.get(device, 0) >= took for device, took in event.measured.items()):
                self.memory[worker_id] = {**self.memory[worker_id], **event.measured}

    # What the core wants done.

    def _begin(self, action: Action) -> None:
        match action:
            case FindPlans(model=model, options=options, turn=turn):
                self._find_plans(model, options, turn)
            case FindTogether(models=models):
                self._find_together(models)
            case Spawn(worker_id=worker_id):
                self._spawn(worker_id)
            case Load(worker_id=worker_id, model=model, plan=plan):
                self.memory[worker_id] = dict(plan.quote.needs)
                self._load(worker_id, model, plan)
            case Stop(worker_id=worker_id):
                self.clock.at(
                    self.now_s + self.dice.uniform(0.0, 1.0), partial(self._exit, worker_id, "ended", EndOf.ENDED)
                )
            case Grant(request=request):
                self.serve(request)
            case Interrupted(request=request):
                self.interrupt(request)
            case GrantReservation(reservation=reservation):
                withdrawn = partial(ReservationReleased, reservation=reservation)
                self._in(0.0, 10.0, withdrawn)
            case Exit():
                assert not self.alive, "it leaves while processes live"
                self.exited = True
            case _:
                pass

    def _find_together(self, models: Sequence[Model]) -> None:
        names = tuple(model.id for model in models)
        plans = tuple(_plan_of(model, LoadOptions()) for model in models)
        self._in(0.0, 1.0, partial(TogetherFound, models=names, plans=self._pick((), plans)))

    def _spawn(self, worker_id: int) -> None:
        assert worker_id not in self.memory, "spawned twice"
        self.alive.add(worker_id)
        self.memory[worker_id] = {"host": SPARE}
        if self._may("crash", 0.05):
            how = self._pick(EndOf.CRASHED, EndOf.DIED)
            self.clock.at(self.now_s + 0.1, partial(self._exit, worker_id, "died", how))
        elif not self._may("hang", 0.05):
            started = partial(WorkerStarted, worker_id=worker_id, pid=1000 + worker_id, idle_bytes=SPARE)
            self._in(0.05, 0.4, started, worker_id)

    def _find_plans(self, model: Model, options: LoadOptions, turn: int) -> None:
        if self._may("refuse", 0.1):
            why = refusal(Reason.MODEL_FILE_MISSING, "gone", model=model.id, path="x")
            self._in(0.0, 0.3, partial(PlansRefused, model=model.id, turn=turn, refusal=why))
            return
        plan = _plan_of(model, options)
        plans = (plan, replace(plan, degraded=("smaller",))) if self.dice.random() < 0.2 else (plan,)
        self._in(0.0, 0.3, partial(PlansFound, model=model.id, turn=turn, plans=plans))

    def _load(self, worker_id: int, model: Model, plan: Plan) -> None:
        seconds = self.dice.uniform(0.2, 1.4)
        self._in(0.0, seconds, partial(LoadProgressed, worker_id=worker_id, share=0.5), worker_id)
        if self._may("refuse", 0.1):
            why = refusal(Reason.MODEL_FILE_INVALID, "damaged", model=model.id)
            self._in(0.0, seconds, partial(LoadRefused, worker_id=worker_id, refusal=why), worker_id)
        elif self._may("crash", 0.1) or self._may("loop", 0.8):
            how = self._pick(EndOf.CRASHED, EndOf.ASSERTION, EndOf.DIED, EndOf.OUT_OF_MEMORY)
            self.clock.at(self.now_s + seconds, partial(self._exit, worker_id, "died", how))
        elif not self._may("hang", 0.1):
            needs = plan.quote.needs
            device = self._pick(*needs)
            measured = {device: needs[device] + 1} if self._may("more", 0.3) else {}
            news = partial(WorkerReady, worker_id=worker_id, context_tokens=2048, measured=measured)
            self._in(seconds, seconds, news, worker_id)

    def _exit(self, worker_id: int, words: str, how: EndOf) -> None:
        """A process ends; its memory comes back later."""
        if worker_id not in self.alive:
            return
        self.alive.remove(worker_id)
        self.submit(WorkerExited(self.now_s, worker_id, words, how))
        if self._may("twice", 0.2):
            self._in(0.0, 2.0, partial(WorkerExited, worker_id=worker_id, exit=words, how=how))
        slow_s = 4.0 if self._may("late", 0.2) else 0.6
        self.clock.at(self.now_s + self.dice.uniform(0.0, slow_s), partial(self._release, worker_id))

    def _release(self, worker_id: int) -> None:
        self.memory.pop(worker_id, None)
        self.submit(MemoryReleased(self.now_s, worker_id, Receipt(worker_id, 1, "", 0.0, 0.0, {})))
        if self._may("twice", 0.2):
            self.clock.at(self.now_s + 0.1, partial(self._release, worker_id))
