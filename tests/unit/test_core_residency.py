"""Who may be there, who stays and who has to go, and what is told of it: one scenario each, with the pure core."""

from dataclasses import replace
from typing import Literal

import pytest
from support.core_scenes import decided, evicted, refused, state, there, three, use, world_of
from support.core_world import MODELS, CoreWorld, plan
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import (
    Load,
    Refuse,
    Report,
    Thrashing,
)
from vramd_supervisor.core.events import LoadLimitReached
from vramd_supervisor.core.eviction import available_if_evicted
from vramd_supervisor.core.forecast import plan_load
from vramd_supervisor.core.restarts import FIRST_PAUSE_S, LEAST_BETWEEN_S
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.config import Config, ModelConfig, SchedulingConfig, ServerConfig
from vramd_supervisor.domain.decisions import DecisionKind
from vramd_supervisor.quoting.placement import LoadPlans


@pytest.fixture
def world() -> CoreWorld:
    return world_of()


def test_s14_of_those_that_were_used_last_at_the_same_moment_goes_what_is_soon_loaded_again() -> None:
    world = world_of(three())
    calls = []
    for name, load_s in (("a", 5.0), ("b", 1.0)):
        calls.append(world.request(name))
        while not isinstance(world.errands[0], Load):
            world.run_errand()
        world.now_s += load_s
        world.wait(0.0)
    for call in calls:
        world.caller(call, "end")
    assert evicted(use(world, "c")) == ["b"]


def test_one_of_a_group_at_a_time_and_a_pinned_one_keeps_the_others_out() -> None:
    world = world_of(three(group="one"))
    assert evicted(use(world, "a", "b")) == ["a"]
    assert there(world) == {"b"}
    world.pin("b", True)
    world.request("c")
    assert refused(world.wait(0.0)) == [Reason.RESIDENCY_EXHAUSTED]


def test_no_more_are_there_than_may_be() -> None:
    world = world_of(at_most_resident=2)
    assert evicted(use(world, "small", "ram", "pinned")) == ["small"], "although there is room for all"
    assert there(world) == {"ram", "pinned"}
    assert evicted(use(world, "small")) == ["ram"], "the pinned one stays"


@pytest.mark.parametrize("limit", ["at most one", "one of a group"])
def test_a_pinned_model_that_died_keeps_nobody_out_while_its_memory_comes_back(limit: str) -> None:
    models = three(group="" if limit == "at most one" else "one")
    models["a"] = replace(models["a"], pinned=True)
    world = world_of(models, at_most_resident=1 if limit == "at most one" else 0)
    use(world, "a")
    world.crash(*world.alive)
    world.request("b")
    assert state(world, "b") is ModelState.QUEUED
    assert refused(world.wait(0.0)) == []
    assert there(world) == {"b"}


def test_the_ones_to_keep_do_not_leave_when_idle_and_are_replaced_by_a_load() -> None:
    world = world_of(keep_resident=1)
    use(world, "small", "middle")
    world.wait(1000.0)
    assert there(world) == {"middle"}, "the last one used"
    use(world, "large")
    assert there(world) == {"large"}


def test_the_ones_to_keep_do_not_go_for_others() -> None:
    world = world_of(keep_resident=1)
    use(world, "small", "middle")
    brought = []
    for _ in range(3):
        world.sample("card", 8)
        brought += world.actions
    assert evicted(brought) == ["small"]


def test_an_expendable_model_goes_first() -> None:
    models = three()
    models["b"] = replace(models["b"], expendable=True)
    world = world_of(models)
    assert evicted(use(world, "a", "b", "c")) == ["b"]


@pytest.mark.parametrize(("which", "loaded"), [("first", {"a"}), ("all", {"a", "b"}), ("none", set[str]())])
def test_preload_takes_what_there_is_room_for_and_sends_nobody_away(
    which: Literal["first", "all", "none"], loaded: set[str]
) -> None:
    config = Config(
        ServerConfig(spare=False),
        SchedulingConfig(preload=which),
        {},
        dict.fromkeys("abc", ModelConfig()),
    )
    world = CoreWorld(config, models=three(preload=True))
    brought = world.wait(0.0)
    assert there(world) == loaded
    assert evicted(brought) == []
    assert state(world, "c") is ModelState.UNLOADED


def test_a_pinned_model_is_planned_for_anew_with_its_own_bytes(world: CoreWorld) -> None:
    use(world, "middle")
    world.pin("middle", True)
    core = world.core.state
    entry = core.models["middle"]
    assert available_if_evicted(core)["card"] == 4
    assert available_if_evicted(core, entry)["card"] == 8
    seen = plan_load(core, entry, LoadPlans((plan({"card": 7}),)))
    assert (seen.fits, [victim.model for victim in seen.victims]) == (True, ["middle"])
    assert not plan_load(core, core.models["large"], LoadPlans((plan({"card": 7}),))).fits, (
        "others have no right to them"
    )


def test_a_load_that_takes_too_long_is_not_tried_again() -> None:
    models = three()
    models["b"] = replace(models["b"], expendable=True)
    world = world_of(models)
    for name in ("a", "b"):
        world.request(name)
        while not isinstance(world.errands[0], Load):
            world.run_errand()
        load = world.errands.pop(0)
        assert isinstance(load, Load)
        world.tell(LoadLimitReached(world.now_s, load.worker_id))
        (why,) = [action.refusal for action in world.actions if isinstance(action, Refuse)]
        assert (why.reason, why.reason.value.retry_after_s) == (Reason.LOAD_TIMEOUT, None)
        world.wait(0.0)


def test_a_hold_keeps_a_model_warm_until_its_caller_leaves(world: CoreWorld) -> None:
    hold = world.request("middle", RequestKind.HOLD, keep_alive_s=0.0)
    brought = world.wait(1000.0)
    assert any(isinstance(a, Report) and a.request == hold and "kept warm" in a.message for a in brought)
    assert state(world, "middle") is ModelState.READY, "longer than its keep-alive and its limit"
    world.request("large")
    assert refused(world.wait(0.0)) == [Reason.MEMORY_EXHAUSTED]
    world.caller(hold, "cancel")
    world.wait(0.0)
    assert state(world, "middle") is ModelState.UNLOADED


def test_a_held_model_comes_back_after_a_crash(world: CoreWorld) -> None:
    hold = world.request("middle", RequestKind.HOLD)
    world.wait(0.0)
    (before,) = world.alive
    world.crash(before)
    world.wait(FIRST_PAUSE_S)
    (after,) = world.alive
    assert after != before
    assert state(world, "middle") is ModelState.READY
    assert hold in world.open_requests


def test_a_held_model_comes_back_with_the_settings_of_its_holder_although_others_wait(world: CoreWorld) -> None:
    hold = world.request("middle", RequestKind.HOLD, context_tokens=1024)
    world.wait(0.0)
    running = [world.request("middle") for _ in range(3)]
    world.wait(0.0)
    assert len(world.granted) == 2
    world.crash(*world.alive)
    world.wait(LEAST_BETWEEN_S)
    assert hold in world.open_requests
    current = world.core.state.models["middle"].current
    assert current
    assert current.plan
    assert current.plan.settings.context_tokens == 1024
    assert running[:2] == list(world.granted), "those that ran go on"


def test_an_expendable_one_does_not_and_its_holder_hears_of_the_crash() -> None:
    models = three()
    models["b"] = replace(models["b"], expendable=True)
    world = world_of(models)
    hold = world.request("b", RequestKind.HOLD)
    world.wait(0.0)
    world.crash(*world.alive)
    assert hold not in world.open_requests
    world.wait(0.0)
    assert state(world, "b") is ModelState.UNLOADED


def test_an_unload_ends_a_hold(world: CoreWorld) -> None:
    hold = world.request("middle", RequestKind.HOLD)
    world.wait(0.0)
    world.unload("middle")
    assert refused(world.actions) == [Reason.MODEL_UNLOADED]
    assert hold not in world.open_requests
    world.wait(0.0)
    assert state(world, "middle") is ModelState.UNLOADED


def test_other_options_are_refused_or_bring_a_new_process_when_that_is_asked_for(world: CoreWorld) -> None:
    running = world.request("small")
    world.wait(0.0)
    (before,) = world.alive
    world.request("small", context_tokens=4096)
    assert refused(world.actions) == [Reason.MODEL_LOADED_DIFFERENTLY]
    other = world.request("small", context_tokens=4096, reload=True)
    meanwhile = world.request("small")
    assert world.granted[meanwhile] == before, "the old process serves until the new one is ready"
    world.caller(meanwhile, "end")
    brought = world.wait(0.0)
    late = world.request("small")
    assert state(world, "small") is ModelState.DRAINING
    assert running in world.granted, "it is not cut off"
    world.caller(running, "end")
    world.wait(0.0)
    (after,) = world.alive
    assert after != before
    assert [a.plan.settings.context_tokens for a in brought if isinstance(a, Load)] == [4096]
    assert set(world.granted) == {other, late}


def test_a_reload_with_the_options_it_has_is_none(world: CoreWorld) -> None:
    use(world, "small")
    request = world.request("small", context_tokens=2048, reload=True)
    assert request in world.granted


def test_ping_pong_is_told_once_with_settings_under_which_both_would_fit(world: CoreWorld) -> None:
    brought = use(world, *["middle", "large"] * 8)
    (told,) = [a for a in brought if isinstance(a, Thrashing)]
    assert told.models == ("large", "middle")
    assert told.loads_per_minute > 20
    assert 0 <= told.useful_share <= 1
    assert [one.quote.needs["card"] for one in told.together] == [7, 4]
    assert len(decided(brought, DecisionKind.THRASH)) == 1


def test_one_change_of_models_is_no_ping_pong() -> None:
    brought = use(world_of(), "middle", "large", "middle")
    assert evicted(brought) == ["middle", "large"]
    assert not [a for a in brought if isinstance(a, Thrashing)]


def test_every_load_and_every_eviction_leaves_a_record_with_numbers_and_what_was_not_done() -> None:
    world = world_of(three())
    brought = use(world, "a", "b", "c")
    loads = [one.decision for one in decided(brought, DecisionKind.LOAD)]
    assert [one.model for one in loads] == ["a", "b", "c"]
    assert (loads[0].numbers["card_bytes"], loads[0].numbers["host_bytes"]) == (4, 1)
    (eviction,) = [one.decision for one in decided(brought, DecisionKind.EVICT)]
    assert (eviction.model, eviction.for_whom) == ("a", "c")
    assert (eviction.numbers["lacking_on_card_bytes"], eviction.numbers["held_on_card_bytes"]) == (4, 4)
    assert eviction.numbers["idle_s"] > 0
    assert [one.what for one in eviction.rejected] == ["evict b"]
    assert "least recently used" in eviction.message


def test_a_refusal_a_degradation_and_a_load_that_took_too_much_leave_a_record(world: CoreWorld) -> None:
    world.request("giant")
    (refusal,) = decided(world.wait(0.0), DecisionKind.REFUSE)
    assert refusal.decision.numbers == {"needed_bytes": 9, "budget_bytes": 8}
    world.ways["middle"] = (replace(plan({"card": 3, "host": 1}), degraded=("the KV cache is q8_0",)),)
    world.request("middle")
    (degradation,) = decided(world.wait(0.0), DecisionKind.DEGRADE)
    assert degradation.decision.message == "the KV cache is q8_0"
    world.measured["large"] = {"card": 9}
    world.caller(min(world.granted), "end")
    world.request("large")
    (given_back,) = decided(world.wait(0.0), DecisionKind.GIVE_BACK)
    assert given_back.decision.numbers["card_bytes"] == 9


def test_a_process_that_is_dead_is_not_sent_away_beside_the_next_of_its_model() -> None:
    world = world_of(three(group="one", source=MODELS["small"].source))
    use(world, "a")
    world.crash(next(iter(world.alive)))
    (release,) = world.errands
    world.errands.clear()
    use(world, "a")
    brought = use(world, "b")
    assert evicted(brought) == ["a"]
    assert len(decided(brought, DecisionKind.EVICT)) == 1
    world.errands.append(release)
    world.wait(0.0)
    assert there(world) == {"b"}
