"""Ends processes that hang. Pure: the shell finds out which do (`workers/progress.py`)."""

from vramd_common.reasons import Reason

from ..domain import causes
from ..domain.decisions import Decision, DecisionKind
from ..domain.errors import Refusal, refusal
from ..domain.receipt import Exit
from .core_state import CoreState, Handlers
from .deaths import blame
from .events import WorkerStalled
from .model import give_up_queue, stop
from .renewal import give_up_renewal
from .requests import interrupt
from .state import COMING, ModelRuntime, WorkerProcess


def stalled(state: CoreState, event: WorkerStalled) -> None:
    """Ends a process that makes no progress. A load goes to a new process if it cannot be the cause."""
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.exited or worker.stopping:
        return
    model = worker.owner
    if model and model.renewal and model.renewal.worker is worker:
        give_up_renewal(state, model, _load_stalled(model, event))
        return
    if model is None or model.current is not worker:
        stop(state, worker, causes.hung(event.how))
        return
    because = causes.hung(event.how)
    if model.state in COMING and not event.before:
        give_up_queue(state, model, _load_stalled(model, event))
    else:
        numbers = {"limit_s": event.limit_s}
        state.decide(Decision.because(because, DecisionKind.UNLOAD, model.id, worker.id, numbers=numbers))
        blame(state, model, worker, Exit.HUNG, event.how)
        for request in [state.requests[one] for one in sorted(worker.in_flight)]:
            interrupt(state, request, _hung(model, worker, event, streaming=request.sent))
    # It may have been on its way out for something else: this is how it ended.
    worker.leaves = because
    stop(state, worker, because)


HANDLERS: Handlers = {WorkerStalled: stalled}


def _hung(model: ModelRuntime, worker: WorkerProcess, event: WorkerStalled, *, streaming: bool) -> Refusal:
    reason = Reason.WORKER_CRASHED_MID_STREAM if streaming else Reason.WORKER_HUNG
    text = f"the process of {model.id} (pid {worker.pid}) is ended: {event.how}; `vramd logs {model.id}` says more"
    return refusal(reason, text, model=model.id, exit=f"hung: {event.how}")


def _load_stalled(model: ModelRuntime, event: WorkerStalled) -> Refusal:
    text = f"the load of {model.id} is ended: {event.how}; `vramd logs {model.id}` says more"
    return refusal(Reason.LOAD_TIMEOUT, text, model=model.id, limitS=f"{event.limit_s:g}")
