"""The core takes in a changed configuration: unchanged models are not touched, and nobody is cut off."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from support.core_world import BUDGETS, MODELS, CoreWorld
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Decided, Refuse
from vramd_supervisor.core.events import ConfigurationRead
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.catalog import Model
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.config import Config
from vramd_supervisor.domain.device_view import Limits


def reconfigure(
    world: CoreWorld,
    models: Mapping[str, Model] | None = None,
    *,
    budgets: Mapping[str, int] = BUDGETS,
    removed: Sequence[str] = (),
    config: Config | None = None,
) -> None:
    limits = {device: Limits(budget, 0) for device, budget in budgets.items()}
    world.models = world.models if models is None else models
    world.tell(ConfigurationRead(world.now_s, config or world.config, limits, world.models, removed))


def with_context(name: str, tokens: int) -> dict[str, Model]:
    options = replace(MODELS[name].options, context_tokens=tokens)
    return {**MODELS, name: replace(MODELS[name], options=options)}


def loaded(*names: str) -> CoreWorld:
    world = CoreWorld(spare=False)
    for name in names:
        world.request(name, RequestKind.LOAD)
        world.wait(1.0)
    return world


def state(world: CoreWorld, name: str) -> ModelState:
    found = world.core.model(name)
    assert found
    return found.state


def process(world: CoreWorld, name: str) -> int:
    found = world.core.model(name)
    assert found
    return found.worker_id


def test_a_model_that_is_configured_as_before_keeps_its_process() -> None:
    world = loaded("small", "ram")
    before = process(world, "small")
    rules = replace(MODELS["small"], pinned=True, tasks=("code",), group="one")
    reconfigure(world, {**with_context("ram", 4096), "small": rules})
    world.wait(10.0)
    assert process(world, "small") == before
    found = world.core.model("small")
    assert found
    assert found.pinned


def test_an_idle_one_is_loaded_again_and_its_memory_is_never_taken_twice() -> None:
    world = loaded("large")  # two would not fit
    before = process(world, "large")
    reconfigure(world, with_context("large", 4096))
    world.wait(10.0)
    found = world.core.model("large")
    assert found
    assert found.worker_id not in (0, before)
    assert found.plan
    assert found.plan.settings.context_tokens == 4096


def test_one_with_another_warm_prompt_is_loaded_again() -> None:
    world = loaded("small")
    before = process(world, "small")
    reconfigure(world, {**MODELS, "small": replace(MODELS["small"], warm_prompt="You are a guide.")})
    world.wait(10.0)
    assert process(world, "small") not in (0, before)


def test_a_busy_or_held_one_goes_on_until_it_is_idle() -> None:
    world = loaded("small")
    hold, running = world.request("small", RequestKind.HOLD), world.request("small")
    before = process(world, "small")
    reconfigure(world, with_context("small", 4096))
    world.wait(10.0)
    later = world.request("small")
    assert world.granted == {running: before, later: before}
    world.caller(running, "end")
    world.caller(later, "end")
    assert process(world, "small") == before
    world.caller(hold, "cancel")
    world.wait(10.0)
    assert process(world, "small") not in (0, before)


def test_a_new_keep_alive_concerns_no_process() -> None:
    world = loaded("small")
    before = process(world, "small")
    stays = replace(MODELS["small"], options=LoadOptions(keep_alive_s=300.0))
    reconfigure(world, {**MODELS, "small": stays})
    world.wait(299.0)
    assert process(world, "small") == before
    world.wait(2.0)
    assert state(world, "small") is ModelState.UNLOADED


def test_a_load_that_waits_for_room_is_planned_again() -> None:
    world = loaded("large")
    world.request("large")
    waiting = world.request("middle")
    while world.errands:
        world.run_errand()
    assert state(world, "middle") is ModelState.QUEUED
    reconfigure(world, with_context("middle", 4096))
    world.caller(next(iter(world.granted)), "end")
    world.wait(10.0)
    found = world.core.model("middle")
    assert found
    assert found.plan
    assert (found.plan.settings.context_tokens, waiting in world.granted) == (4096, True)


def test_a_removed_one_drains_and_admits_nothing_new() -> None:
    world = loaded("small")
    running = world.request("small")
    hold = world.request("small", RequestKind.HOLD)
    reconfigure(world, {name: one for name, one in MODELS.items() if name != "small"}, removed=["small"])
    assert hold not in world.open_requests
    assert state(world, "small") is ModelState.DRAINING
    world.request("small")
    assert [one.refusal.reason for one in world.actions if isinstance(one, Refuse)] == [Reason.MODEL_NOT_FOUND]
    world.caller(running, "end")
    world.wait(1.0)
    assert world.core.model("small") is None


@pytest.mark.parametrize("phase", ["waits for its plan", "starts"])
def test_a_removed_one_that_is_not_loaded_yet_tells_who_waits(phase: str) -> None:
    world = CoreWorld(spare=False)
    asked = world.request("small")
    if phase == "starts":
        world.run_errand()
    reconfigure(world, {name: one for name, one in MODELS.items() if name != "small"}, removed=["small"])
    assert asked not in world.open_requests
    world.wait(1.0)
    assert world.core.model("small") is None


def test_a_lower_budget_evicts_idle_models_and_never_a_busy_one() -> None:
    world = loaded("small", "middle")
    running = world.request("middle")
    reconfigure(world, budgets={"card": 3, "host": 12})
    causes = [one.decision.cause for one in world.actions if isinstance(one, Decided)]
    assert Cause.EVICTED_FOR_BUDGET in causes
    world.wait(10.0)
    assert (state(world, "small"), state(world, "middle")) == (ModelState.UNLOADED, ModelState.READY)
    assert world.core.devices()["card"].reserved_bytes == 4
    assert world.core.devices()["card"].free_bytes == 0
    waiting = world.request("small")
    world.wait(10.0)
    assert waiting in world.open_requests
    assert waiting not in world.granted
    world.caller(running, "end")
    world.wait(10.0)
    assert state(world, "middle") is ModelState.UNLOADED
    assert waiting in world.granted


def test_a_lower_budget_leaves_pinned_models_and_promises_nothing_more() -> None:
    world = loaded("small", "pinned")
    world.pin("small", True)
    reconfigure(world, budgets={"card": 1, "host": 12})
    world.wait(10.0)
    assert state(world, "small") is state(world, "pinned") is ModelState.READY
    world.pin("small", False)
    world.wait(1.0)
    assert state(world, "small") is ModelState.UNLOADED
    assert world.core.devices()["card"].reserved_bytes == 1


def test_a_higher_budget_lets_in_what_was_too_large() -> None:
    world = loaded()
    reconfigure(world, budgets={"card": 4, "host": 12})
    world.request("large")
    world.wait(1.0)
    assert [one.refusal.reason for one in world.actions if isinstance(one, Refuse)] == [Reason.MODEL_TOO_LARGE]
    reconfigure(world)
    asked = world.request("large")
    world.wait(1.0)
    assert asked in world.granted


def test_a_spare_comes_and_goes_with_its_key() -> None:
    world = CoreWorld()
    world.wait(1.0)
    assert world.alive
    without = replace(world.config, server=replace(world.config.server, spare=False))
    reconfigure(world, config=without)
    world.wait(1.0)
    assert not world.alive
    reconfigure(world)
    world.wait(1.0)
    assert world.alive


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_pinned_one_that_died_comes_back_as_it_is_configured_now(when: str) -> None:
    world = loaded("pinned")
    world.request("pinned", resume=False)
    world.wait(0.0)
    changed = with_context("pinned", 4096)
    if when == "before":
        reconfigure(world, changed)
    world.crash(process(world, "pinned"))
    assert state(world, "pinned") is ModelState.BACKOFF
    if when == "after":
        reconfigure(world, changed)
    world.wait(60.0)
    found = world.core.model("pinned")
    assert found
    assert found.plan
    assert found.plan.settings.context_tokens == 4096
