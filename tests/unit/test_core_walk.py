"""A random walk over the core: whatever happens in whatever order, the books stay right and nobody is forgotten."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.core_world import BUDGETS, MODELS, CoreWorld
from vramd_supervisor.core.state import ModelState, RequestKind

pytestmark = pytest.mark.slow

models = st.sampled_from(sorted(MODELS))
kinds = st.sampled_from([RequestKind.RUN, RequestKind.RUN, RequestKind.LOAD])
errands = st.lists(st.integers(0, 1 << 16), max_size=8)
"""Which of the things that the core has asked for are done next, in any order."""


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = CoreWorld()

    def go_on(self, done: list[int]) -> None:
        for number in done:
            if self.world.errands:
                self.world.run_errand(number % len(self.world.errands))

    @rule(calls=st.lists(st.tuples(models, kinds, st.sampled_from([None, 0.0, -1.0])), max_size=4), done=errands)
    def requests(self, calls: list[tuple[str, RequestKind, float | None]], done: list[int]) -> None:
        for model, kind, keep_alive_s in calls:
            self.world.request(model, kind, keep_alive_s=keep_alive_s)
            self.go_on(done[:1])
        self.go_on(done[1:])

    @precondition(lambda self: self.world.granted)
    @rule(data=st.data(), how=st.sampled_from(["stream", "end", "end", "cancel", "late end"]), done=errands)
    def running_caller(self, data: st.DataObject, how: str, done: list[int]) -> None:
        self.world.caller(data.draw(st.sampled_from(sorted(self.world.granted))), how)
        self.go_on(done)

    @precondition(lambda self: self.world.open_requests)
    @rule(data=st.data(), done=errands)
    def caller_leaves(self, data: st.DataObject, done: list[int]) -> None:
        self.world.caller(data.draw(st.sampled_from(sorted(self.world.open_requests))), "cancel")
        self.go_on(done)

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), done=errands)
    def crash(self, data: st.DataObject, done: list[int]) -> None:
        busy = sorted(set(self.world.granted.values()) & self.world.alive)
        self.world.crash(data.draw(st.sampled_from(busy or sorted(self.world.alive))))
        self.go_on(done)

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), before=st.booleans(), done=errands)
    def stall(self, data: st.DataObject, before: bool, done: list[int]) -> None:
        self.world.stall(data.draw(st.sampled_from(sorted(self.world.alive))), before=before)
        self.go_on(done)

    @precondition(lambda self: self.world.errands)
    @rule(data=st.data())
    def failed_errand(self, data: st.DataObject) -> None:
        self.world.fail_errand(data.draw(st.integers(0, len(self.world.errands) - 1)))

    @rule(
        what=st.sampled_from(["unload", "force", "restart", "pin", "time", "others", "rescan"]),
        data=st.data(),
        done=errands,
    )
    def something_else(self, what: str, data: st.DataObject, done: list[int]) -> None:
        if what in ("unload", "force"):
            self.world.unload(data.draw(models), force=what == "force")
        elif what == "restart":
            self.world.restart(data.draw(models), force=data.draw(st.booleans()))
        elif what == "pin":
            self.world.pin(data.draw(models), data.draw(st.booleans()))
        elif what == "time":
            self.world.next_timer()
        elif what == "others":
            self.world.sample(data.draw(st.sampled_from(sorted(BUDGETS))), data.draw(st.integers(0, 6)))
        else:
            self.world.rescan(without=data.draw(st.sampled_from([None, *sorted(MODELS)])))
        self.go_on(done)

    @rule(
        device=st.sampled_from(sorted(BUDGETS)),
        size=st.integers(1, 14),
        ttl_s=st.sampled_from([0.5, 5.0, 100.0]),
        done=errands,
    )
    def reserve(self, device: str, size: int, ttl_s: float, done: list[int]) -> None:
        self.world.announce(device, size, ttl_s)
        self.go_on(done)

    @precondition(lambda self: self.world.reserved)
    @rule(data=st.data(), done=errands)
    def release(self, data: st.DataObject, done: list[int]) -> None:
        self.world.release(data.draw(st.sampled_from(self.world.reserved)))
        self.go_on(done)

    @invariant()
    def nobody_lost(self) -> None:
        state = self.world.core.state
        assert self.world.open_requests == set(state.requests) | set(state.pending_reservations), (
            "somebody was never answered"
        )

    def teardown(self) -> None:
        """With all faults over, everybody is answered, and an end leaves nothing behind."""
        self.world.settle_down()
        self.nobody_lost()
        assert not self.world.core.state.queued, "somebody waits for ever"
        assert not self.world.core.state.pending_reservations, "a reservation waits for ever"
        self.world.shut_down()
        assert self.world.exited
        assert not self.world.core.state.requests
        assert not self.world.core.state.workers
        assert not self.world.core.state.ledger.rows
        assert all(entry.state is ModelState.UNLOADED for entry in self.world.core.state.models.values())
        assert self.world.answered == self.world.accepted


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
