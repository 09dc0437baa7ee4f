"""What the core does when other programs take memory: one scenario each, without any I/O."""

import pytest
from support.core_world import MODELS, SPARE, CoreWorld, plan
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import (
    Evicted,
    FindPlans,
    GrantReservation,
    Load,
    PressureChanged,
    Refuse,
    Report,
    Spawn,
)
from vramd_supervisor.core.core import Core
from vramd_supervisor.core.events import CatalogueRead, DeviceSampled, PlansFound, Started
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.core.pressure import Level
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.config import Config, DeviceConfig, ServerConfig

CARD = Account(total_bytes=16, budget_bytes=8, headroom_bytes=4)
"""Closed below 4 free bytes, low below 2, critical below 1; it reopens above 6. The alarm is at 14.4."""
HOST = Account(total_bytes=40, budget_bytes=12, headroom_bytes=4)


def world_of(card: Account = CARD, alarm: float | None = None) -> CoreWorld:
    world = CoreWorld(Config(server=ServerConfig(spare=False)), spare=False)
    config = Config(server=ServerConfig(spare=False), devices={"card": DeviceConfig(alarm=alarm)})
    world.core = Core(config, {"card": card, "host": HOST}, usable_cores=3, spare_bytes=SPARE)
    world.tell(CatalogueRead(0.0, MODELS))
    return world


def sample(world: CoreWorld, external: int, *, device: str = "card", hidden: int = 0, attributed: bool = True) -> None:
    """A second later; `hidden` of what ours take is taken for others'."""
    world.now_s += 1
    total = world.core.state.ledger.accounts[device].total_bytes
    used = external + sum(memory.get(device, 0) for memory in world.memory.values())
    told = DeviceSampled(world.now_s, device, total, external + hidden, used, attributed=attributed)
    world.tell(told)


def run_all(world: CoreWorld) -> None:
    while world.errands:
        world.run_errand()


def loaded(world: CoreWorld, *models: str) -> None:
    for model in models:
        world.now_s += 1
        request = world.request(model)
        run_all(world)
        world.caller(request, "end")


def asked(world: CoreWorld, model: str) -> int:
    """A load that has its plans."""
    request = world.request(model, RequestKind.LOAD)
    run_all(world)
    return request


def state(world: CoreWorld, model: str) -> ModelState:
    return world.core.state.models[model].state


def level(world: CoreWorld, device: str = "card") -> Level:
    return world.core.state.pressures[device].level


def evicted(world: CoreWorld) -> list[str]:
    return [action.model for action in world.actions if isinstance(action, Evicted)]


@pytest.fixture
def world() -> CoreWorld:
    return world_of()


def test_growth_evicts_the_least_recently_used_once_and_says_for_whom(world: CoreWorld) -> None:
    loaded(world, "middle", "small")
    sample(world, 9)
    assert (level(world), evicted(world)) == (Level.CLOSED, [])
    sample(world, 9)
    assert level(world) is Level.EVICT
    (gone,) = [action for action in world.actions if isinstance(action, Evicted)]
    assert (gone.model, gone.beneficiary.name) == ("middle", "other programs")
    assert gone.because.cause is Cause.EVICTED_FOR_OTHERS
    assert gone.because.words == "card lacks 0.0 MiB of its headroom; middle was least recently used among the idle"
    for _ in range(3):
        sample(world, 9)
        assert evicted(world) == [], "its bytes are on their way back"
    run_all(world)
    for _ in range(3):
        sample(world, 9)
        assert evicted(world) == [], "the headroom is there again"
    assert state(world, "small") is ModelState.READY


def test_the_growth_of_one_sample_evicts_nobody_unless_nothing_is_left(world: CoreWorld) -> None:
    loaded(world, "middle", "small")
    for external in (9, 8, 9, 8, 9):
        sample(world, external)
        assert evicted(world) == []
    sample(world, 10)
    assert (level(world), evicted(world)) == (Level.CRITICAL, ["middle"])


def test_one_set_of_victims_restores_the_headroom(world: CoreWorld) -> None:
    loaded(world, "small", "middle")
    sample(world, 10)
    assert evicted(world) == ["middle"], "small alone is too little, and spared where middle is enough"


def test_all_idle_ones_go_where_that_is_still_too_little(world: CoreWorld) -> None:
    loaded(world, "small", "middle", "ram")
    sample(world, 14)
    assert evicted(world) == ["small", "middle"]
    assert state(world, "ram") is ModelState.READY, "it has nothing on the card"


def test_busy_and_pinned_ones_stay_and_the_busy_one_goes_when_it_is_idle(world: CoreWorld) -> None:
    loaded(world, "pinned")
    busy = world.request("middle")
    run_all(world)
    for _ in range(3):
        sample(world, 11)
        assert evicted(world) == []
    world.caller(busy, "end")
    sample(world, 11)
    assert evicted(world) == ["middle"]
    run_all(world)
    for _ in range(3):
        sample(world, 15)
    assert state(world, "pinned") is ModelState.READY


def test_bytes_that_the_driver_moved_to_the_host_evict_at_once(world: CoreWorld) -> None:
    loaded(world, "small")
    world.tell(DeviceSampled(world.now_s, "card", 16, 0, 2, spilled_bytes=65 << 20))
    assert (level(world), evicted(world)) == (Level.CRITICAL, ["small"])


def test_each_crossing_is_told_once_with_the_numbers(world: CoreWorld) -> None:
    loaded(world, "small")
    told = []
    for external in [0, 13, 13, 11, *[0] * 11]:
        sample(world, external)
        told += [action for action in world.actions if isinstance(action, PressureChanged)]
    words = "0.0 MiB of 0.0 MiB are free, "
    assert told == [
        PressureChanged(
            *("card", Level.NONE, Level.CLOSED, 1, 13, 4),
            message=words + "less than the headroom of 0.0 MiB: nothing is loaded here",
        ),
        PressureChanged(
            *("card", Level.CLOSED, Level.EVICT, 1, 13, 4),
            message=words + "less than half of a headroom of 0.0 MiB: idle models go",
        ),
        PressureChanged("card", Level.EVICT, Level.NONE, 14, 0, 4, message=words + "enough again"),
    ]


def test_the_alarm_of_the_device_counts() -> None:
    world = world_of(alarm=0.25)
    sample(world, 4)
    assert level(world) is Level.WARN
    assert level(world, "host") is Level.NONE


def test_what_vramd_has_promised_makes_no_pressure_by_itself_even_with_too_large_a_budget() -> None:
    world = world_of(Account(total_bytes=8, budget_bytes=8, headroom_bytes=2))
    loaded(world, "small", "middle")
    for _ in range(3):
        sample(world, 0)
        assert world.actions == []
    loaded(world, "pinned")
    sample(world, 0)
    assert level(world) is Level.NONE
    assert world.core.state.ledger.reserved_bytes("card") <= 6, "the budget does not reach into the headroom"


def test_a_virtual_device_has_the_alarm_only() -> None:
    world = world_of(Account(total_bytes=8, budget_bytes=8))
    loaded(world, "large", "pinned")
    for external in (0, 6):
        world.tell(DeviceSampled(world.now_s, "card", 8, external))
        assert level(world) is Level.WARN
    assert evicted(world) == []


def test_a_lost_device_is_under_no_pressure(world: CoreWorld) -> None:
    world.tell(DeviceSampled(1.0, "card", 0, 0, 0))
    assert world.actions == []
    assert level(world) is Level.NONE


def test_a_load_waits_while_the_device_is_closed_and_starts_when_it_reopens(world: CoreWorld) -> None:
    loaded(world, "large")
    sample(world, 6)
    assert level(world) is Level.CLOSED
    waits = asked(world, "small")
    assert state(world, "large") is ModelState.UNLOADED, "it was idle, and there is no room for both"
    for _ in range(10):
        sample(world, 6)
        assert state(world, "small") is ModelState.QUEUED, "10 bytes are free, but not for long enough"
    sample(world, 6)
    run_all(world)
    assert state(world, "small") is ModelState.READY
    assert waits not in world.open_requests


def test_a_load_does_not_wait_for_ever_where_others_have_settled(world: CoreWorld) -> None:
    loaded(world, "middle", "pinned")
    sample(world, 8)
    assert level(world) is Level.CLOSED
    world.unload("middle")
    run_all(world)
    asked(world, "small")
    for _ in range(60):
        sample(world, 9)
        assert state(world, "small") is ModelState.QUEUED, "6 bytes are free: more than the headroom, but not ample"
    sample(world, 9)
    run_all(world)
    assert state(world, "small") is ModelState.READY


def test_who_waits_for_a_closed_device_hears_why_once(world: CoreWorld) -> None:
    sample(world, 13)
    world.request("small", RequestKind.LOAD)
    world.run_errand()
    (report,) = [action for action in world.actions if isinstance(action, Report)]
    assert report.message == "waits until other programs leave enough of card"
    sample(world, 13)
    assert world.actions == []


def test_what_can_never_fit_is_refused_by_a_closed_device_too(world: CoreWorld) -> None:
    sample(world, 13)
    asked(world, "giant")
    (refuse,) = [action for action in world.actions if isinstance(action, Refuse)]
    assert refuse.refusal.reason is Reason.MODEL_TOO_LARGE


@pytest.mark.parametrize("closed", [True, False])
def test_a_load_takes_another_way_around_a_closed_device(world: CoreWorld, closed: bool) -> None:
    sample(world, 13 if closed else 0)
    world.request("small", RequestKind.LOAD)
    (errand,) = world.errands
    assert isinstance(errand, FindPlans)
    world.errands.clear()
    card, ram = plan({"card": 2, "host": 1}), plan({"host": 3})
    world.tell(PlansFound(world.now_s, "small", errand.turn, (card, ram)))
    world.run_errand()
    (load,) = [action for action in world.actions if isinstance(action, Load)]
    assert load.plan == (ram if closed else card)


def test_a_load_waits_for_the_other_ways_too_if_they_have_no_room(world: CoreWorld) -> None:
    sample(world, 13)
    sample(world, 34, device="host")
    world.request("small", RequestKind.LOAD)
    (errand,) = world.errands
    assert isinstance(errand, FindPlans)
    world.errands.clear()
    world.tell(PlansFound(world.now_s, "small", errand.turn, (plan({"card": 2, "host": 1}), plan({"host": 3}))))
    assert state(world, "small") is ModelState.QUEUED


def test_a_load_that_fits_now_but_not_within_the_last_minute_waits_and_is_not_refused(world: CoreWorld) -> None:
    loaded(world, "middle")
    sample(world, 8)
    sample(world, 2)
    waits = asked(world, "small")
    (report,) = [action for action in world.actions if isinstance(action, Report)]
    assert report.message == "other programs took more of card within the last 60 s"
    assert (state(world, "small"), state(world, "middle")) == (ModelState.QUEUED, ModelState.READY)
    for _ in range(58):
        sample(world, 2)
        assert state(world, "small") is ModelState.QUEUED
    sample(world, 2)
    run_all(world)
    assert state(world, "small") is ModelState.READY
    assert state(world, "middle") is ModelState.READY, "nobody has to go for what is over"
    assert waits not in world.open_requests


def test_nobody_is_evicted_for_a_room_that_a_load_may_not_use_yet(world: CoreWorld) -> None:
    loaded(world, "middle")
    sample(world, 8)
    sample(world, 2)
    asked(world, "large")
    assert (state(world, "large"), state(world, "middle")) == (ModelState.QUEUED, ModelState.READY)
    for _ in range(59):
        sample(world, 2)
    run_all(world)
    assert (state(world, "large"), state(world, "middle")) == (ModelState.READY, ModelState.UNLOADED)


def test_under_the_saw_tooth_of_a_game_one_load_is_one_swap(world: CoreWorld) -> None:
    loaded(world, "middle")
    sample(world, 8)
    sample(world, 2)
    asked(world, "small")
    swaps = []
    for second in range(1, 301):
        sample(world, 8 if second % 50 == 0 else 2)
        swaps += [(second, model) for model in evicted(world)]
        run_all(world)
        assert state(world, "small") is (ModelState.READY if second >= 50 else ModelState.QUEUED)
    assert swaps == [(50, "middle")], "at the peak there is no room for both"


def test_a_reservation_of_the_game_itself_waits_for_neither(world: CoreWorld) -> None:
    loaded(world, "small")
    sample(world, 13)
    sample(world, 2)
    assert level(world) is Level.CLOSED
    request = world.announce("card", 6)
    assert [action.request for action in world.actions if isinstance(action, GrantReservation)] == [request]


def test_what_was_announced_does_not_count_a_second_time_within_the_minute(world: CoreWorld) -> None:
    ledger = world.core.state.ledger
    sample(world, 1)
    world.announce("card", 4)
    sample(world, 5)
    assert ledger.steady_free_bytes("card") == 4
    world.release(world.reserved[0])
    sample(world, 6)
    assert ledger.steady_free_bytes("card") == 6, "the game has the bytes, and nothing is promised any more"
    sample(world, 1)
    assert (ledger.steady_free_bytes("card"), ledger.free_bytes("card")) == (6, 8)


def test_bytes_of_a_process_that_ends_do_not_linger_as_others(world: CoreWorld) -> None:
    ledger = world.core.state.ledger
    loaded(world, "large")
    sample(world, 1)
    world.unload("large")
    sample(world, 1, hidden=7)
    run_all(world)
    sample(world, 1)
    assert ledger.steady_free_bytes("card") == 8
    sample(world, 8)
    sample(world, 1)
    assert ledger.steady_free_bytes("card") == 4, "of others they do"


def test_bytes_of_a_load_do_not_linger_as_others_where_nobody_tells_whose_they_are(world: CoreWorld) -> None:
    ledger = world.core.state.ledger
    sample(world, 1)
    world.request("middle", RequestKind.LOAD)
    world.run_errand()
    world.run_errand()
    assert state(world, "middle") is ModelState.LOADING
    sample(world, 1, hidden=4, attributed=False)
    run_all(world)
    sample(world, 1, attributed=False)
    assert ledger.steady_free_bytes("card") == 4


def test_no_spare_starts_while_the_host_is_closed() -> None:
    world = CoreWorld(spare=False)
    world.core = Core(Config(), {"card": CARD, "host": HOST}, usable_cores=3, spare_bytes=SPARE)
    sample(world, 37, device="host")
    world.tell(Started(world.now_s))
    for _ in range(10):
        sample(world, 20, device="host")
        assert world.actions == []
    for _ in range(50):
        sample(world, 20, device="host")
    assert [action for action in world.actions if isinstance(action, Spawn)]


def test_a_host_on_which_processes_take_more_than_they_were_quoted_gets_no_spare_either() -> None:
    world = CoreWorld(spare=False)
    world.core = Core(Config(), {"card": CARD, "host": HOST}, usable_cores=3, spare_bytes=SPARE)
    world.tell(DeviceSampled(0.0, "host", 40, 20, 38))
    world.tell(Started(0.0))
    assert world.core.state.ledger.steady_free_bytes("host") > SPARE
    assert world.actions == []
