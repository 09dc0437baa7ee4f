"""Decides how many CPU threads each generating worker gets. Pure.

Two workers that compute with more threads than there are cores stall each other in spin barriers (measured: 0.6
tokens/s instead of 114 each), so threads are a budget like bytes.
"""

from collections.abc import Mapping

from ..domain.decisions import Decision, DecisionKind
from .actions import SetThreads
from .core_state import CoreState, Handlers
from .events import CpuSampled
from .state import WorkerProcess

TELL_AGAIN_S = 60.0
"""Before it is told again that a process has fewer threads because of other programs."""


def shares(usable: int, wanted: Mapping[int, int]) -> dict[int, int]:
    """Threads of each worker that generates now, by its id.

    Each gets one, the rest goes round until all have what they want or nothing is left. With more workers than cores
    each still gets one: a single thread has no barrier to spin at, the system shares the cores out.
    """
    given = dict.fromkeys(sorted(wanted), 1)
    left = usable - len(given)
    while left > 0 and (hungry := [worker for worker, threads in given.items() if threads < wanted[worker]]):
        for worker in hungry[:left]:
            given[worker] += 1
        left -= len(hungry[:left])
    return given


def share_threads(state: CoreState, worker: WorkerProcess) -> None:
    """Shares the threads out again after a worker has begun or ended to generate; changes are passed on."""
    wanted, before, plan = state.threads_wanted, len(state.threads_wanted), worker.plan
    if plan and worker.in_flight and not worker.exited:
        wanted[worker.id] = plan.settings.threads
    else:
        wanted.pop(worker.id, None)
        state.threads.pop(worker.id, None)
    if len(wanted) == before:
        return
    if min(before, len(wanted)) >= state.cpu.left:  # each has one, and keeps it
        if worker.id in wanted:
            state.threads[worker.id] = 1
        return
    _share_out(state)


def cpu_sampled(state: CoreState, event: CpuSampled) -> None:
    """Takes in what other programs take of the cores, and shares out what they leave."""
    before = state.cpu
    state.cpu = before.after(event.cores, event.foreign_cores, follows=state.config.server.yield_cores)
    if state.cpu.left != before.left:
        _share_out(state)


HANDLERS: Handlers = {CpuSampled: cpu_sampled}


def _share_out(state: CoreState) -> None:
    """Shares the threads out; changes of workers that had some are passed on."""
    known, state.threads = state.threads, shares(state.cpu.left, state.threads_wanted)
    for worker_id, threads in state.threads.items():
        if known.get(worker_id, threads) != threads:
            state.emit(SetThreads(worker_id, threads))
            for request in state.workers[worker_id].in_flight:
                state.requests[request].threads.add(threads)
    if state.cpu.left < state.cpu.limit:
        _tell_of_others(state)


def _tell_of_others(state: CoreState) -> None:
    """Records which models have fewer threads than they would have without other programs."""
    cpu = state.cpu
    for worker_id, alone in shares(cpu.limit, state.threads_wanted).items():
        worker, threads = state.workers[worker_id], state.threads[worker_id]
        if threads == alone or state.now_s < worker.slowed_told_s + TELL_AGAIN_S:
            continue
        worker.slowed_told_s = state.now_s
        text = (
            f"computes with {threads} instead of {alone} CPU threads: other programs take {cpu.foreign_cores:.1f} cores"
        )
        numbers = {"threads": float(threads), "foreign_cores": round(cpu.foreign_cores, 2)}
        state.decide(Decision(DecisionKind.THREADS, worker.name, text, worker_id, numbers=numbers))
