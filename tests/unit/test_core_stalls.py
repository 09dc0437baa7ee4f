"""A process that makes no progress is ended; what waits for it goes to a new one where that can help."""

import pytest
from support.core_scenes import Memory, state, three
from support.core_world import CoreWorld
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Decided, Interrupted, Load, ModelChanged, Refuse, Stop
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.decisions import DecisionKind


def loading(world: Memory) -> int:
    """Process of a load in progress."""
    while not isinstance(world.errands[0], Load):
        world.run_errand()
    load = world.errands.pop(0)
    assert isinstance(load, Load)
    return load.worker_id


def refusals(world: Memory) -> list[Reason]:
    return [one.refusal.reason for one in world.brought if isinstance(one, Refuse)]


def test_a_process_that_hangs_is_ended_and_a_request_that_may_not_go_on_hears_why() -> None:
    world = Memory(three(expendable=True))
    request = world.request("a")
    world.wait(0.0)
    hung = world.granted[request]
    world.stall(hung)
    assert state(world, "a") is ModelState.STOPPING
    assert [action for action in world.actions if isinstance(action, Stop)] == [Stop(hung)]
    (refused,) = [action for action in world.actions if isinstance(action, Refuse)]
    assert (refused.request, refused.refusal.reason) == (request, Reason.WORKER_HUNG)
    assert "decode has done nothing for 20 s" in refused.refusal.message
    world.wait(1.0)
    causes = [one.because.cause for one in world.brought if isinstance(one, ModelChanged)]
    assert causes[-2:] == [Cause.HUNG, Cause.HUNG]
    records = [one.decision for one in world.brought if isinstance(one, Decided)]
    ends = [one for one in records if one.kind is DecisionKind.UNLOAD]
    assert [(one.cause, one.worker_id) for one in ends] == [(Cause.HUNG, hung)], "its end is recorded once"


def test_a_process_that_hangs_in_the_middle_of_an_answer_aborts_it() -> None:
    world = Memory(three(expendable=True))
    request = world.request("a")
    world.wait(0.0)
    world.caller(request, "stream")
    world.stall(world.granted[request])
    (refused,) = [one for one in world.actions if isinstance(one, Refuse)]
    assert refused.refusal.reason is Reason.WORKER_CRASHED_MID_STREAM


def test_what_ran_on_a_process_that_hangs_goes_on_on_a_new_one() -> None:
    world = Memory(three())
    request = world.request("a")
    world.wait(0.0)
    hung = world.granted[request]
    world.stall(hung)
    (interrupted,) = [one for one in world.actions if isinstance(one, Interrupted)]
    assert (interrupted.request, interrupted.refusal.reason) == (request, Reason.WORKER_HUNG)
    world.wait(1.0)
    assert refusals(world) == []
    assert world.granted[request] != hung


def test_requests_that_wait_behind_a_hung_one_are_served_by_a_new_process() -> None:
    world = Memory(three(expendable=True))
    running = [world.request("a") for _ in range(3)]
    world.wait(0.0)
    hung = world.granted[running[0]]
    assert running[2] not in world.granted, "it waits for a place"
    world.stall(hung)
    world.wait(1.0)
    assert refusals(world) == [Reason.WORKER_HUNG] * 2
    assert world.granted[running[2]] != hung


def test_callers_that_hold_a_model_get_a_new_process() -> None:
    world = Memory(three())
    world.request("a", RequestKind.HOLD)
    world.wait(0.0)
    (hung,) = world.alive
    world.stall(hung)
    world.wait(1.0)
    assert state(world, "a") is ModelState.READY
    assert world.alive != {hung}


def test_a_load_that_hangs_is_given_up() -> None:
    world = Memory(three())
    world.request("a")
    world.stall(loading(world))
    world.wait(1.0)
    assert refusals(world) == [Reason.LOAD_TIMEOUT]
    assert state(world, "a") is ModelState.UNLOADED


def test_a_load_that_was_given_to_a_process_that_hung_before_goes_to_a_new_one() -> None:
    world = Memory(three())
    request = world.request("a")
    hung = loading(world)
    world.stall(hung, before=True)
    world.wait(1.0)
    assert refusals(world) == []
    assert world.granted[request] != hung


def test_a_new_process_that_hangs_beside_the_old_one_leaves_the_old_one_alone() -> None:
    world = Memory(three())
    world.request("a", RequestKind.LOAD)
    world.wait(0.0)
    (serving,) = world.alive
    world.restart("a")
    while not world.errands or not isinstance(world.errands[0], Load):
        world.run_errand()
    coming = world.errands.pop(0)
    assert isinstance(coming, Load)
    world.stall(coming.worker_id)
    world.wait(1.0)
    assert refusals(world) == [Reason.LOAD_TIMEOUT]
    assert world.alive == {serving}
    assert state(world, "a") is ModelState.READY


def test_a_spare_that_hangs_is_ended_and_another_one_started() -> None:
    world = CoreWorld()
    world.wait(0.0)
    spare = world.core.state.spare
    assert spare is not None
    world.stall(spare.id)
    assert Stop(spare.id) in world.actions
    world.wait(1.0)
    assert world.core.state.spare is not None
    assert world.alive == {world.core.state.spare.id} != {spare.id}


def test_one_that_hangs_while_it_drains_ends_as_hung() -> None:
    world = Memory(three())
    world.request("a")
    world.wait(0.0)
    (worker_id,) = world.alive
    world.unload("a")
    assert state(world, "a") is ModelState.DRAINING
    world.stall(worker_id)
    world.brought.clear()
    world.run_errand()
    causes = [one.because.cause for one in world.brought if isinstance(one, ModelChanged)]
    assert causes[0] is Cause.HUNG


@pytest.mark.parametrize("how", ["hangs", "dies"])
def test_a_pinned_one_that_is_unloaded_stays_away_however_it_ends(how: str) -> None:
    world = Memory(three(pinned=True))
    world.request("a")
    world.wait(0.0)
    (worker_id,) = world.alive
    world.unload("a")
    world.stall(worker_id) if how == "hangs" else world.crash(worker_id)
    for request in sorted(world.open_requests):
        world.caller(request, "cancel")
    world.wait(60.0)
    assert state(world, "a") is ModelState.UNLOADED
    assert not world.alive


def test_what_is_told_of_a_process_that_is_ending_changes_nothing() -> None:
    world = Memory(three())
    world.request("a", RequestKind.LOAD)
    world.wait(0.0)
    (worker_id,) = world.alive
    world.unload("a", force=True)
    world.stall(worker_id)
    assert world.actions == []
    world.wait(1.0)
    world.stall(worker_id)
    assert world.actions == []
