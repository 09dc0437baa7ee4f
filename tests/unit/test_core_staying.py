"""What stays, and for how long: whatever becomes of a model's file, of a hold, of a pin, of another caller's reload."""

from dataclasses import replace

import pytest
from support.core_world import MODELS, CoreWorld
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Refuse, Report, Stop
from vramd_supervisor.core.events import CatalogueRead, ModelUpdated
from vramd_supervisor.core.state import ModelState, RequestKind, is_pinned
from vramd_supervisor.domain.catalog import ModelFile, Problem
from vramd_supervisor.domain.config import Config, SchedulingConfig, ServerConfig

STAYS_S = 60.0
"""How long the models of this world stay when nobody says otherwise."""


def world_of() -> CoreWorld:
    return CoreWorld(Config(ServerConfig(spare=False), SchedulingConfig()))


def loaded(world: CoreWorld, name: str) -> int:
    """The model is ready; its process."""
    world.request(name, RequestKind.LOAD)
    world.wait(0.0)
    current = world.core.state.models[name].current
    assert current
    return current.id


def state(world: CoreWorld, name: str) -> ModelState:
    return world.core.state.models[name].state


def process(world: CoreWorld, name: str) -> int:
    current = world.core.state.models[name].current
    return current.id if current else 0


def refused(world: CoreWorld) -> list[tuple[Reason, str]]:
    return [(a.refusal.reason, a.refusal.message) for a in world.actions if isinstance(a, Refuse)]


def hold(world: CoreWorld, name: str, context_tokens: int | None = None, caller: str = "") -> int:
    request = world.request(name, RequestKind.HOLD, context_tokens=context_tokens, caller=caller)
    world.wait(0.0)
    return request


# Models whose file is gone.


@pytest.fixture
def world() -> CoreWorld:
    return world_of()


def test_a_held_model_that_is_not_listed_stays_until_the_hold_ends(world: CoreWorld) -> None:
    holder = hold(world, "small")
    first = process(world, "small")
    world.rescan(without="small")
    brought = world.wait(10 * STAYS_S)
    assert process(world, "small") == first, "no other process, and none again and again"
    assert not [action for action in brought if isinstance(action, Report | Stop)]
    world.caller(holder, "cancel")
    world.wait(STAYS_S)
    assert "small" not in world.core.state.models


def test_a_pinned_model_that_is_not_listed_stays_and_serves(world: CoreWorld) -> None:
    first = loaded(world, "pinned")
    world.rescan(without="pinned")
    world.wait(10 * STAYS_S)
    request = world.request("pinned")
    assert world.granted[request] == first


def test_what_a_caller_has_changed_comes_back_with_the_file(world: CoreWorld) -> None:
    world.tell(ModelUpdated(world.now_s, "small", pinned=True, keep_alive_s=7.0))
    world.rescan(without="small")
    world.request("small")
    assert [reason for reason, _ in refused(world)] == [Reason.MODEL_NOT_FOUND]
    world.rescan()
    entry = world.core.state.models["small"]
    assert is_pinned(entry)
    assert entry.keep_alive_now_s == 7.0


def test_a_model_that_nobody_has_changed_is_forgotten_with_its_file(world: CoreWorld) -> None:
    world.rescan(without="small")
    assert "small" not in world.core.state.models


# How long a model stays after it was kept.


@pytest.mark.parametrize("kept", ["hold", "pin", "stay"])
def test_the_time_to_stay_begins_when_nothing_keeps_the_model_any_more(world: CoreWorld, kept: str) -> None:
    loaded(world, "small")
    holder = hold(world, "small") if kept == "hold" else 0
    if kept == "pin":
        world.pin("small", True)
    if kept == "stay":
        world.tell(ModelUpdated(world.now_s, "small", keep_alive_s=-1.0))
    world.wait(5 * STAYS_S)
    if kept == "hold":
        world.caller(holder, "cancel")
    elif kept == "pin":
        world.pin("small", False)
    else:
        world.tell(ModelUpdated(world.now_s, "small", keep_alive_s=STAYS_S))
    world.wait(STAYS_S - 1)
    assert state(world, "small") is ModelState.READY
    world.wait(1)
    assert state(world, "small") is ModelState.UNLOADED


def test_the_first_of_two_holds_to_end_changes_nothing(world: CoreWorld) -> None:
    first, second = hold(world, "small"), hold(world, "small")
    world.wait(5 * STAYS_S)
    world.caller(first, "cancel")
    world.wait(5 * STAYS_S)
    assert state(world, "small") is ModelState.READY
    world.caller(second, "cancel")
    world.wait(STAYS_S)
    assert state(world, "small") is ModelState.UNLOADED


def test_a_load_of_what_is_loaded_is_a_use(world: CoreWorld) -> None:
    loaded(world, "small")
    world.wait(STAYS_S - 1)
    loaded(world, "small")
    world.wait(STAYS_S - 1)
    assert state(world, "small") is ModelState.READY


def test_an_update_of_something_else_does_not_lengthen_the_stay(world: CoreWorld) -> None:
    loaded(world, "small")
    world.wait(STAYS_S - 1)
    world.pin("small", False)
    world.wait(1)
    assert state(world, "small") is ModelState.UNLOADED


# Other callers' reloads.


@pytest.mark.parametrize("holders", [1, 2])
def test_a_reload_with_other_settings_does_not_break_a_hold(world: CoreWorld, holders: int) -> None:
    held = [hold(world, "small", 2048, f"game {place}") for place in range(holders)]
    first = process(world, "small")
    world.wait(12.0)
    world.request("small", RequestKind.LOAD, context_tokens=4096, reload=True)
    [(reason, message)] = refused(world)
    assert reason is Reason.MODEL_LOADED_DIFFERENTLY
    assert f"held like this for 12 s by {', '.join(f'game {place}' for place in range(holders))}:" in message
    assert process(world, "small") == first
    for holder in held:
        world.caller(holder, "cancel")
    world.request("small", RequestKind.LOAD, context_tokens=4096, reload=True)
    world.wait(0.0)
    assert process(world, "small") != first


def test_a_reload_with_the_settings_of_the_hold_is_granted(world: CoreWorld) -> None:
    hold(world, "small", 2048)
    first = process(world, "small")
    request = world.request("small", RequestKind.LOAD, context_tokens=2048, reload=True)
    assert request not in world.open_requests
    assert process(world, "small") == first


def test_a_restart_of_a_held_model_keeps_the_settings_and_the_hold(world: CoreWorld) -> None:
    holder = hold(world, "small", 4096)
    first = process(world, "small")
    world.restart("small")
    world.wait(0.0)
    entry = world.core.state.models["small"]
    assert entry.current
    assert entry.current.id != first
    assert entry.current.plan
    assert entry.current.plan.settings.context_tokens == 4096
    assert holder in entry.holds


# Files with problems.


BROKEN = replace(MODELS["small"], source=ModelFile("/b.gguf", 1, problem=Problem(Reason.MODEL_FILE_INVALID, "cut off")))


def test_what_is_loaded_is_served_whatever_becomes_of_its_file(world: CoreWorld) -> None:
    first = loaded(world, "small")
    world.tell(CatalogueRead(world.now_s, {**MODELS, "small": BROKEN}))
    run, load = world.request("small"), world.request("small", RequestKind.LOAD)
    assert world.granted[run] == first
    assert load not in world.open_requests
    assert not refused(world)


def test_what_is_not_loaded_is_refused_with_its_problem(world: CoreWorld) -> None:
    world.tell(CatalogueRead(world.now_s, {**MODELS, "small": BROKEN}))
    world.request("small")
    assert refused(world) == [(Reason.MODEL_FILE_INVALID, "small: cut off")]
