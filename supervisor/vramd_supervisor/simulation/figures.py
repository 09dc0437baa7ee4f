"""Figures of a run, gathered from the events and actions of a core. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ..core.actions import Action, Decided, Evicted, Grant, Interrupted, LedgerChanged, ModelChanged, Refuse
from ..core.events import Ended, Event, Requested, Streamed
from ..core.state import COMING, GOING, ModelState, RequestKind
from ..domain.decisions import DecisionKind


class Doing(Enum):
    """The activity of a model in a timeline. The value is its sign."""

    AWAY = "."
    WANTED = "w"
    """It waits for room."""
    LOADING = "L"
    IDLE = "-"
    WORKING = "#"
    LEAVING = "x"


@dataclass(frozen=True)
class Waits:
    """How long requests took to come so far."""

    count: int
    p50_s: float
    p99_s: float
    max_s: float


def waits(seconds: Sequence[float]) -> Waits | None:
    """None of nothing. A percentile is the least value that as many do not exceed (nearest rank)."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.99))
    return Waits(len(ordered), p50, p99, ordered[-1])


@dataclass(eq=False)
class ModelFigures:
    asked: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    to_place_s: list[float] = field(default_factory=list)
    """From the request until it had its place in a worker."""
    to_first_token_s: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    """The moments they were done."""
    evicted: int = 0
    doing: list[tuple[float, Doing]] = field(default_factory=lambda: [(0.0, Doing.AWAY)])
    """Since when it does what."""
    state: ModelState = ModelState.UNLOADED
    working: set[int] = field(default_factory=set)
    """Requests that it answers now."""

    def seconds(self, end_s: float) -> dict[Doing, float]:
        """How long it did what, up to a moment."""
        spent = dict.fromkeys(Doing, 0.0)
        ends = [*(at_s for at_s, _ in self.doing[1:]), end_s]
        for (from_s, doing), to_s in zip(self.doing, ends, strict=True):
            spent[doing] += max(0.0, min(to_s, end_s) - from_s)
        return spent


@dataclass(frozen=True)
class Thrash:
    """Models that drove each other out again and again."""

    at_s: float
    cause: str
    """With the numbers, and with settings that would end it."""


class Figures:
    """Takes everything in as it comes."""

    def __init__(self) -> None:
        self.models: dict[str, ModelFigures] = defaultdict(ModelFigures)
        self.waiting: list[tuple[float, int]] = [(0.0, 0)]
        """The number of waiting requests, each with its start."""
        self.promised: dict[str, list[tuple[float, int]]] = defaultdict(lambda: [(0.0, 0)])
        """The bytes promised on a device, each with its start."""
        self.budgets: dict[str, int] = {}
        self.evictions: Counter[tuple[str, str]] = Counter()
        """Counts by the evicted model and the one that it was evicted for."""
        self.thrash: list[Thrash] = []
        self.events = 0
        self._asked: dict[int, tuple[str, float]] = {}
        self._waiting: set[int] = set()
        self._interrupted: set[int] = set()
        """Requests that have lost a process: they have had their first place, and perhaps a first token."""
        self._touched: set[str] = set()
        """Models of which the present event has something to tell."""

    def take_in(self, event: Event, actions: Sequence[Action]) -> None:
        """One event, and what it brought."""
        self.events += 1
        match event:
            case Requested(at_s=at_s, request=request, model=model, kind=RequestKind.RUN):
                self._asked[request] = (model, at_s)
                self._waiting.add(request)
                self.models[model].asked += 1
            case Streamed(at_s=at_s, request=request) if request in self._asked and request not in self._interrupted:
                model, asked_s = self._asked[request]
                self.models[model].to_first_token_s.append(at_s - asked_s)
            case Ended(request=request) if found := self._end(request):
                found.answered += 1
            case _:
                pass  # no caller of an answer
        for action in actions:
            self._see(event.at_s, action)
        for model in self._touched:
            self._do(event.at_s, self.models[model])
        self._touched.clear()
        if len(self._waiting) != self.waiting[-1][1]:
            self.waiting.append((event.at_s, len(self._waiting)))

    def _see(self, now_s: float, action: Action) -> None:
        match action:
            case Grant(request=request) if request in self._asked:
                model, asked_s = self._asked[request]
                if request not in self._interrupted:
                    self.models[model].to_place_s.append(now_s - asked_s)
                self.models[model].working.add(request)
                self._touched.add(model)
                self._waiting.discard(request)
            case Interrupted(request=request) if request in self._asked:
                model, _ = self._asked[request]
                self.models[model].working.discard(request)
                self._touched.add(model)
                self._waiting.add(request)
                self._interrupted.add(request)
            case Refuse(request=request, refusal=why) if found := self._end(request):
                found.refused[why.reason.name] += 1
            case ModelChanged(model=model, after=after):
                self.models[model].state = after
                self._touched.add(model)
                if after is ModelState.READY:
                    self.models[model].loads.append(now_s)
            case Evicted(model=model, beneficiary=beneficiary):
                self.models[model].evicted += 1
                self.evictions[model, beneficiary.name] += 1
            case LedgerChanged(reserved_and_budget=reserved_and_budget):
                for device, (reserved_bytes, budget_bytes) in reserved_and_budget.items():
                    self.budgets[device] = budget_bytes
                    if self.promised[device][-1][1] != reserved_bytes:
                        self.promised[device].append((now_s, reserved_bytes))
            case Decided(decision=decision) if decision.kind is DecisionKind.THRASH:
                self.thrash.append(Thrash(now_s, decision.message))
            case _:
                pass  # it says nothing that is counted here

    def _end(self, request: int) -> ModelFigures | None:
        """Ends a request and returns its model's figures; None if it asked for no answer or has ended before."""
        if request not in self._asked:
            return None
        model, _ = self._asked.pop(request)
        self._touched.add(model)
        found = self.models[model]
        found.working.discard(request)
        self._waiting.discard(request)
        self._interrupted.discard(request)
        return found

    @staticmethod
    def _do(now_s: float, found: ModelFigures) -> None:
        doing = _doing(found)
        if found.doing[-1][1] is not doing:
            found.doing.append((now_s, doing))


def _doing(found: ModelFigures) -> Doing:
    if found.state in GOING:
        return Doing.LEAVING
    if found.state in COMING:
        return Doing.LOADING
    if found.state is ModelState.QUEUED:
        return Doing.WANTED
    if found.state is ModelState.READY:
        return Doing.WORKING if found.working else Doing.IDLE
    return Doing.AWAY


def shares(figures: Mapping[str, ModelFigures], end_s: float) -> dict[Doing, float]:
    """Returns how present models spent their time, as shares of it."""
    spent: Counter[Doing] = Counter()
    for found in figures.values():
        spent.update(found.seconds(end_s))
    there = sum(spent[doing] for doing in (Doing.LOADING, Doing.IDLE, Doing.WORKING, Doing.LEAVING))
    return {doing: spent[doing] / there if there else 0.0 for doing in (Doing.LOADING, Doing.WORKING)}
