"""A seeded story of the core: callers, workers and other programs on a virtual clock, all drawn from one number.

What the core asks for takes its time, comes in any order, late and twice. The same seed tells the same story.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count

from support.core_promises import Asked
from support.core_stage import SPARE, Stage
from vramd_common.load_settings import LoadOptions
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import (
    AdmissionClosed,
    AdmissionOpened,
    Cancelled,
    CatalogueRead,
    ConfigurationRead,
    CpuSampled,
    DeviceSampled,
    Ended,
    ModelReset,
    ModelUpdated,
    Requested,
    ReservationReleased,
    ReservationRequested,
    RestartRequested,
    Resumed,
    ShutdownRequested,
    Started,
    Streamed,
    UnloadRequested,
    WorkerStalled,
)
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.core.pressure import WINDOW_S
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.domain.catalog import Model, Simulation
from vramd_supervisor.domain.config import Config, ModelConfig, Priority, SchedulingConfig, ServerConfig
from vramd_supervisor.domain.device_view import Limits
from vramd_supervisor.domain.receipt import Exit

CARD, HOST = 8, 14
BOUND_S, DRAIN_S, LOAD_DEADLINE_S = 8.0, 2.0, 4.0
LIMIT_S = 10_000.0
"""Of most calls: that they end is not the deadline's doing."""
QUIET_S = 8 * BOUND_S + 3 * WINDOW_S
FAULTS = (
    "cancel",
    "crash",
    "loop",
    "reset",
    "hang",
    "late",
    "twice",
    "refuse",
    "more",
    "stuck",
    "unload",
    "reload",
    "rescan",
    "stall",
)
CHANGES = ("drain", "configure")
"""Of the supervisor; drawn by dice of their own, so that a seed without them tells what it told before them."""
OBSTACLES = ("pin", "hold", "others", "announce")


def _draw_models(dice: random.Random, faults: set[str]) -> dict[str, Model]:
    models = {}
    group = dice.choice(("", "", "one"))
    for place, name in enumerate("abcde"[: dice.randint(2, 5)]):
        on_card = dice.choice((2, 3, 4, 4, 6, 7, 0, CARD + 1 if "refuse" in faults else 5))
        needs = {"card": on_card, "host": 1} if on_card else {"host": dice.randint(2, 8)}
        models[name] = Model(
            name,
            Simulation(needs, 1.0, 40.0, (), False),
            LoadOptions(keep_alive_s=dice.choice((0.0, 2.0, 60.0, -1.0))),
            pinned="pin" in faults and place == 0,
            priority=dice.choice((Priority.INTERACTIVE, Priority.INTERACTIVE, Priority.NORMAL, Priority.BATCH)),
            group=group if place < 3 else "",
            expendable=dice.random() < 0.2,
            preload=dice.random() < 0.4,
        )
    return models


def _draw_config(dice: random.Random, models: Mapping[str, Model]) -> Config:
    scheduling = SchedulingConfig(
        drain_s=DRAIN_S,
        queue_per_model=dice.randint(3, 12),
        queue_total=dice.randint(8, 30),
        starvation_bound_s=BOUND_S,
        minimum_residency_s=dice.choice((0.0, 1.0, 3.0)),
        keep_resident=dice.choice((0, 0, 0, 1, 2)),
        at_most_resident=dice.choice((0, 0, 0, 1, 2)),
        preload=dice.choice(("first", "all", "none")),
    )
    server = ServerConfig(
        spare=dice.random() < 0.6,
        load_deadline_s=LOAD_DEADLINE_S,
        strikes=dice.choice((0, 0, 2, 3)),
        quarantine_s=dice.choice((2.0, 5.0, 900.0)),
    )
    return Config(server, scheduling, {}, {name: ModelConfig() for name in models})


class Story(Stage):
    """One run. `run` tells it to its end; whatever the core breaks on the way is raised with the seed."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        faults = {fault for fault in FAULTS if dice.random() < 0.5}
        faults |= {obstacle for obstacle in OBSTACLES if dice.random() < 0.3}
        changing = random.Random(seed + 0.5)
        faults |= {change for change in CHANGES if changing.random() < 0.3}
        self.seed = seed
        self.models = _draw_models(dice, faults)
        config = _draw_config(dice, self.models)
        headroom = dice.choice((0, 0, 1))
        accounts = {"card": Account(CARD + headroom, CARD, headroom), "host": Account(HOST, HOST)}
        slowest_s = LOAD_DEADLINE_S if {"hang", "late"} & faults else 1.5
        each_s = slowest_s + config.scheduling.minimum_residency_s + DRAIN_S + 2.0
        core = Core(config, accounts, usable_cores=dice.randint(1, 4), spare_bytes=SPARE)
        super().__init__(dice, faults, core, most_wait_s=len(self.models) * 2 * each_s)
        self.ends_s = dice.uniform(8.0, 30.0)
        """When all faults are over and nobody calls any more."""
        self.relentless: set[int] = set()
        """Calls that are made anew as soon as they end."""
        self.turns: Counter[int] = Counter()
        """Processes that a call has lost: what the dice had planned on them does not happen."""
        self._ids = count(1)

    def run(self) -> "Story":
        """Faults and calls, then quiet in which everybody has to be answered, then the end of the supervisor."""
        try:
            self._run()
        except Exception as fault:
            raise AssertionError(f"{fault}\nseed {self.seed}; the last events were\n{self.last_events}") from fault
        return self

    def _run(self) -> None:
        self.submit(CatalogueRead(0.0, self.models))
        self.submit(Started(0.0))
        pace_s, at_s = self.dice.uniform(0.3, 1.5), 0.0
        while (at_s := at_s + self.dice.expovariate(1 / pace_s)) < self.ends_s:
            self.clock.at(at_s, self._call)
        for _ in range(self._pick(0, 0, 0, 2, 4)):
            self.clock.at(self.dice.uniform(0.0, 2.0), partial(self._call, next(iter(self.models))))
        happens: dict[str, Callable[[], None]] = {
            "crash": self._crash,
            "stall": self._stall,
            "unload": self._unload,
            "reset": self._reset,
            "rescan": self._rescan,
            "drain": self._drain,
            "configure": self._configure,
            "pin": self._pin,
            "others": self._others,
            "announce": self._announce,
        }
        for fault in sorted(self.faults & happens.keys()):
            for _ in range(self.dice.randint(1, 5)):
                self.clock.at(self.dice.uniform(0.0, self.ends_s), happens[fault])
        self.clock.run_until(self.ends_s)
        self._be_quiet()
        self.clock.run_until(self.ends_s + QUIET_S)
        assert not self.promises.open, f"with all faults over these wait for ever: {self.promises.open}"
        self.submit(ShutdownRequested(self.now_s, force=self._pick(True, False)))
        self.clock.run_until(self.now_s + WINDOW_S)
        state = self.core.state
        left = (state.requests, state.workers, state.ledger.rows, state.pending_loads, state.reservations)
        assert self.exited, "the supervisor does not end"
        assert not any(left), f"something is left behind: {left}"
        assert not len(state.admission_queue), "somebody was left in the queue"
        assert self.promises.answered == self.promises.accepted, "not everybody was answered once"

    # What callers do.

    def _call(self, relentless: str = "") -> None:
        """One call; with a name it is made again and again, so that the model is never idle."""
        name = relentless or self._pick(*self.models)
        kind = self._pick(*[RequestKind.RUN] * 8, RequestKind.LOAD, RequestKind.HOLD)
        if relentless or (kind is RequestKind.HOLD and "hold" not in self.faults):
            kind = RequestKind.RUN
        priority = None if self.dice.random() < 0.6 else self._pick(*Priority)
        limit_s = self.dice.uniform(0.3, 5.0) if self.dice.random() < 0.1 and not relentless else LIMIT_S
        differs = self._may("reload", 0.1) and not relentless
        options = LoadOptions(
            context_tokens=4096 if differs else None,
            keep_alive_s=self._pick(0.0, 3.0, -1.0) if self.dice.random() < 0.1 else None,
        )
        request, reload = next(self._ids), differs and self._pick(True, False)
        if relentless:
            self.relentless.add(request)
        urgent = self.models[name].priority if priority is None else priority
        asked = Asked(name, kind, urgent, self.now_s, self.now_s + limit_s, ahead=reload)
        self.promises.accept(request, asked)
        progress = self._pick(True, False)
        told = Requested(self.now_s, request, name, kind, limit_s, options, priority, progress, reload)
        self.submit(replace(told, fingerprint=f"{name} {request % 5}" if request % 2 else ""))
        if kind is RequestKind.HOLD:
            self.clock.at(self.now_s + self.dice.uniform(1.0, 15.0), partial(self._leave, request))
        elif self._may("cancel", 0.2):
            self.clock.at(self.now_s + self.dice.uniform(0.0, 4.0), partial(self._leave, request))
        if request in self.relentless and request not in self.promises.open:
            self.clock.at(self.now_s + 0.5, partial(self._again, name))

    def _again(self, name: str) -> None:
        if self.now_s < self.ends_s:
            self._call(name)

    def serve(self, request: int) -> None:
        if request not in self.relentless and self._may("stuck", 0.1):
            return
        turn, seconds = self.turns[request], self.dice.uniform(0.05, 2.0)
        self.clock.at(self.now_s + seconds / 2, partial(self._stream, request, turn))
        self.clock.at(self.now_s + seconds, partial(self._end, request, turn))
        if turn:
            self.clock.at(self.now_s, partial(self.submit, Resumed(self.now_s, request, 7, exact=True)))

    def interrupt(self, request: int) -> None:
        self.turns[request] += 1

    def _stream(self, request: int, turn: int) -> None:
        if request in self.promises.open and self.turns[request] == turn:
            self.submit(Streamed(self.now_s, request))

    def _end(self, request: int, turn: int) -> None:
        if self.turns[request] != turn:
            return
        asked = self.promises.open.get(request)
        if asked:
            self.promises.close(request)
        if request in self.relentless:
            self.clock.at(self.now_s, partial(self._again, next(iter(self.models))))
        self.submit(Ended(self.now_s, request))
        if self._may("twice", 0.2):
            self._in(0.0, 1.0, partial(Ended, request=request))

    def _leave(self, request: int) -> None:
        if request in self.promises.open:
            self.promises.close(request)
            self.submit(Cancelled(self.now_s, request))

    def _unload(self) -> None:
        request, name = next(self._ids), self._pick(*self.models)
        force, restart = self._pick(True, False), self._pick(True, False)
        kind = RequestKind.LOAD if restart else RequestKind.UNLOAD
        priority = self.models[name].priority
        self.promises.accept(request, Asked(name, kind, priority, self.now_s, self.now_s + LIMIT_S, ahead=True))
        if restart:
            self.submit(RestartRequested(self.now_s, request, name, LIMIT_S, force))
        else:
            self.submit(UnloadRequested(self.now_s, request, name, LIMIT_S, force))

    # What else happens.

    def _crash(self) -> None:
        if self.alive:
            self._exit(self._pick(*sorted(self.alive)), "killed by SIGKILL", Exit.KILLED)

    def _reset(self) -> None:
        self.submit(ModelReset(self.now_s, self._pick(*self.models)))

    def _stall(self) -> None:
        if self.alive:
            worker_id = self._pick(*sorted(self.alive))
            self.submit(WorkerStalled(self.now_s, worker_id, "it stands still", 1.0, before=self._pick(True, False)))

    def _rescan(self) -> None:
        missing = self._pick(None, *self.models)
        self.submit(CatalogueRead(self.now_s, {name: known for name, known in self.models.items() if name != missing}))

    def _drain(self) -> None:
        """Nothing new for a while: what was admitted is served all the same."""
        self.submit(AdmissionClosed(self.now_s))
        before = set(self.promises.open)
        self._call()
        assert set(self.promises.open) == before, "a drained supervisor admits what is new"
        self._in(0.5, 4.0, AdmissionOpened)

    def _configure(self) -> None:
        """A model is to be loaded otherwise, or is gone; a device may give less."""
        name = self._pick(*self.models)
        options = replace(self.models[name].options, context_tokens=self._pick(1024, 2048))
        self.models[name] = replace(self.models[name], options=options)
        removed = [self._pick(*self.models)] if self.dice.random() < 0.3 else []
        self._read_again(self.dice.randint(1, CARD), removed)
        if removed:  # nobody may call it for a while
            self._in(0.5, 5.0, lambda at_s: CatalogueRead(at_s, self.models))

    def _read_again(self, card_bytes: int, removed: Sequence[str] = ()) -> None:
        headroom = self.core.state.ledger.accounts["card"].headroom_bytes
        limits = {"card": Limits(card_bytes, headroom), "host": Limits(HOST, 0)}
        left = {name: known for name, known in self.models.items() if name not in removed}
        self.submit(ConfigurationRead(self.now_s, self.core.config, limits, left, removed))

    def _pin(self) -> None:
        self.submit(ModelUpdated(self.now_s, self._pick(*self.models), pinned=self._pick(True, False)))

    def _others(self) -> None:
        external = self.dice.randint(0, CARD)
        self._sample("card", external)
        self.submit(CpuSampled(self.now_s, 4, external / 2))

    def _sample(self, device: str, external: int) -> None:
        used = external + sum(held.get(device, 0) for held in self.memory.values())
        total = self.core.state.ledger.accounts[device].total_bytes
        self.submit(DeviceSampled(self.now_s, device, total, external, used))

    def _announce(self) -> None:
        request, device, size = next(self._ids), self._pick("card", "host"), self.dice.randint(1, CARD)
        asked = Asked("", RequestKind.RUN, Priority.INTERACTIVE, self.now_s, self.now_s + LIMIT_S)
        self.promises.accept(request, asked)
        self.submit(ReservationRequested(self.now_s, request, device, size, self.dice.uniform(1, 20), "game", LIMIT_S))

    def _be_quiet(self) -> None:
        """All faults and obstacles are over; what is hung is ended by the core's own limits."""
        self.faults.clear()
        self.submit(AdmissionOpened(self.now_s))
        self._read_again(CARD)
        self.submit(CatalogueRead(self.now_s, self.models))
        for name in self.models:
            self.submit(ModelUpdated(self.now_s, name, pinned=False))
        for reservation in list(self.core.state.reservations):
            self.submit(ReservationReleased(self.now_s, reservation))
        for request, asked in list(self.promises.open.items()):
            if request in self.promises.granted or asked.kind is RequestKind.HOLD:
                self._leave(request)
        for step in range(int(2 * WINDOW_S / 5.0)):
            self.clock.at(self.now_s + 5.0 * step, partial(self._sample, "card", 0))
