"""What is waited for until a model answers, and what a load would come to, as values. One scene each."""

from support.core_scenes import Memory, three, use, world_of
from support.core_world import CoreWorld, plan
from vramd_supervisor.core.actions import Report
from vramd_supervisor.core.forecast import Verdict, plan_load
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.causes import Awaited, Cause
from vramd_supervisor.quoting.placement import LoadPlans


def until(world: CoreWorld, kind: type) -> None:
    while not isinstance(world.errands[0], kind):
        world.run_errand()


def last(world: CoreWorld, request: int) -> Report:
    return [one for one in world.actions if isinstance(one, Report) and one.request == request][-1]


def asked(world: CoreWorld, model: str = "a") -> int:
    return world.request(model, progress=True)


def test_a_load_goes_from_its_plan_to_its_weights() -> None:
    world = world_of(three())
    request = asked(world)
    assert (last(world, request).state, last(world, request).awaited) == (ModelState.QUEUED, Awaited.PLAN)
    world.run_errand()
    assert (last(world, request).state, last(world, request).awaited) == (ModelState.STARTING, Awaited.PROCESS)
    world.run_errand()
    assert (last(world, request).state, last(world, request).awaited) == (ModelState.LOADING, Awaited.WEIGHTS)


def test_a_model_that_answers_others_lets_wait_for_a_place() -> None:
    world = world_of(three())
    for _ in range(2):
        world.request("a")
    world.wait(0.0)
    request = asked(world)
    assert (last(world, request).state, last(world, request).awaited) == (ModelState.READY, Awaited.PLACE)


def test_room_is_waited_for_until_idle_ones_are_gone() -> None:
    world = world_of(three())
    use(world, "a", "b")
    request = asked(world, "c")
    world.run_errand()
    assert last(world, request).awaited is Awaited.MEMORY
    another = asked(world, "c")
    assert last(world, another).awaited is Awaited.MEMORY, "not what the first one heard at first"


def test_busy_ones_are_waited_for() -> None:
    world = world_of(three())
    for model in "ab":
        world.request(model)
        world.wait(0.0)
    request = asked(world, "c")
    world.run_errand()
    assert last(world, request).awaited is Awaited.BUSY_MODELS


def test_other_programs_are_waited_for() -> None:
    world = world_of(three())
    world.sample("card", 8)
    world.sample("card", 0)
    request = asked(world)
    world.run_errand()
    assert last(world, request).awaited is Awaited.OTHER_PROGRAMS


def test_one_of_the_same_group_is_waited_for() -> None:
    world = world_of(three(group="one"))
    world.request("a")
    world.wait(0.0)
    request = asked(world, "b")
    world.run_errand()
    assert last(world, request).awaited is Awaited.EXCLUSION


def test_a_process_that_goes_is_waited_for_by_those_who_want_the_next() -> None:
    world = world_of(three())
    world.request("a")
    world.wait(0.0)
    world.unload("a")
    request = asked(world)
    assert (last(world, request).state, last(world, request).awaited) == (
        ModelState.DRAINING,
        Awaited.FORMER_PROCESS,
    )


def test_who_holds_a_model_hears_why_it_was_lost_and_that_nothing_is_awaited_once_it_is_there() -> None:
    world = Memory(three())
    hold = world.request("a", RequestKind.HOLD)
    world.wait(0.0)
    world.crash(*world.alive)
    world.wait(1.0)
    told = [one for one in world.brought if isinstance(one, Report) and one.request == hold]
    (lost,) = [one for one in told if one.state is ModelState.UNLOADED]
    assert (lost.cause, lost.awaited) == (Cause.CRASHED, None)
    (pause,) = [one for one in told if one.state is ModelState.BACKOFF]
    assert (pause.cause, pause.awaited) == (Cause.PAUSE, Awaited.PAUSE)
    assert [(one.cause, one.awaited) for one in told if one.state is ModelState.READY] == [(None, None)] * 2


def verdict(world: CoreWorld, model: str, card: int = 4, context_tokens: int = 2048) -> tuple[Verdict, Awaited | None]:
    core = world.core.state
    way = plan({"card": card, "host": 1}, context_tokens)
    seen = plan_load(core, core.models[model], LoadPlans((way,)))
    return seen.verdict, seen.awaited


def test_what_a_load_would_come_to() -> None:
    world = world_of(three())
    assert verdict(world, "a") == (Verdict.BEGINS, None)
    assert verdict(world, "a", card=9) == (Verdict.TOO_LARGE, None)
    use(world, "a", "b")
    assert verdict(world, "a") == (Verdict.LOADED, None)
    assert verdict(world, "a", context_tokens=1024) == (Verdict.LOADED_DIFFERENTLY, None)
    assert verdict(world, "c") == (Verdict.EVICTS, None)
    for model in "ab":
        world.request(model)
    assert verdict(world, "c") == (Verdict.WAITS, Awaited.BUSY_MODELS)
    for model in "ab":
        world.pin(model, True)
    assert verdict(world, "c") == (Verdict.NO_ROOM, None)
