"""An engine without weights: takes declared bytes and seconds, answers at a declared rate, shows faults by name.

It serves tests, and users who try a configuration for a card that they do not have.
"""

from vramd_worker.simulated.faults import Fault
from vramd_worker.simulated.simulated_engine import SimulatedEngine, SimulatedSpec

__all__ = ["Fault", "SimulatedEngine", "SimulatedSpec"]
