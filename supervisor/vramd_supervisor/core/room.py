"""Decides whether a load or a reservation may begin now, and if not, the steps that come first. Pure; changes nothing.

`admission` carries the decisions out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from typing import TypeAlias

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.causes import Awaited, Because
from ..domain.errors import Refusal, in_words, refusal
from ..domain.quote import Plan
from .core_state import CoreState
from .eviction import Candidate, EvictionIndex, freed, victims
from .ledger import Ledger
from .pressure import OTHERS, WINDOW_S
from .state import COMING, GOING, MOST_NAMED, ModelRuntime, Phase, is_idle, is_kept, why_kept


@dataclass(frozen=True)
class Claim:
    """The need of a load or a reservation."""

    name: str
    ways: Sequence[Mapping[str, int]]
    """Bytes per device of each way in which it can have its room, best first."""
    is_load: bool = True


@dataclass(frozen=True)
class Begin:
    """There is room, in this one of the ways."""

    way: int


@dataclass(frozen=True)
class Evict:
    """There is room once these processes are gone."""

    worker_ids: tuple[int, ...]
    missing_bytes: Mapping[str, int]
    way: int
    """For this one of the ways."""
    because: Because | None = None
    """If not for bytes."""


@dataclass(frozen=True)
class Wait:
    """Room comes by itself: memory is on its way back, or busy models will be idle."""

    missing_bytes: Mapping[str, int]
    awaited: Awaited
    message: str
    way: int
    """For this one of the ways."""
    because: Because | None = None
    """If not for bytes."""
    drain: tuple[int, ...] = ()
    """Processes, some of them busy, to be drained if it shall not wait until they are idle."""


Admission: TypeAlias = Begin | Evict | Wait | Refusal


def decide_admission(state: CoreState, claim: Claim, replaced: ModelRuntime | None = None) -> Admission:
    """Decides about one claim. Beyond bytes, four conditions may delay a load, and never have it refused for memory.

    1. A device whose headroom others need takes no load: there is another way, or it waits for the device to reopen.
       Idle models are evicted for it meanwhile, so that this comes sooner.
    2. A load that fits beside others' present bytes, but not beside their most within the last minute, waits.
    3. Models that may not be resident beside it are evicted first.
    4. Where processes die too often, it waits for the load of another model.

    `replaced`: see `may_go`.
    """
    index = EvictionIndex(state, for_load=claim.is_load, replaced=replaced)
    decision = find_room(state, claim, index)
    if not claim.is_load or (isinstance(decision, Refusal) and decision.reason is Reason.MODEL_TOO_LARGE):
        return decision
    closed = {device for device in state.pressures if state.is_closed(device)}
    closed = closed and {device for way in claim.ways for device, need in way.items() if need and device in closed}
    if closed:  # 1
        ways = [place for place, way in enumerate(claim.ways) if not any(way.get(device) for device in closed)]
        detour = replace(claim, ways=[claim.ways[place] for place in ways])
        around = find_room(state, detour, index) if ways else None
        if around and not isinstance(around, Refusal):
            decision = replace(around, way=ways[around.way])
        elif isinstance(decision, Begin | Refusal):
            shut = next(place for place in range(len(claim.ways)) if place not in ways)
            words = f"waits until {OTHERS} leave enough of {', '.join(sorted(closed))}"
            return Wait({}, Awaited.OTHER_PROGRAMS, words, shut)
    if not isinstance(decision, Refusal) and (wait := _until_steady(state, claim, index, decision)):  # 2
        return wait
    if isinstance(decision, Begin | Evict) and (wait := _until_alone(state, decision.way)):  # 4
        return wait
    if isinstance(decision, Begin):
        return enforce_exclusion(state, state.models[claim.name], decision.way, index) or decision  # 3
    return decision


def enforce_exclusion(
    state: CoreState, model: ModelRuntime, way: int, index: EvictionIndex
) -> Evict | Wait | Refusal | None:
    """Decides which models have to leave before one may begin, whatever their bytes; None if none.

    1. All others of its group.
    2. Those beyond `at_most_resident`: first what is going anyway, then in order of eviction.
    """
    there = [(worker, worker.owner) for worker in state.workers.values() if worker.owner]
    group, most = model.spec.group, state.config.scheduling.at_most_resident
    rivals = [
        (worker, owner) for worker, owner in there if group and owner.spec.group == group and owner is not model
    ]  # 1
    because = causes.group_of(model.id, group)
    if not rivals and most and len(there) >= most:  # 2
        because = causes.limit_of(most)
        going = sum(owner is model and worker.phase is Phase.ENDING for worker, owner in there)
        in_turn = [*index.ending, *index.draining, *sorted(index.idle + index.busy), *index.loading, *index.protected]
        others = [
            (one.worker, one.worker.owner) for one in in_turn if one.worker.owner and one.worker.owner is not model
        ]
        rivals = others[: max(0, len(there) - going + 1 - most)]
    if not rivals:
        return None
    leaving = {Phase.DRAINING, Phase.ENDING}
    if kept := [owner for worker, owner in rivals if is_kept(owner) and worker.phase not in leaving]:
        names = ", ".join(owner.id for owner in kept)
        told = ", ".join(f"{owner.id} ({why_kept(owner)})" for owner in kept)
        text = f"{because.words}, and {told} may not leave; unpin it, or end the hold"
        return refusal(Reason.RESIDENCY_EXHAUSTED, text, model=model.id, heldBy=names)
    # A further process of a rival, in the place of which another was to come, or the other way round, goes by itself.
    serving = [(worker, owner) for worker, owner in rivals if owner.current is worker]
    if idle := tuple(worker.id for worker, owner in serving if is_idle(owner) and not worker.exited):
        return Evict(idle, {}, way, because)
    drain = tuple(worker.id for worker, owner in serving if owner.state not in GOING | COMING)
    names = ", ".join(dict.fromkeys(owner.id for _, owner in rivals))
    return Wait({}, Awaited.EXCLUSION, f"{because.words}: waits until {names} is gone", way, because, drain)


def _until_steady(state: CoreState, claim: Claim, index: EvictionIndex, decision: Begin | Evict | Wait) -> Wait | None:
    """A wait for others to leave what they took of late, unless the decision holds beside that as well."""
    ledger, way = state.ledger, claim.ways[decision.way]
    leaving = decision.worker_ids if isinstance(decision, Evict) else ()
    leaving = decision.drain if isinstance(decision, Wait) else leaving
    if all(map(ledger.is_steady, way)) or not (leaving or isinstance(decision, Begin)):
        return None
    # Nothing is evicted for room that would not be used yet.
    gone = index.reused + index.going if leaving else index.reused
    free = freed({d: ledger.steady_free_bytes(d) + ledger.held_bytes(leaving, d) for d in way}, gone)
    missing = lacking(way, free)
    words = f"{OTHERS} took more of {', '.join(missing)} within the last {WINDOW_S:g} s"
    return Wait(missing, Awaited.OTHER_PROGRAMS, words, decision.way) if missing else None


def _until_alone(state: CoreState, way: int) -> Wait | None:
    """A wait for the load in progress, if loads begin one at a time."""
    if not state.breaker.is_open(state.now_s):
        return None
    loading = sorted(one.name for one in state.workers.values() if one.phase is Phase.LOADING)
    words = f"processes die too often: waits for the load of {', '.join(loading[:MOST_NAMED])}"
    return Wait({}, Awaited.OTHER_LOADS, words, way) if loading else None


def find_room(state: CoreState, claim: Claim, index: EvictionIndex) -> Admission:
    """Decides by bytes alone.

    1. No way stays within the budgets: refuse, it can never fit.
    2. For each way in turn:
       a. it fits into what is free: begin;
       b. it fits once those that end anyway are gone: wait;
       c. it fits once some idle ones are gone too: evict them, least recently used first.
    3. Some way fits once busy ones have become idle: wait.
    4. Something is still on its way out: wait and look again, a device may show its bytes as others' meanwhile.
    5. Pinned models, reservations or other programs hold the rest: refuse, naming them.
    """
    ledger = state.ledger
    feasible = [(place, way) for place, way in enumerate(claim.ways) if ledger.is_within_budgets(way)]
    if not feasible:  # 1
        return _too_large(claim, ledger)
    devices = {device for _, way in feasible for device in way}
    free = freed({device: ledger.free_bytes(device) for device in devices}, index.reused)
    soon = freed(free, index.going)
    for place, way in feasible:  # 2
        missing = lacking(way, free)
        if not missing:
            return Begin(place)  # 2a
        short = lacking(way, soon)
        if not short:
            return Wait(missing, *_awaited(missing, index), place)  # 2b
        if (picked := victims(index.idle, short)) is not None:
            return Evict(picked, missing, place)  # 2c
    busy = index.busy + index.loading
    at_most = freed(soon, index.idle, busy)
    for place, way in feasible:  # 3
        if not lacking(way, at_most):
            in_turn = sorted(index.idle + index.busy) if index.idle else index.busy
            drain = victims(in_turn, lacking(way, soon)) or ()
            message = f"waits until one of these is idle: {_names(busy)}"
            return Wait(lacking(way, free), Awaited.BUSY_MODELS, message, place, drain=drain)
    place, way = feasible[0]
    if index.going:  # 4
        missing = lacking(way, free)
        return Wait(missing, *_awaited(missing, index), place)
    return _exhausted(state, claim, way, index, next(iter(lacking(way, free))))  # 5


def with_alternatives(why: Refusal, alternatives: Sequence[Plan]) -> Refusal:
    """The same refusal, with settings that would fit and what they need."""
    if not alternatives:
        return why
    ways = "; or ".join(
        f"{', '.join(plan.degraded)} ({in_words(plan.quote.total_bytes)} in all)" for plan in alternatives
    )
    return replace(why, message=f"{why.message}; what would fit: {ways}")


def lacking(way: Mapping[str, int], free: Mapping[str, int]) -> dict[str, int]:
    """Bytes per device that the way lacks."""
    return {device: need - free[device] for device, need in way.items() if need > free[device]}


def _too_large(claim: Claim, ledger: Ledger) -> Refusal:
    device, need = next(
        (device, need) for device, need in claim.ways[-1].items() if need > ledger.accounts[device].budget_bytes
    )
    budget = ledger.accounts[device].budget_bytes
    numbers = {"device": device, "neededBytes": need, "budgetBytes": budget}
    text = f"{claim.name} needs {in_words(need)} on {device}, which may give {in_words(budget)} in all; "
    if not claim.is_load:
        text += "a smaller one, or a larger budget would help"
        return refusal(Reason.RESERVATION_TOO_LARGE, text, **numbers)
    text += "a smaller context, fewer parallel sequences, a smaller quantization or a larger budget would help"
    return refusal(Reason.MODEL_TOO_LARGE, text, model=claim.name, **numbers)


def _awaited(missing: Mapping[str, int], index: EvictionIndex) -> tuple[Awaited, str]:
    """Says the reason for which a claim waits that needs no more evictions."""
    working = [one for device in missing for one in index.draining if one.held_bytes.get(device)]
    if working:
        return Awaited.BUSY_MODELS, f"waits until these have ended what they do: {_names(working)}"
    return Awaited.MEMORY, "waits until the memory of an ended process is back"


def _names(some: Sequence[Candidate]) -> str:
    named = sorted({one.worker.name for one in some[:MOST_NAMED]})
    return ", ".join(named) + (f" and {len(some) - MOST_NAMED} more" if len(some) > MOST_NAMED else "")


def _exhausted(state: CoreState, claim: Claim, way: Mapping[str, int], index: EvictionIndex, device: str) -> Refusal:
    ledger = state.ledger
    if claim.is_load and not ledger.accounts[device].total_bytes:
        text = (
            f"{claim.name} needs {device}, which gives no answer; `vramd devices` shows it, its driver's log says why"
        )
        return refusal(Reason.GPU_LOST, text, model=claim.name, device=device)
    free = max(0, ledger.free_bytes(device))
    own = {one.worker.id for one in index.reused}
    held = {row: needs[device] for row, needs in ledger.rows.items() if needs.get(device) and row not in own}
    most = sorted(nlargest(MOST_NAMED, held, key=lambda row: held[row]))
    named = [(state.name_of(row), held[row], state.why_protected(row)) for row in most]
    named.append((f"{len(held) - len(most)} more", sum(held.values()) - sum(held[row] for row in most), ""))
    budget = in_words(ledger.accounts[device].budget_bytes) if ledger.is_budget_the_limit(device) else ""
    if not budget:  # else what they take counts for nothing
        named.append(("other programs", ledger.accounts[device].external_bytes, ""))
    words = (f"{name} {in_words(size)}" + (f" ({bond})" if bond else "") for name, size, bond in named if size)
    by = ", ".join(words) or "nobody"
    numbers = {"device": device, "neededBytes": way[device], "freeBytes": free, "heldBy": by}
    of = f" of the budget of {budget}" if budget else ""
    last = f"raise the budget (devices.{device}.budget)" if budget else "close a program that uses the device"
    text = (
        f"{claim.name} needs {in_words(way[device])} on {device}, {in_words(free)}{of} are free; held by: {by}; "
        f"unpin or unload a model, end a hold, release a reservation, or {last}"
    )
    if not claim.is_load:
        return refusal(Reason.RESERVATION_EXHAUSTED, text, **numbers)
    return refusal(Reason.MEMORY_EXHAUSTED, text, model=claim.name, **numbers)
