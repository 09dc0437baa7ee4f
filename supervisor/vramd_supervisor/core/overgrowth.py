"""Processes that grow far beyond what they took when they were ready. Pure; records facts, the scheduler concludes.

What a process takes on is nobody's: it was promised to no load, and what made it grow may go on. Requests that run are
served to their end; nobody who comes next needs the old process. A pinned model comes back by itself, as a held one
does.
"""

from collections.abc import Mapping

from ..domain import causes
from ..domain.decisions import Decision, DecisionKind
from ..domain.errors import in_words
from .callers import drain
from .state import ModelRuntime, ModelState, WorkerProcess, is_pinned
from .world import CoreState

SPARED_BYTES = 256 * (1 << 20)
SPARED_SHARE = 0.5
"""Of what it may take; the larger of the two is left to a process beyond it."""


def seen(state: CoreState, device: str, taken_bytes: Mapping[int, int]) -> None:
    """Takes in what processes take of a device now, by their pids: one far beyond its due has to go once it is idle."""
    for worker in list(state.workers.values()):
        model = worker.owner
        size_bytes = taken_bytes.get(worker.pid, 0)
        serves = model is not None and model.current is worker and model.state is ModelState.READY
        if size_bytes and model and serves and not worker.in_flight:
            _judge(state, model, worker, device, size_bytes)


def _judge(state: CoreState, model: ModelRuntime, worker: WorkerProcess, device: str, size_bytes: int) -> None:
    due_bytes = max(state.ledger.rows[worker.id].get(device, 0), worker.measured.get(device, 0))
    if not due_bytes or size_bytes <= due_bytes + max(SPARED_BYTES, int(due_bytes * SPARED_SHARE)):
        return
    words = f"its process has grown to {in_words(size_bytes)} on {device}, of {in_words(due_bytes)} when it was loaded"
    because = causes.took_too_much(f"{words}; nobody uses it now, so it is ended")
    numbers = {f"{device}_bytes": float(size_bytes), "promised_bytes": float(due_bytes)}
    state.decide(Decision.because(because, DecisionKind.GIVE_BACK, model.id, worker.id, numbers=numbers))
    drain(state, model, because)
    if is_pinned(model) and worker.plan:
        model.again = worker.plan.settings.again(worker.keep_alive_s)
