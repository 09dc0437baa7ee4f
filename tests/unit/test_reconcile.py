"""What a process takes beyond its promise: booked, let be, or given back and planned once more."""

from dataclasses import replace

from support.core_world import CoreWorld, plan
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import FindPlans, Load, Refuse
from vramd_supervisor.core.events import DeviceSampled, LoadRefused, WorkerReady
from vramd_supervisor.core.reconcile import raised
from vramd_supervisor.core.state import ModelState
from vramd_supervisor.domain.catalog import ModelFile
from vramd_supervisor.domain.config import Config
from vramd_supervisor.domain.errors import refusal
from vramd_supervisor.domain.quote import Source


def loading(world: CoreWorld, name: str = "middle") -> int:
    """Asks for a model and goes on until its process loads; returns the worker_id."""
    world.request(name)
    while not isinstance(world.errands[-1], Load):
        world.run_errand()
    load = world.errands.pop()
    assert isinstance(load, Load)
    return load.worker_id


def ready(world: CoreWorld, worker_id: int, **measured: int) -> None:
    # What the process really holds is the test's to say here, not the promise's.
    world.memory[worker_id] = {}
    world.tell(WorkerReady(world.now_s, worker_id, 2048, measured))


def state(world: CoreWorld, name: str = "middle") -> ModelState:
    return world.core.state.models[name].state


def row(world: CoreWorld, worker_id: int) -> dict[str, int]:
    return dict(world.core.state.ledger.rows[worker_id])


def test_less_than_promised_changes_nothing() -> None:
    world = CoreWorld(Config(), spare=False)
    worker_id = loading(world)
    ready(world, worker_id, card=3, host=2)
    assert state(world) is ModelState.READY
    assert row(world, worker_id) == {"card": 4, "host": 2}


def test_more_than_promised_is_booked_where_the_budget_holds_it() -> None:
    world = CoreWorld(Config(), spare=False)
    worker_id = loading(world)
    ready(world, worker_id, card=6)
    assert state(world) is ModelState.READY
    assert row(world, worker_id) == {"card": 6, "host": 2}


def test_more_than_the_budget_holds_is_given_back_and_planned_with_what_it_took() -> None:
    world = CoreWorld(Config(), spare=False)
    first = loading(world)
    ready(world, first, card=9)
    assert state(world) is ModelState.STOPPING
    assert world.granted == {}
    assert len(world.open_requests) == 1, "who waits keeps the place"
    while not isinstance(world.errands[0], FindPlans):
        world.run_errand()
    world.run_errand()
    assert state(world) is ModelState.UNLOADED, "9 never fit a card of 8"
    assert not world.open_requests


def test_the_second_load_has_the_room_that_the_first_one_took() -> None:
    world = CoreWorld(Config(), spare=False)
    other = loading(world, "small")
    ready(world, other)
    world.caller(next(iter(world.granted)), "end")
    first = loading(world)
    assert row(world, other)["card"] + row(world, first)["card"] == 6
    ready(world, first, card=7)
    assert state(world) is ModelState.STOPPING
    while not any(isinstance(errand, Load) for errand in world.errands):
        world.run_errand()
    assert state(world, "small") is ModelState.UNLOADED, "it had to go for the rest"
    again = world.core.state.models["middle"].current
    assert again is not None
    assert row(world, again.id)["card"] == 7
    world.errands.clear()
    ready(world, again.id, card=7)
    assert state(world) is ModelState.READY


def test_a_second_load_that_takes_still_more_is_refused() -> None:
    world = CoreWorld(Config(), spare=False)
    ready(world, loading(world, "small"))
    world.caller(next(iter(world.granted)), "end")
    ready(world, loading(world), card=7)
    while not any(isinstance(errand, Load) for errand in world.errands):
        world.run_errand()
    world.errands.clear()
    again = world.core.state.models["middle"].current
    assert again is not None
    ready(world, again.id, card=9)
    [refused] = [action.refusal for action in world.actions if isinstance(action, Refuse)]
    assert refused.reason is Reason.MEMORY_EXHAUSTED
    assert refused.metadata["neededBytes"] == "9"
    assert state(world) is ModelState.STOPPING


def test_what_the_headroom_can_bear_stays() -> None:
    world = CoreWorld(Config(), spare=False)
    accounts = world.core.state.ledger._accounts
    accounts["card"] = replace(accounts["card"], headroom_bytes=2, total_bytes=10)
    world.tell(DeviceSampled(world.now_s, "card", 10, 0))
    worker_id = loading(world, "large")
    ready(world, worker_id, card=9)
    assert state(world, "large") is ModelState.READY
    assert row(world, worker_id)["card"] == 7


def test_a_plan_is_raised_to_what_was_taken_and_never_lowered() -> None:
    before = plan({"card": 4, "host": 2})
    after = raised(before, {"card": 6, "host": 1})
    assert after.quote.needs == {"card": 6, "host": 2}
    assert after.quote.devices["card"].weights_bytes == 4
    assert raised(before, {}) == before


def test_what_is_declared_is_true_by_declaration() -> None:
    world = CoreWorld(Config(), spare=False)
    worker_id = loading(world)
    process = world.core.state.workers[worker_id]
    assert process.plan is not None
    process.plan = replace(process.plan, quote=replace(process.plan.quote, source=Source.DECLARED))
    ready(world, worker_id, card=6)
    assert row(world, worker_id)["card"] == 4


def test_a_load_that_ran_out_of_memory_is_planned_once_more_and_then_refused() -> None:
    world = CoreWorld(Config(), spare=False)
    entry = world.core.state.models["middle"]
    entry.spec = replace(entry.spec, source=ModelFile("/m.gguf", 4))
    why = refusal(Reason.MEMORY_EXHAUSTED, "no", model="middle", device="card", neededBytes=4, freeBytes=0, heldBy="")
    for _ in range(2):
        worker_id = loading(world) if not world.open_requests else again(world)
        world.tell(LoadRefused(world.now_s, worker_id, why))
    assert [action.refusal.reason for action in world.actions if isinstance(action, Refuse)] == [why.reason]
    assert not world.open_requests


def expendable() -> CoreWorld:
    world = CoreWorld(Config(), spare=False)
    entry = world.core.state.models["middle"]
    entry.spec = replace(entry.spec, source=ModelFile("/m.gguf", 4), expendable=True)
    return world


def test_an_expendable_model_gets_no_second_try() -> None:
    out_of_memory = refusal(
        Reason.MEMORY_EXHAUSTED, "no", model="middle", device="card", neededBytes=4, freeBytes=0, heldBy=""
    )
    world = expendable()
    world.tell(LoadRefused(world.now_s, loading(world), out_of_memory))
    assert [action.refusal for action in world.actions if isinstance(action, Refuse)] == [
        replace(out_of_memory, retry=False)
    ]
    world = expendable()
    ready(world, loading(world), card=9)
    assert [action.refusal.reason for action in world.actions if isinstance(action, Refuse)] == [
        Reason.MEMORY_EXHAUSTED
    ]
    assert not world.open_requests
    assert state(world) is ModelState.STOPPING


def again(world: CoreWorld) -> int:
    """Goes on until the same model loads once more."""
    assert not [action for action in world.actions if isinstance(action, Refuse)]
    while not isinstance(world.errands[-1], Load):
        world.run_errand()
    load = world.errands.pop()
    assert isinstance(load, Load)
    return load.worker_id
