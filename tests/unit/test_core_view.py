"""What the core tells those who look: who stays for how long, and why. One scene each, with the pure core."""

import pytest
from support.core_scenes import three, use, world_of
from support.core_world import CoreWorld
from vramd_common.reasons import Reason
from vramd_supervisor.core.events import ModelUpdated
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.core.view import Resident, gone, resident
from vramd_supervisor.domain.config import Priority


def seen(world: CoreWorld, model: str = "a") -> Resident:
    found = resident(world.core.state, model, world.now_s)
    assert found
    return found


def test_an_idle_model_counts_down_and_a_busy_one_does_not() -> None:
    world = world_of(three())
    use(world, "a")
    world.now_s += 20
    assert (seen(world).keep_alive_s, seen(world).keep_alive_left_s) == (60.0, 40.0)
    request = world.request("a")
    assert (seen(world).keep_alive_s, seen(world).keep_alive_left_s) == (60.0, None)
    world.caller(request, "end")
    assert seen(world).keep_alive_left_s == 60.0


def test_one_that_waits_for_room_has_no_time_yet() -> None:
    world = world_of(three())
    world.request("a")
    assert (seen(world).keep_alive_s, seen(world).keep_alive_left_s) == (None, None)


@pytest.mark.parametrize("why", ["pinned", "held", "kept for ever", "one of the last used"])
def test_one_that_stays_counts_nothing_down(why: str) -> None:
    world = world_of(three(), keep_resident=1 if why == "one of the last used" else 0)
    use(world, "a")
    if why == "pinned":
        world.pin("a", True)
    elif why == "held":
        world.request("a", RequestKind.HOLD, caller="game")
    elif why == "kept for ever":
        world.tell(ModelUpdated(world.now_s, "a", keep_alive_s=-1.0))
    world.now_s += 20
    assert seen(world).keep_alive_left_s is None
    assert seen(world).pinned == (why == "pinned")
    assert seen(world).holders == (("game",) if why == "held" else ())


def test_everybody_who_holds_is_named_until_he_leaves() -> None:
    world = world_of(three())
    first = world.request("a", RequestKind.HOLD, caller="game")
    world.wait(0.0)
    world.request("a", RequestKind.HOLD, caller="ipv4:127.0.0.1:5")
    assert seen(world).holders == ("game", "ipv4:127.0.0.1:5")
    world.caller(first, "cancel")
    assert seen(world).holders == ("ipv4:127.0.0.1:5",)


def test_what_was_changed_is_told_at_once() -> None:
    world = world_of(three())
    use(world, "a")
    assert seen(world).priority is Priority.INTERACTIVE
    world.tell(ModelUpdated(world.now_s, "a", keep_alive_s=600.0, priority=Priority.BATCH))
    assert (seen(world).keep_alive_s, seen(world).priority) == (600.0, Priority.BATCH)


@pytest.mark.parametrize("how", ["stays", "unloaded", "crashed", "forgotten"])
def test_a_load_whose_model_goes_at_once_says_how_it_went(how: str) -> None:
    world = world_of(three())
    use(world, "a")
    current = world.core.state.models["a"].current
    assert current
    if how == "unloaded":
        world.unload("a")
    elif how == "crashed":
        world.crash(current.id)
    elif how == "forgotten":
        world.unload("a")
        world.settle_down()
        world.rescan(without="a")
    world.wait(0.0) if how == "crashed" else world.settle_down()
    why = gone(world.core.state, "a")
    reasons = {"stays": None, "crashed": Reason.WORKER_CRASHED}
    assert (why and why.reason) == reasons.get(how, Reason.MODEL_UNLOADED)
