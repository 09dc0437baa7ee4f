"""A random walk over the core: whatever happens in whatever order, the books stay right and nobody is forgotten."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.core_world import BUDGETS, MODELS, CoreWorld
from vramd_supervisor.state import ModelState, RequestKind

models = st.sampled_from(sorted(MODELS))


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = CoreWorld()

    @rule(model=models, kind=st.sampled_from([RequestKind.RUN, RequestKind.RUN, RequestKind.LOAD]))
    def request(self, model: str, kind: RequestKind) -> None:
        self.world.request(model, kind)

    @rule(model=models, force=st.booleans())
    def unload(self, model: str, force: bool) -> None:
        self.world.unload(model, force)

    @precondition(lambda self: self.world.open_requests)
    @rule(data=st.data(), how=st.sampled_from(["stream", "end", "cancel", "late end"]))
    def caller(self, data: st.DataObject, how: str) -> None:
        self.world.caller(data.draw(st.sampled_from(sorted(self.world.open_requests))), how)

    @precondition(lambda self: self.world.errands)
    @rule(data=st.data())
    def errand(self, data: st.DataObject) -> None:
        """Something that the core asked for is done: in any order."""
        self.world.run_errand(data.draw(st.integers(0, len(self.world.errands) - 1)))

    @precondition(lambda self: self.world.errands)
    @rule(data=st.data())
    def failed_errand(self, data: st.DataObject) -> None:
        self.world.fail_errand(data.draw(st.integers(0, len(self.world.errands) - 1)))

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.world.crash(data.draw(st.sampled_from(sorted(self.world.alive))))

    @precondition(lambda self: self.world.timers)
    @rule()
    def time_passes(self) -> None:
        self.world.next_timer()

    @rule(device=st.sampled_from(sorted(BUDGETS)), external=st.integers(0, 6))
    def others_take_memory(self, device: str, external: int) -> None:
        self.world.sample(device, external)

    @rule()
    def rescan(self) -> None:
        self.world.rescan()

    @invariant()
    def nobody_lost(self) -> None:
        assert self.world.open_requests == set(self.world.core.world.requests)

    def teardown(self) -> None:
        """With all faults over, everybody is answered, and an end leaves nothing behind."""
        self.world.settle_down()
        assert not self.world.core.world.queued, "somebody waits for ever"
        self.world.shut_down()
        assert self.world.exited
        assert not self.world.core.world.requests
        assert not self.world.core.world.processes
        assert all(entry.state is ModelState.UNLOADED for entry in self.world.core.world.entries.values())
        assert self.world.answered == self.world.accepted


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
