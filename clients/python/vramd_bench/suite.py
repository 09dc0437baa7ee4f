"""Runs benchmarks by name."""

import importlib
from collections.abc import Callable, Sequence

from . import machine
from .figures import Result
from .report import Report
from .subject import Setup

Measure = Callable[[Setup, Callable[[str], None]], Result]


def run(names: Sequence[str], setup: Setup, say: Callable[[str], None]) -> Report:
    """Runs one after the other. Raises BenchError, VramdError, grpc.RpcError."""
    results = tuple(_measure(name)(setup, say) for name in names)
    size_bytes = setup.path.stat().st_size
    return Report(machine.look(), setup.path.name, size_bytes, setup.threads, setup.runs, setup.quick, results)


def _measure(name: str) -> Measure:
    measure: Measure = importlib.import_module(f"{__package__}.{name.replace('-', '_')}").measure
    return measure
