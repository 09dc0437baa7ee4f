"""Which engines this installation has, and the one that is built for a load."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from vramd_worker import llama
from vramd_worker.engine import Engine
from vramd_worker.simulated import SimulatedEngine, SimulatedSpec

BuildEngine = Callable[[SimulatedSpec | llama.LlamaSpec, int], Engine]
"""Makes the engine of a load, from what is to be loaded and the CPU threads."""


@dataclass(frozen=True)
class Engines:
    """What the hello tells of llama.cpp; the simulated engine is always there."""

    llama_version: str
    """Of llama-cpp-python; empty without it."""
    llama_problem: str
    """Why it cannot be used, and what to do; empty if it can."""
    backends: tuple[str, ...]
    untested: bool
    """Any version of llama-cpp-python will do."""

    @classmethod
    def find(cls, untested: bool) -> "Engines":
        """Imports the binding, so that a load finds it warm; touches no backend."""
        found = llama.probe()
        problem = "" if untested and found.version else found.problem
        return cls(found.version, problem, found.backends, untested)

    def build(self, spec: SimulatedSpec | llama.LlamaSpec, threads: int) -> Engine:
        """An engine that is still to be loaded. Called in the main thread."""
        if isinstance(spec, SimulatedSpec):
            return SimulatedEngine(spec)
        return llama.LlamaEngine(replace(spec, untested=self.untested), threads)
