"""An engine without weights: declared bytes, seconds and rates, and faults by name.

It serves tests, and users who want to try a configuration on a card that they do not have.
"""

from vramd_worker.simulated.faults import Fault
from vramd_worker.simulated.simulated_engine import SimulatedEngine, SimulatedSpec

__all__ = ["Fault", "SimulatedEngine", "SimulatedSpec"]
