"""Where there is room for a load, or how it can be made. Pure; only decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vramd_proto.v1.reasons import Reason

from .errors import Refusal, in_words, refusal
from .ledger import Ledger
from .placement import Plan
from .policy import Candidate, victims


@dataclass(frozen=True)
class Begin:
    """There is room: load like this."""

    plan: Plan


@dataclass(frozen=True)
class Evict:
    """Room comes when these processes are gone."""

    incarnations: tuple[int, ...]
    missing_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Wait:
    """Room comes by itself: memory is on its way back, or those who hold it will be idle."""

    missing_bytes: Mapping[str, int]
    message: str


Decision = Begin | Evict | Wait | Refusal


@dataclass(frozen=True)
class Holders:
    """Who holds what in the ledger, seen from one load."""

    idle: Sequence[Candidate] = ()
    """May be ended now."""
    busy: frozenset[int] = frozenset()
    """May be ended once they are idle."""
    going: frozenset[int] = frozenset()
    """Are on their way out; what they hold counts as taken until it is back."""
    own: frozenset[int] = frozenset()
    """The spare that this load will use: its bytes are part of the load's need."""
    names: Mapping[int, str] = field(default_factory=dict)
    """What to call each row."""


def find_room(model: str, plans: Sequence[Plan], ledger: Ledger, holders: Holders) -> Decision:
    """Decides for one load; `plans` are its ways, best first.

    1. No way stays within the budgets: refuse, it can never fit.
    2. For each way in turn:
       a. it fits into what is free: begin;
       b. it fits once those on their way out are gone: wait;
       c. it fits once some idle ones are gone too: evict them, least recently used first.
    3. Some way fits once busy ones have become idle: wait.
    4. Pinned models or other programs hold the rest: refuse, naming them.
    """
    feasible = [plan for plan in plans if not _beyond_budget(plan, ledger)]
    if not feasible:  # 1
        return _too_large(model, plans[-1], ledger)
    for plan in feasible:  # 2
        missing = _missing(plan, ledger, holders, frozenset())
        if not missing:
            return Begin(plan)  # 2a
        short = _missing(plan, ledger, holders, holders.going)
        if not short:
            return Wait(missing, "memory of an ended process is on its way back")  # 2b
        if (picked := victims(holders.idle, short)) is not None:
            return Evict(picked, missing)  # 2c
    everybody = holders.going | holders.busy | {candidate.incarnation for candidate in holders.idle}
    for plan in feasible:  # 3
        if not _missing(plan, ledger, holders, everybody):
            names = ", ".join(sorted(holders.names[row] for row in holders.busy))
            return Wait(_missing(plan, ledger, holders, frozenset()), f"waits until one of these is idle: {names}")
    return _exhausted(model, feasible[0], ledger, holders)  # 4


def _missing(plan: Plan, ledger: Ledger, holders: Holders, gone: frozenset[int]) -> dict[str, int]:
    """Bytes per device that the plan lacks once `gone` have given back theirs."""
    missing = {}
    for device, need in plan.quote.devices.items():
        free = ledger.free_bytes(device) + ledger.held_bytes(holders.own | gone, device)
        if need.total_bytes > free:
            missing[device] = need.total_bytes - free
    return missing


def _beyond_budget(plan: Plan, ledger: Ledger) -> bool:
    return any(need.total_bytes > ledger.accounts[device].budget_bytes for device, need in plan.quote.devices.items())


def _too_large(model: str, plan: Plan, ledger: Ledger) -> Refusal:
    device, need = next(
        (device, need.total_bytes)
        for device, need in plan.quote.devices.items()
        if need.total_bytes > ledger.accounts[device].budget_bytes
    )
    budget = ledger.accounts[device].budget_bytes
    return refusal(
        Reason.MODEL_TOO_LARGE,
        f"{model} needs {in_words(need)} on {device}, which may give {in_words(budget)} in all; "
        "a smaller context, fewer parallel sequences, a smaller quantization or a larger budget would help",
        model=model,
        device=device,
        neededBytes=need,
        budgetBytes=budget,
    )


def _exhausted(model: str, plan: Plan, ledger: Ledger, holders: Holders) -> Refusal:
    device = next(iter(_missing(plan, ledger, holders, frozenset())))
    need = plan.quote.devices[device].total_bytes
    free = max(0, ledger.free_bytes(device))
    held = {
        holders.names[row]: needs[device]
        for row, needs in ledger.rows.items()
        if needs.get(device) and row not in holders.own
    }
    held["other programs"] = ledger.accounts[device].external_bytes
    by = ", ".join(f"{name} {in_words(size)}" for name, size in held.items() if size)
    return refusal(
        Reason.MEMORY_EXHAUSTED,
        f"{model} needs {in_words(need)} on {device}, {in_words(free)} are free; held by: {by or 'nobody'}; "
        "unpin or unload a model, or close a program that uses the device",
        model=model,
        device=device,
        neededBytes=need,
        freeBytes=free,
        heldBy=by,
    )
