"""Handles samples of devices: how scarce their memory is, and which process has grown too large. Pure."""

from collections.abc import Collection

from ..domain import causes
from ..domain.causes import Because
from ..domain.decisions import Decision, DecisionKind
from ..domain.device_view import HOST
from ..domain.errors import in_words
from .actions import PressureChanged
from .core_state import CoreState, Handlers
from .events import DeviceSampled
from .model import drain, stop
from .pressure import Reading, explain
from .reconcile import reconcile
from .requests import abort, unloaded
from .state import ModelRuntime, Phase, WorkerProcess, is_pinned

SPARED_BYTES = 256 * (1 << 20)
SPARED_SHARE = 0.5
"""Share of its promise; the larger of the two is left to a process beyond it."""

WORKING = (Phase.SERVING, Phase.DRAINING)


def sampled(state: CoreState, event: DeviceSampled) -> None:
    """Takes in the bytes of other programs, now and recently, and how scarce the memory is; a lost device has none."""
    state.ledger.observe(event.device, event.total_bytes, event.external_bytes)
    if event.total_bytes:
        _press(state, event)
    for worker in list(state.workers.values()):
        model, size_bytes = worker.owner, event.taken_bytes.get(worker.pid, 0)
        if size_bytes and model and worker.phase in WORKING:
            _watch_growth(state, model, worker, event.device, size_bytes)


HANDLERS: Handlers = {DeviceSampled: sampled}


def _press(state: CoreState, event: DeviceSampled) -> None:
    device, ledger, used_bytes = event.device, state.ledger, event.used_bytes
    if used_bytes is None:
        ours_bytes = ledger.reserved_bytes(device) - ledger.held_bytes(state.reservations, device)
        used_bytes = min(event.total_bytes, event.external_bytes + ours_bytes)
    else:
        # Our bytes that a sample may count as others': of ending processes, or of loads where the driver does not tell.
        doubtful = {Phase.ENDING} if event.attributed else {Phase.ENDING, Phase.LOADING, Phase.SPARE}
        ledger.remember(device, event.at_s, _held_bytes(state, device, doubtful))
    account, before = ledger.accounts[device], state.pressures[device]
    reading = Reading(
        event.at_s,
        event.total_bytes,
        used_bytes,
        account.headroom_bytes,
        state.alarm_share(device),
        _held_bytes(state, device, {Phase.DRAINING, Phase.ENDING}),
        event.spilled_bytes,
    )
    after = state.pressures[device] = before.after(reading)
    if deficit_bytes := after.deficit_bytes(reading):
        state.headroom_deficit[device] = deficit_bytes
    if after.level is not before.level:
        free_bytes, words = max(0, reading.free_bytes), explain(after.level, reading)
        external_bytes, headroom_bytes = account.external_bytes, account.headroom_bytes
        state.emit(
            PressureChanged(device, before.level, after.level, free_bytes, external_bytes, headroom_bytes, words)
        )


def _held_bytes(state: CoreState, device: str, phases: Collection[Phase]) -> int:
    return state.ledger.held_bytes((one.id for one in state.workers.values() if one.phase in phases), device)


def _watch_growth(state: CoreState, model: ModelRuntime, worker: WorkerProcess, device: str, size_bytes: int) -> None:
    """Acts on a process that takes more than it may, or far more than when it was loaded.

    Beyond its `memory_limit` it is ended, whatever runs on it. Else its growth is booked, as far as the budget holds
    it, and told once while it works; and it is ended once it is idle: what made it grow may go on.
    """
    most_bytes = model.spec.memory_limit if device == HOST else None
    due_bytes = worker.outgrown.get(device) or max(
        state.ledger.rows[worker.id].get(device, 0), worker.measured.get(device, 0)
    )
    if most_bytes is not None and size_bytes > most_bytes:
        words = f"its process takes {in_words(size_bytes)} on {device}, its memory_limit is {in_words(most_bytes)}"
        because = _told(state, model, worker, device, size_bytes, most_bytes, f"{words}: it is ended")
        if worker.phase is Phase.SERVING:
            drain(state, model, because, within_s=0.0)
        abort(state, worker, unloaded(state, model, because.words))
        stop(state, worker, because)
        return
    if worker.phase is not Phase.SERVING or not due_bytes:
        return
    if size_bytes <= due_bytes + max(SPARED_BYTES, int(due_bytes * SPARED_SHARE)):
        return
    words = f"its process has grown to {in_words(size_bytes)} on {device}, of {in_words(due_bytes)} when it was loaded"
    if worker.in_flight:
        if device not in worker.outgrown:
            worker.outgrown[device] = due_bytes
            _told(state, model, worker, device, size_bytes, due_bytes, f"{words}; it is ended once nobody uses it")
        # What the budget does not hold is seen as scarce memory.
        reconcile(state, model, worker, {device: size_bytes})
        return
    text = f"{words}; nobody uses it now, so it is ended"
    drain(state, model, _told(state, model, worker, device, size_bytes, due_bytes, text))
    if is_pinned(model) and worker.plan:
        model.again = worker.plan.settings.again(worker.keep_alive_s)


def _told(
    state: CoreState,
    model: ModelRuntime,
    worker: WorkerProcess,
    device: str,
    size_bytes: int,
    promised_bytes: int,
    text: str,
) -> Because:
    because = causes.took_too_much(text)
    numbers = {f"{device}_bytes": float(size_bytes), "promised_bytes": float(promised_bytes)}
    state.decide(Decision.because(because, DecisionKind.GIVE_BACK, model.id, worker.id, numbers=numbers))
    return because
