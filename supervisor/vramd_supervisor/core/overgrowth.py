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
from .state import Entry, Incarnation, ModelState, is_pinned
from .world import World

SPARED_BYTES = 256 * (1 << 20)
SPARED_SHARE = 0.5
"""Of what it may take; the larger of the two is left to a process beyond it."""


def seen(world: World, device: str, taken_bytes: Mapping[int, int]) -> None:
    """Takes in what processes take of a device now, by their pids: one far beyond its due has to go once it is idle."""
    for incarnation in list(world.processes.values()):
        entry = world.owners.get(incarnation.id)
        size_bytes = taken_bytes.get(incarnation.pid, 0)
        serves = entry is not None and entry.current is incarnation and entry.state is ModelState.READY
        if size_bytes and entry and serves and not incarnation.in_flight:
            _judge(world, entry, incarnation, device, size_bytes)


def _judge(world: World, entry: Entry, incarnation: Incarnation, device: str, size_bytes: int) -> None:
    due_bytes = max(world.ledger.rows[incarnation.id].get(device, 0), incarnation.measured.get(device, 0))
    if not due_bytes or size_bytes <= due_bytes + max(SPARED_BYTES, int(due_bytes * SPARED_SHARE)):
        return
    words = f"its process has grown to {in_words(size_bytes)} on {device}, of {in_words(due_bytes)} when it was loaded"
    because = causes.took_too_much(f"{words}; nobody uses it now, so it is ended")
    numbers = {f"{device}_bytes": float(size_bytes), "promised_bytes": float(due_bytes)}
    world.decide(Decision.because(because, DecisionKind.GIVE_BACK, entry.model.id, incarnation.id, numbers=numbers))
    drain(world, entry, because)
    if is_pinned(entry) and incarnation.plan:
        entry.again = incarnation.plan.settings.again(incarnation.keep_alive_s)
