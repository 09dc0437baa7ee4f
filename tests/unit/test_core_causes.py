"""Why a model changes its state, as a value that stays the same down to its end, and one record of each end."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.core_scenes import Memory, three, use
from vramd_supervisor.core.actions import Decided, Evicted, Load, ModelChanged
from vramd_supervisor.core.events import LoadLimitReached, ShutdownRequested, Started
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.decisions import Decision, DecisionKind


def changes(world: Memory) -> list[tuple[ModelState, Cause]]:
    """Of model a."""
    found = [one for one in world.brought if isinstance(one, ModelChanged) and one.model == "a"]
    return [(one.after, one.because.cause) for one in found]


def records(world: Memory) -> list[Decision]:
    """Of model a, but for its loads."""
    found = [one.decision for one in world.brought if isinstance(one, Decided)]
    return [one for one in found if one.model == "a" and one.kind is not DecisionKind.LOAD]


def reserve(world: Memory) -> None:
    world.announce("card", 6)
    world.wait(0.0)


def press(world: Memory) -> None:
    for _ in range(3):
        world.sample("card", 8)
    world.wait(0.0)


def unload(world: Memory) -> None:
    world.unload("a")
    world.wait(0.0)


def restart(world: Memory) -> None:
    world.restart("a")
    world.wait(0.0)


def reload(world: Memory) -> None:
    world.request("a", RequestKind.LOAD, context_tokens=1024, reload=True)
    world.wait(0.0)


def crash(world: Memory) -> None:
    world.crash(*world.alive)


GOES: dict[Cause, Callable[[Memory], object]] = {
    Cause.IDLE: lambda world: world.wait(61.0),
    Cause.UNLOAD: unload,
    Cause.RESTART: restart,
    Cause.RELOAD: reload,
    Cause.SHUTDOWN: Memory.shut_down,
    Cause.CRASHED: crash,
    Cause.EVICTED_FOR_MODEL: lambda world: use(world, "b", "c"),
    Cause.EVICTED_FOR_GROUP: lambda world: use(world, "b"),
    Cause.EVICTED_FOR_LIMIT: lambda world: use(world, "b"),
    Cause.EVICTED_FOR_RESERVATION: reserve,
    Cause.EVICTED_FOR_OTHERS: press,
}


def loaded(cause: Cause) -> Memory:
    models = three(group="one") if cause is Cause.EVICTED_FOR_GROUP else three()
    world = Memory(models, at_most_resident=1 if cause is Cause.EVICTED_FOR_LIMIT else 0)
    use(world, "a")
    world.brought.clear()
    return world


@pytest.mark.parametrize("cause", GOES, ids=lambda cause: cause.name)
def test_the_cause_stays_the_same_down_to_the_end_and_has_one_record(cause: Cause) -> None:
    world = loaded(cause)
    GOES[cause](world)
    states = [ModelState.UNLOADED]
    if cause is not Cause.CRASHED:
        states = [ModelState.DRAINING, ModelState.STOPPING, ModelState.UNLOADED]
    assert changes(world)[: len(states)] == [(state, cause) for state in states]
    (record,) = records(world)
    evicted = cause.name.startswith("EVICTED")
    assert (record.kind, record.cause) == (DecisionKind.EVICT if evicted else DecisionKind.UNLOAD, cause)
    assert record.numbers["held_on_card_bytes"] == 4
    assert [one.because.cause for one in world.brought if isinstance(one, Evicted)] == ([cause] if evicted else [])


@pytest.mark.parametrize(
    ("cause", "for_model", "reserves"),
    [
        (Cause.EVICTED_FOR_MODEL, "c", False),
        (Cause.EVICTED_FOR_GROUP, "b", False),
        (Cause.EVICTED_FOR_LIMIT, "b", False),
        (Cause.EVICTED_FOR_RESERVATION, "", True),
        (Cause.EVICTED_FOR_OTHERS, "", False),
    ],
)
def test_for_whom_a_model_goes_is_told_by_its_id(cause: Cause, for_model: str, reserves: bool) -> None:
    world = loaded(cause)
    GOES[cause](world)
    (gone,) = [one for one in world.brought if isinstance(one, Evicted)]
    assert gone.beneficiary.model == for_model
    assert gone.beneficiary.reservation == (world.reserved[0] if reserves else 0)


def test_one_that_drains_keeps_the_cause_that_came_first() -> None:
    world = loaded(Cause.IDLE)
    running = world.request("a")
    world.unload("a")
    world.tell(ShutdownRequested(world.now_s))
    world.caller(running, "end")
    world.wait(0.0)
    assert [cause for _, cause in changes(world)] == [Cause.UNLOAD] * 3
    assert [record.cause for record in records(world)] == [Cause.UNLOAD]


def test_a_load_tells_why_it_was_wanted_and_why_it_failed() -> None:
    world = Memory(three())
    world.request("a")
    while not isinstance(world.errands[0], Load):
        world.run_errand()
    world.fail_errand()
    world.wait(0.0)
    assert changes(world) == [
        (ModelState.QUEUED, Cause.ASKED_FOR),
        (ModelState.STARTING, Cause.LOADING),
        (ModelState.LOADING, Cause.LOADING),
        (ModelState.STOPPING, Cause.REFUSED),
        (ModelState.UNLOADED, Cause.REFUSED),
    ]
    assert [(record.kind, record.reason) for record in records(world)] == [(DecisionKind.REFUSE, "MODEL_FILE_INVALID")]


def test_a_load_that_hangs_is_told_as_one() -> None:
    world = Memory(three())
    world.request("a")
    while not isinstance(world.errands[0], Load):
        world.run_errand()
    world.errands.clear()
    world.tell(LoadLimitReached(world.now_s, *world.alive))
    world.wait(0.0)
    assert changes(world)[-2:] == [(ModelState.STOPPING, Cause.HUNG), (ModelState.UNLOADED, Cause.HUNG)]
    assert [(record.kind, record.reason) for record in records(world)] == [(DecisionKind.REFUSE, "LOAD_TIMEOUT")]


def test_a_load_that_takes_too_much_is_told_as_one() -> None:
    world = Memory(three())
    world.measured["a"] = {"card": 9}
    world.request("a")
    world.wait(0.0)
    assert (ModelState.STOPPING, Cause.TOOK_TOO_MUCH) in changes(world)
    given_back = [record for record in records(world) if record.kind is DecisionKind.GIVE_BACK]
    assert {record.cause for record in given_back} == {Cause.TOOK_TOO_MUCH}
    assert DecisionKind.UNLOAD not in {record.kind for record in records(world)}


def test_what_nobody_waits_for_goes_without_and_says_so() -> None:
    world = Memory({name: replace(one, preload=True) for name, one in three().items()})
    world.announce("card", 8)
    world.tell(Started(world.now_s))
    world.wait(0.0)
    assert changes(world) == [(ModelState.QUEUED, Cause.PRELOAD), (ModelState.UNLOADED, Cause.NO_ROOM)]
