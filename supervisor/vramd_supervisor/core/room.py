"""Where there is room for a load or a reservation, or how it can be made. Pure; only decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest

from vramd_common.reasons import Reason

from ..domain.causes import Awaited, Because
from ..domain.errors import Refusal, in_words, refusal
from ..domain.quote import Plan
from .eviction import Candidate, EvictionIndex, freed, victims
from .ledger import Ledger
from .state import MOST_NAMED
from .world import CoreState


@dataclass(frozen=True)
class Wish:
    """A load, or a reservation that a caller announced."""

    name: str
    ways: Sequence[Mapping[str, int]]
    """Bytes per device of each way that it can have its room, best first."""
    is_load: bool = True


@dataclass(frozen=True)
class Begin:
    """There is room, in this one of the ways."""

    way: int


@dataclass(frozen=True)
class Evict:
    """Room comes when these processes are gone."""

    worker_ids: tuple[int, ...]
    missing_bytes: Mapping[str, int]
    way: int
    """For this one of the ways."""
    because: Because | None = None
    """If not for bytes."""


@dataclass(frozen=True)
class Wait:
    """Room comes by itself: memory is on its way back, or those who hold it will be idle."""

    missing_bytes: Mapping[str, int]
    awaited: Awaited
    message: str
    way: int
    """For this one of the ways."""
    because: Because | None = None
    """If not for bytes."""
    drain: tuple[int, ...] = ()
    """Who has to be sent away, some of them busy, if it shall not wait until they are idle."""


Decision = Begin | Evict | Wait | Refusal


def find_room(state: CoreState, wish: Wish, index: EvictionIndex) -> Decision:
    """Decides for one wish.

    1. No way stays within the budgets: refuse, it can never fit.
    2. For each way in turn:
       a. it fits into what is free: begin;
       b. it fits once those on their way out are gone: wait;
       c. it fits once some idle ones are gone too: evict them, least recently used first.
    3. Some way fits once busy ones have become idle: wait.
    4. Something is still on its way out: wait and look again, a device may show its bytes as others' meanwhile.
    5. Pinned models, reservations or other programs hold the rest: refuse, naming them.
    """
    ledger = state.ledger
    budgets = {device: account.budget_bytes for device, account in ledger.accounts.items()}
    feasible = [(place, way) for place, way in enumerate(wish.ways) if not lacking(way, budgets)]
    if not feasible:  # 1
        return _too_large(wish, ledger)
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
            drain = victims(sorted(index.idle + index.busy), lacking(way, soon)) or ()
            names = _names(busy)
            message = f"waits until one of these is idle: {names}"
            return Wait(lacking(way, free), Awaited.BUSY_MODELS, message, place, drain=drain)
    place, way = feasible[0]
    if index.going:  # 4
        missing = lacking(way, free)
        return Wait(missing, *_awaited(missing, index), place)
    return _exhausted(state, wish, way, index, next(iter(lacking(way, free))))  # 5


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


def _too_large(wish: Wish, ledger: Ledger) -> Refusal:
    device, need = next(
        (device, need) for device, need in wish.ways[-1].items() if need > ledger.accounts[device].budget_bytes
    )
    budget = ledger.accounts[device].budget_bytes
    numbers = {"device": device, "neededBytes": need, "budgetBytes": budget}
    text = f"{wish.name} needs {in_words(need)} on {device}, which may give {in_words(budget)} in all; "
    if not wish.is_load:
        text += "a smaller one, or a larger budget would help"
        return refusal(Reason.RESERVATION_TOO_LARGE, text, **numbers)
    text += "a smaller context, fewer parallel sequences, a smaller quantization or a larger budget would help"
    return refusal(Reason.MODEL_TOO_LARGE, text, model=wish.name, **numbers)


def _awaited(missing: Mapping[str, int], index: EvictionIndex) -> tuple[Awaited, str]:
    """What a wish waits for that needs nobody else to go."""
    working = [one for device in missing for one in index.draining if one.held_bytes.get(device)]
    if working:
        return Awaited.BUSY_MODELS, f"waits until these have ended what they do: {_names(working)}"
    return Awaited.MEMORY, "waits until the memory of an ended process is back"


def _names(some: Sequence[Candidate]) -> str:
    """Names the first MOST_NAMED."""
    named = sorted({one.worker.name for one in some[:MOST_NAMED]})
    return ", ".join(named) + (f" and {len(some) - MOST_NAMED} more" if len(some) > MOST_NAMED else "")


def _exhausted(state: CoreState, wish: Wish, way: Mapping[str, int], index: EvictionIndex, device: str) -> Refusal:
    ledger = state.ledger
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
        f"{wish.name} needs {in_words(way[device])} on {device}, {in_words(free)}{of} are free; held by: {by}; "
        f"unpin or unload a model, end a hold, release a reservation, or {last}"
    )
    if not wish.is_load:
        return refusal(Reason.RESERVATION_EXHAUSTED, text, **numbers)
    return refusal(Reason.MEMORY_EXHAUSTED, text, model=wish.name, **numbers)
