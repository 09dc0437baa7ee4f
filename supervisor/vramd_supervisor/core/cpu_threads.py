"""Decides how many CPU threads each generating worker gets. Pure.

Two workers that compute with more threads than there are cores stall each other in spin barriers (measured: 0.6
tokens/s instead of 114 each), so threads are a budget like bytes.
"""

from collections.abc import Mapping

from .actions import SetThreads
from .core_state import CoreState
from .state import WorkerProcess


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
    if min(before, len(wanted)) >= state.usable_cores:  # each has one, and keeps it
        if worker.id in wanted:
            state.threads[worker.id] = 1
        return
    known, state.threads = state.threads, shares(state.usable_cores, wanted)
    for worker_id, threads in state.threads.items():
        if known.get(worker_id, threads) != threads:
            state.emit(SetThreads(worker_id, threads))
