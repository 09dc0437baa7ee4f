"""Compares the bytes that a process really takes with those promised to it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vramd_common.reasons import Reason

from ..domain.device_view import HOST
from ..domain.errors import Refusal, in_words, refusal
from ..domain.quote import DeviceBytes, Plan, Source
from .core_state import CoreState
from .state import ModelRuntime, WorkerProcess


@dataclass(frozen=True)
class Overrun:
    """A process takes more than it may."""

    needs: Mapping[str, int]
    """Bytes that it takes of each device, or was promised where that is more."""
    message: str


def reconcile(
    state: CoreState, model: ModelRuntime, worker: WorkerProcess, measured: Mapping[str, int]
) -> Overrun | None:
    """Books what a process takes beyond its promise; None if it may stay.

    0. It takes more host memory than its `memory_limit`: it has to be given back.
    1. It takes no more than was promised, or what it takes is true by declaration: nothing changes.
    2. The budgets hold the rest: the row is raised.
    3. They do not, but no more than the headroom is touched: the row stays, and the pressure tells if that is scarce.
    4. Else it has to be given back.
    """
    ledger = state.ledger
    row = ledger.rows[worker.id]
    most_bytes = model.spec.memory_limit
    if most_bytes is not None and (took := measured.get(HOST, 0)) > most_bytes:  # 0
        limits = f"{in_words(took)} on {HOST}, its memory_limit is {in_words(most_bytes)}"
        return Overrun({**row, HOST: max(took, row.get(HOST, 0))}, f"{model.id} takes {limits}")
    over = {device: took - row[device] for device, took in measured.items() if took > row.get(device, took)}
    declared = worker.plan and worker.plan.quote.source is Source.DECLARED
    if not over or declared:  # 1
        return None
    needs = {device: need + over.get(device, 0) for device, need in row.items()}
    words = ", ".join(f"{in_words(size)} more on {device}" for device, size in over.items())
    accounts = ledger.accounts
    if all(ledger.reserved_bytes(d) + more <= accounts[d].budget_bytes for d, more in over.items()):  # 2
        state.promise(worker, needs, f"{model.id} takes {words} than was quoted")
        return None
    if all(more <= accounts[d].headroom_bytes for d, more in over.items()):  # 3
        return None
    return Overrun(needs, f"{model.id} takes {words} than was quoted, and the budget does not hold it")


def raised(plan: Plan, taken: Mapping[str, int]) -> Plan:
    """The same plan, needing at least what such a load was seen to take."""
    devices = {}
    for device, need in plan.quote.devices.items():
        more = max(0, taken.get(device, 0) - need.total_bytes)
        devices[device] = need.plus(DeviceBytes(process_bytes=more))
    return replace(plan, quote=replace(plan.quote, devices=devices))


def too_much(model: ModelRuntime, overrun: Overrun) -> Refusal:
    """Why a load is given up whose last try has taken too much."""
    device, need = max(overrun.needs.items(), key=lambda item: item[1])
    text = f"{overrun.message}; it is given up: a smaller context, or a larger budget would help"
    return refusal(
        Reason.MEMORY_EXHAUSTED, text, model=model.id, device=device, neededBytes=need, freeBytes=0, heldBy=model.id
    )
