"""An engine without weights: declared bytes, seconds and rates, and bad manners by name.

It serves tests, and users who want to try a configuration on a card that they do not have.
"""

from vramd_worker.simulated.engine import SimulatedEngine, SimulatedSpec
from vramd_worker.simulated.manners import Manner

__all__ = ["Manner", "SimulatedEngine", "SimulatedSpec"]
