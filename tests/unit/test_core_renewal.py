"""A new process in the place of one that serves: what does not come out well leaves the old one as it is."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.core_world import MODELS, CoreWorld, plan
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import FindPlans, Load, Refuse, Report, Spawn, Stop
from vramd_supervisor.core.events import LoadLimitReached, LoadRefused
from vramd_supervisor.core.restarts import LEAST_BETWEEN_S
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.config import Config, SchedulingConfig, ServerConfig
from vramd_supervisor.domain.errors import refusal


def world_of(spare: bool = False) -> CoreWorld:
    return CoreWorld(Config(ServerConfig(spare=spare), SchedulingConfig()), spare=True)


def loaded(world: CoreWorld, name: str) -> int:
    """The model is ready; its process."""
    world.request(name, RequestKind.LOAD)
    world.wait(0.0)
    return serving(world, name)


def serving(world: CoreWorld, name: str) -> int:
    current = world.core.state.models[name].current
    return current.id if current else 0


def state(world: CoreWorld, name: str) -> ModelState:
    return world.core.state.models[name].state


def refused(world: CoreWorld) -> list[Reason]:
    return [action.refusal.reason for action in world.actions if isinstance(action, Refuse)]


def restart(world: CoreWorld) -> int:
    return world.restart("small")


def reload(world: CoreWorld) -> int:
    return world.request("small", RequestKind.LOAD, context_tokens=4096, reload=True)


HOW = pytest.mark.parametrize("how", [restart, reload], ids=lambda how: how.__name__)
Renew = Callable[[CoreWorld], int]


def until(world: CoreWorld, kind: type) -> int:
    """Has done what the core wants up to the next of this kind; its place."""
    for _ in range(20):
        for place, errand in enumerate(world.errands):
            if isinstance(errand, kind):
                return place
        world.run_errand()
    raise AssertionError(f"no {kind.__name__} comes")


def no_plan(world: CoreWorld) -> None:
    world.fail_errand(until(world, FindPlans))


def refused_load(world: CoreWorld) -> None:
    world.fail_errand(until(world, Load))


def dies_at_start(world: CoreWorld) -> None:
    world.fail_errand(until(world, Spawn))


def dies_at_load(world: CoreWorld) -> None:
    place = until(world, Load)
    errand = world.errands.pop(place)
    assert isinstance(errand, Load)
    world.crash(errand.worker_id)


def takes_too_long(world: CoreWorld) -> None:
    errand = world.errands[until(world, Load)]
    assert isinstance(errand, Load)
    world.tell(LoadLimitReached(world.now_s, errand.worker_id))


def too_large(world: CoreWorld) -> None:
    world.ways["small"] = (plan({"card": 99}),)
    world.run_errand(until(world, FindPlans))


def held_meanwhile(world: CoreWorld) -> None:
    world.request("small", RequestKind.HOLD)
    world.run_errand(until(world, FindPlans))


def held_while_it_loads(world: CoreWorld) -> None:
    place = until(world, Load)
    world.request("small", RequestKind.HOLD)
    world.run_errand(place)


def otherwise_again(world: CoreWorld) -> None:
    """The file has become one that decides by itself."""
    world.ways["small"] = (plan({"card": 2}, context_tokens=77),)
    world.run_errand(until(world, FindPlans))


def taken_by_a_reservation(world: CoreWorld) -> None:
    world.announce("card", 6)
    world.ways["small"] = (plan({"card": 3}),)
    world.run_errand(until(world, FindPlans))


FAILURES: dict[Callable[[CoreWorld], None], Reason] = {
    no_plan: Reason.MODEL_FILE_MISSING,
    refused_load: Reason.MODEL_FILE_INVALID,
    dies_at_start: Reason.WORKER_CRASHED,
    dies_at_load: Reason.WORKER_CRASHED,
    takes_too_long: Reason.LOAD_TIMEOUT,
    too_large: Reason.MODEL_TOO_LARGE,
    taken_by_a_reservation: Reason.MEMORY_EXHAUSTED,
}


@pytest.fixture
def world() -> CoreWorld:
    return world_of()


@HOW
@pytest.mark.parametrize("fails", FAILURES, ids=lambda how: how.__name__)
def test_what_fails_is_refused_and_the_old_process_goes_on(
    world: CoreWorld, how: Renew, fails: Callable[[CoreWorld], None]
) -> None:
    first = loaded(world, "small")
    running = world.request("small")
    request = how(world)
    fails(world)
    assert refused(world) == [FAILURES[fails]]
    assert request not in world.open_requests
    world.wait(0.0)
    assert serving(world, "small") == first
    assert running in world.granted
    assert world.granted[world.request("small")] == first
    assert len(world.alive) == len({one.id for one in world.core.state.workers.values()}), "nothing is left behind"


@pytest.mark.parametrize("fails", [held_meanwhile, held_while_it_loads, otherwise_again], ids=lambda how: how.__name__)
def test_a_reload_breaks_no_hold_and_ends_nothing_for_other_settings(
    world: CoreWorld, fails: Callable[[CoreWorld], None]
) -> None:
    first = loaded(world, "small")
    reload(world)
    fails(world)
    assert refused(world) == [Reason.MODEL_LOADED_DIFFERENTLY]
    world.wait(0.0)
    assert serving(world, "small") == first
    assert len(world.alive) == 1


@HOW
def test_the_old_process_serves_until_the_new_one_is_ready(world: CoreWorld, how: Renew) -> None:
    first = loaded(world, "small")
    request = how(world)
    load = until(world, Load)
    assert len(world.alive) == 2, "side by side"
    meanwhile = world.request("small")
    assert world.granted[meanwhile] == first
    world.run_errand(load)
    assert state(world, "small") is ModelState.DRAINING
    late = world.request("small")
    assert late not in world.granted
    world.caller(meanwhile, "end")
    world.wait(0.0)
    assert request not in world.open_requests
    assert world.granted[late] == serving(world, "small") != first
    assert list(world.alive) == [serving(world, "small")]


@HOW
def test_where_there_is_no_room_for_both_the_old_one_goes_first(world: CoreWorld, how: Renew) -> None:
    large = replace(MODELS["large"], id="small")
    world.models = {**MODELS, "small": large}
    world.rescan()
    first = loaded(world, "small")
    request = how(world)
    brought = world.wait(0.0)
    words = [a.message for a in brought if isinstance(a, Report) and a.request == request]
    assert any("there is no room for both: the old process goes first" in one for one in words)
    assert serving(world, "small") != first
    assert request not in world.open_requests


def test_the_room_of_another_model_is_not_taken_for_a_second_process(world: CoreWorld) -> None:
    loaded(world, "small")
    other = loaded(world, "middle")
    world.ways["small"] = (plan({"card": 4, "host": 1}),)
    world.restart("small")
    world.wait(0.0)
    assert serving(world, "middle") == other


def test_memory_that_runs_out_beside_the_old_process_is_that_processs(world: CoreWorld) -> None:
    first = loaded(world, "small")
    request = world.restart("small")
    place = until(world, Load)
    load = world.errands.pop(place)
    assert isinstance(load, Load)
    why = refusal(
        Reason.MEMORY_EXHAUSTED, "ran out", model="small", device="card", neededBytes=1, freeBytes=0, heldBy=""
    )
    world.tell(LoadRefused(world.now_s, load.worker_id, why))
    assert request in world.open_requests
    world.wait(0.0)
    assert request not in world.open_requests
    assert serving(world, "small") not in (0, first)


def test_a_caller_who_leaves_has_nothing_replaced(world: CoreWorld) -> None:
    first = loaded(world, "small")
    for kind in (FindPlans, Spawn, Load):
        request = world.restart("small")
        until(world, kind)
        world.caller(request, "cancel")
        world.wait(0.0)
        assert (serving(world, "small"), list(world.alive)) == (first, [first])


@pytest.mark.parametrize("kind", [FindPlans, Spawn, Load])
def test_a_process_that_dies_meanwhile_has_a_successor(world: CoreWorld, kind: type) -> None:
    first = loaded(world, "small")
    request = world.restart("small")
    until(world, kind)
    world.crash(first)
    waiting = world.request("small")
    world.wait(LEAST_BETWEEN_S)
    assert request not in world.open_requests
    assert waiting in world.granted
    assert len(world.alive) == 1


@pytest.mark.parametrize("kind", [FindPlans, Spawn, Load, Stop])
@pytest.mark.parametrize("end", ["unload", "shut down"])
def test_an_unload_or_the_end_takes_both_processes_along(world: CoreWorld, kind: type, end: str) -> None:
    loaded(world, "small")
    running = world.request("small", resume=False)
    request = world.restart("small")
    if kind is Stop:
        world.caller(running, "end")
    until(world, kind)
    if end == "unload":
        world.unload("small", force=True)
        world.wait(0.0)
    else:
        world.shut_down()
    assert request not in world.open_requests
    assert not world.alive
    assert not world.core.state.ledger.rows


def test_two_who_want_a_new_process_get_one(world: CoreWorld) -> None:
    first = loaded(world, "small")
    both = [world.restart("small"), world.restart("small")]
    world.wait(0.0)
    assert not set(both) & world.open_requests
    assert serving(world, "small") == first + 1


def test_two_who_want_different_settings_get_them_one_after_the_other(world: CoreWorld) -> None:
    loaded(world, "small")
    first = world.request("small", RequestKind.LOAD, context_tokens=4096, reload=True)
    second = world.request("small", RequestKind.LOAD, context_tokens=1024, reload=True)
    brought = world.wait(0.0)
    assert [a.plan.settings.context_tokens for a in brought if isinstance(a, Load)] == [4096, 1024]
    assert not {first, second} & world.open_requests


def test_a_model_that_is_about_to_have_a_new_process_is_not_unloaded_for_being_idle(world: CoreWorld) -> None:
    first = loaded(world, "small")
    world.restart("small")
    until(world, Load)
    world.now_s += 120.0
    world.rescan()
    while world.timers and world.timers[0].at_s <= world.now_s:
        world.next_timer()
    assert serving(world, "small") == first
    assert state(world, "small") is ModelState.READY
