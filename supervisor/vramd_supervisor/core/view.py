"""What the core knows, as those who look at it get it. Pure; only reads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vramd_common.reasons import Reason

from ..domain.causes import Cause
from ..domain.config import Priority
from ..domain.errors import Refusal, refusal
from ..domain.quote import Plan
from .holders import is_idle
from .pressure import Level
from .state import Entry, ModelState, is_kept, is_pinned, priority
from .world import World


@dataclass(frozen=True)
class Resident:
    """A model that has a process, or waits for one."""

    model: str
    incarnation: int
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
    """Who holds it."""
    keep_alive_s: float | None
    """Seconds that it stays after its last use; None while it has no process."""
    keep_alive_left_s: float | None
    """Seconds until it leaves if nobody uses it; None while that is not to come."""
    priority: Priority
    """Of requests that do not say."""


@dataclass(frozen=True)
class Reservation:
    """Bytes that are kept free for another program."""

    id: int
    device: str
    size_bytes: int
    taken_bytes: int
    """Of these, what others took since the grant."""
    label: str
    left_s: float
    """Until it ends by itself."""


@dataclass(frozen=True)
class DeviceBooks:
    """What the ledger says of a device."""

    total_bytes: int
    budget_bytes: int
    reserved_bytes: int
    external_bytes: int
    headroom_bytes: int
    free_bytes: int
    pressure: Level = Level.NONE


def residents(world: World, now_s: float) -> list[Resident]:
    """Every model that is not UNLOADED, by id."""
    entries = sorted(world.entries.items())
    return [_resident(world, entry, now_s) for _, entry in entries if entry.state is not ModelState.UNLOADED]


def resident(world: World, model: str, now_s: float) -> Resident | None:
    """One of them; None if it is UNLOADED or unknown."""
    entry = world.entries.get(model)
    return _resident(world, entry, now_s) if entry and entry.state is not ModelState.UNLOADED else None


def gone(world: World, model: str) -> Refusal | None:
    """Why a model that was ready a moment ago has no process; None while it has one."""
    entry = world.entries.get(model)
    if entry and entry.current:
        return None
    because = entry.because if entry else None
    words = because.words if because else "it is no longer known"
    text = f"{model} has gone as soon as it was ready: {words}; `vramd logs {model}` says more"
    if because and because.cause is Cause.CRASHED:
        return refusal(Reason.WORKER_CRASHED, text, model=model, exit=words)
    return refusal(Reason.MODEL_UNLOADED, text, model=model)


def _resident(world: World, entry: Entry, now_s: float) -> Resident:
    current = entry.current
    ready_s = current.ready_s if current else None
    return Resident(
        model=entry.model.id,
        incarnation=current.id if current else 0,
        state=entry.state,
        pid=current.pid if current else 0,
        reserved=dict(world.ledger.rows[current.id]) if current else {},
        parallel=current.plan.settings.parallel if current and current.plan else 0,
        in_flight=len(current.in_flight) if current else 0,
        queued=len(entry.queue),
        loaded_s=None if ready_s is None else now_s - ready_s,
        last_used_s=None if current is None or not current.used else now_s - current.last_used_s,
        pinned=is_pinned(entry),
        context_tokens=current.context_tokens if current else 0,
        plan=current.plan if current else None,
        holders=tuple(hold.caller for hold in entry.holds.values()),
        keep_alive_s=current.keep_alive_s if current else None,
        keep_alive_left_s=_keep_alive_left_s(world, entry, now_s),
        priority=priority(entry),
    )


def _keep_alive_left_s(world: World, entry: Entry, now_s: float) -> float | None:
    current = entry.current
    if current is None or not is_idle(entry) or is_kept(entry) or world.standings.is_resident(current.id):
        return None
    return None if current.stays_until_s == math.inf else max(0.0, current.stays_until_s - now_s)


def reservations(world: World, now_s: float) -> list[Reservation]:
    """Every reservation that stands, by id."""
    return [
        Reservation(
            one.id,
            one.device,
            one.size_bytes,
            world.ledger.arrived_bytes(one.id, one.device),
            one.label,
            max(0.0, one.until_s - now_s),
        )
        for _, one in sorted(world.announced.items())
    ]


def taken_bytes(world: World, device: str) -> int:
    """What living processes that were ready once hold on a device in the ledger.

    Where a driver does not tell what our processes take, this is what is known of it: a load takes it bit by bit, and
    of the dead nobody knows when it is back.
    """
    living = [i.id for i in world.processes.values() if i.ready_s is not None and not i.exited]
    return world.ledger.held_bytes(living, device)


def ready_pids(world: World) -> list[int]:
    """Process ids of all that have loaded their model."""
    return [i.pid for i in world.processes.values() if i.ready_s is not None and not i.exited]


def books(world: World) -> dict[str, DeviceBooks]:
    """What the ledger says of each device."""
    ledger = world.ledger
    return {
        device: DeviceBooks(
            account.total_bytes,
            account.budget_bytes,
            ledger.reserved_bytes(device),
            account.external_bytes,
            account.headroom_bytes,
            max(0, ledger.free_bytes(device)),
            world.pressures[device].level,
        )
        for device, account in ledger.accounts.items()
    }
