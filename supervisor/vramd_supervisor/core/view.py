"""Read-only views of the core's state for its readers. Pure; only reads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vramd_common.reasons import Reason

from ..domain.catalog import Model, ModelFile
from ..domain.causes import Cause
from ..domain.config import Priority
from ..domain.device_view import HOST
from ..domain.errors import Refusal, refusal
from ..domain.quote import Plan
from ..domain.receipt import Exit
from ..quoting.placement import cautions, decide
from .core_state import CoreState
from .eviction import residents as resident_ids
from .pressure import Level
from .restarts import is_proven
from .state import (
    ModelRuntime,
    ModelState,
    has_place,
    is_changed,
    is_idle,
    is_kept,
    is_pinned,
    keep_alive_s,
    priority,
)


@dataclass(frozen=True)
class DeathsView:
    """Deaths of a model's processes that vramd did not cause."""

    strikes: int
    """Those that count now."""
    limit: int
    """Strikes from which on it is quarantined; 0: it never is."""
    exit: Exit
    """How the last one ended."""
    message: str
    """The same in words."""
    quarantined_s: float | None
    """Seconds until its quarantine ends."""
    returns_s: float | None
    """Seconds until it is loaded again by itself."""
    probation: bool
    """One more death quarantines it again."""


@dataclass(frozen=True)
class ModelView:
    spec: Model
    state: ModelState
    listed: bool
    """The catalogue has it."""
    changed: bool
    """A caller has changed how long it stays or how urgent it is."""
    pinned: bool
    keep_alive_s: float
    """Seconds that it stays after its last use, where a load does not say."""
    priority: Priority
    """Default priority of its requests."""
    worker_id: int
    """0 without a process."""
    plan: Plan | None
    context_tokens: int
    """Context of a process that is ready."""
    has_place: bool
    deaths: DeathsView | None
    """Of late."""

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def cautions(self) -> tuple[str, ...]:
        """Effects of its settings on its answers; of an unloaded model, of the settings for its next load."""
        if self.plan:
            return self.plan.cautions
        file = self.spec.source
        if not isinstance(file, ModelFile) or file.problem:
            return ()
        return cautions(file, decide(file, self.spec.options, 1, HOST))

    @property
    def known(self) -> bool:
        """Whether callers find it: it is listed, or still there although its file is gone."""
        return self.listed or self.state is not ModelState.UNLOADED


@dataclass(frozen=True)
class Resident:
    """A model that has a process, waits for one, or may have none for a while."""

    model: str
    worker_id: int
    state: ModelState
    pid: int
    reserved: Mapping[str, int]
    """Bytes per device."""
    parallel: int
    in_flight: int
    queued: int
    loaded_s: float | None
    """Seconds since it became ready."""
    last_used_s: float | None
    """Seconds since its last request began or ended."""
    pinned: bool
    context_tokens: int
    plan: Plan | None
    """How it was placed; None while it waits for room."""
    holders: tuple[str, ...]
    keep_alive_s: float | None
    """Seconds that it stays after its last use; None while it has no process."""
    keep_alive_left_s: float | None
    """Seconds until it is unloaded if it stays idle; None if it will not be."""
    priority: Priority
    """Default priority of its requests."""
    deaths: DeathsView | None
    """Of late."""


@dataclass(frozen=True)
class ReservationView:
    """Bytes that are kept free for another program."""

    id: int
    device: str
    size_bytes: int
    taken_bytes: int
    """Bytes of these that others took since the grant."""
    label: str
    left_s: float
    """Seconds until it ends by itself."""


@dataclass(frozen=True)
class DeviceBooks:
    """Bytes of a device in the ledger."""

    total_bytes: int
    budget_bytes: int
    reserved_bytes: int
    external_bytes: int
    headroom_bytes: int
    free_bytes: int
    pressure: Level = Level.NONE


def _deaths(state: CoreState, model: ModelRuntime, now_s: float) -> DeathsView | None:
    history, current = model.restarts, model.current
    ready_for_s = None if current is None or current.ready_s is None else now_s - current.ready_s
    proven = current is not None and is_proven(ready_for_s, answered=current.answered)
    strikes = [] if history.probation and proven else history.recent(now_s)
    probation = history.probation and not proven
    if not (strikes or probation):
        return None
    return DeathsView(
        strikes=len(strikes),
        limit=state.limits.strikes,
        exit=history.strikes[-1].exit,
        message=history.strikes[-1].words,
        quarantined_s=history.quarantined_until_s - now_s if history.is_quarantined(now_s) else None,
        returns_s=max(0.0, history.returns_s - now_s) if model.state is ModelState.BACKOFF else None,
        probation=probation,
    )


def model_view(state: CoreState, model: ModelRuntime) -> ModelView:
    """A model, frozen."""
    current = model.current
    return ModelView(
        spec=model.spec,
        state=model.state,
        listed=model.listed,
        changed=is_changed(model),
        pinned=is_pinned(model),
        keep_alive_s=keep_alive_s(model),
        priority=priority(model),
        worker_id=current.id if current else 0,
        plan=current.plan if current else None,
        context_tokens=current.context_tokens if current else 0,
        has_place=has_place(model),
        deaths=_deaths(state, model, state.now_s),
    )


def residents(state: CoreState, now_s: float) -> list[Resident]:
    """Every model that is not UNLOADED, by id."""
    models = sorted(state.models.items())
    return [_resident(state, model, now_s) for _, model in models if model.state is not ModelState.UNLOADED]


def resident(state: CoreState, model_id: str, now_s: float) -> Resident | None:
    """One of them; None if it is UNLOADED or unknown."""
    model = state.models.get(model_id)
    return _resident(state, model, now_s) if model and model.state is not ModelState.UNLOADED else None


def gone(state: CoreState, model_id: str) -> Refusal | None:
    """Why a model that was ready a moment ago has no process; None while it has one."""
    model = state.models.get(model_id)
    if model and model.current:
        return None
    because = model.because if model else None
    words = because.words if because else "it is no longer known"
    text = f"{model_id} has gone as soon as it was ready: {words}; `vramd logs {model_id}` says more"
    if because and because.cause is Cause.CRASHED:
        return refusal(Reason.WORKER_CRASHED, text, model=model_id, exit=words)
    return refusal(Reason.MODEL_UNLOADED, text, model=model_id)


def _resident(state: CoreState, model: ModelRuntime, now_s: float) -> Resident:
    current = model.current
    ready_s = current.ready_s if current else None
    return Resident(
        model=model.id,
        worker_id=current.id if current else 0,
        state=model.state,
        pid=current.pid if current else 0,
        reserved=dict(state.ledger.rows[current.id]) if current else {},
        parallel=current.plan.settings.parallel if current and current.plan else 0,
        in_flight=len(current.in_flight) if current else 0,
        queued=len(model.queue),
        loaded_s=None if ready_s is None else now_s - ready_s,
        last_used_s=None if current is None or not current.used else now_s - current.last_used_s,
        pinned=is_pinned(model),
        context_tokens=current.context_tokens if current else 0,
        plan=current.plan if current else None,
        holders=tuple(hold.caller for hold in model.holds.values()),
        keep_alive_s=current.keep_alive_s if current else None,
        keep_alive_left_s=_keep_alive_left_s(state, model, now_s),
        priority=priority(model),
        deaths=_deaths(state, model, now_s),
    )


def _keep_alive_left_s(state: CoreState, model: ModelRuntime, now_s: float) -> float | None:
    current = model.current
    if current is None or not is_idle(model) or is_kept(model) or current.id in resident_ids(state):
        return None
    return None if current.stays_until_s == math.inf else max(0.0, current.stays_until_s - now_s)


def reservations(state: CoreState, now_s: float) -> list[ReservationView]:
    """Every reservation that stands, by id."""
    return [
        ReservationView(
            one.id,
            one.device,
            one.size_bytes,
            state.ledger.arrived_bytes(one.id, one.device),
            one.label,
            max(0.0, one.until_s - now_s),
        )
        for _, one in sorted(state.reservations.items())
    ]


def taken_bytes(state: CoreState, device: str) -> int:
    """Bytes that living processes which were ready once hold on a device in the ledger.

    This replaces a driver's figure where it gives none. It excludes loading processes, which still grow, and exited
    ones, whose release time is unknown.
    """
    living = [i.id for i in state.workers.values() if i.ready_s is not None and not i.exited]
    return state.ledger.held_bytes(living, device)


def ready_pids(state: CoreState) -> list[int]:
    """Process ids of all that have loaded their model."""
    return [i.pid for i in state.workers.values() if i.ready_s is not None and not i.exited]


def books(state: CoreState) -> dict[str, DeviceBooks]:
    """Bytes of each device in the ledger."""
    ledger = state.ledger
    return {
        device: DeviceBooks(
            account.total_bytes,
            account.budget_bytes,
            ledger.reserved_bytes(device),
            account.external_bytes,
            account.headroom_bytes,
            max(0, ledger.free_bytes(device)),
            state.pressures[device].level,
        )
        for device, account in ledger.accounts.items()
    }
