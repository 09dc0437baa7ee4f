"""Runs benchmarks by name."""

from collections.abc import Callable, Mapping, Sequence

from . import ipc, machine, memory, profiles, swap, threads, two_models
from .figures import Result
from .report import Report
from .subject import Setup, running

Measure = Callable[[Setup, Callable[[str], None]], Result]

BENCHMARKS: Mapping[str, Measure] = {
    "ipc": ipc.measure,
    "swap": swap.measure,
    "memory": memory.measure,
    "two-models": two_models.measure,
    "threads": threads.measure,
    "profiles": profiles.measure,
}


def run(names: Sequence[str], setup: Setup, say: Callable[[str], None]) -> Report:
    """One after the other. Raises BenchError, VramdError, grpc.RpcError."""
    with running(setup, []) as subject:
        usable = subject.threads()
    results = tuple(BENCHMARKS[name](setup, say) for name in names)
    size_bytes = setup.path.stat().st_size
    return Report(machine.look(), setup.path.name, size_bytes, usable, setup.runs, setup.quick, results)
