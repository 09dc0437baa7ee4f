"""Reservations that callers announce for other programs, in the core: one scenario each, without any I/O."""

import pytest
from support.core_world import CoreWorld
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Evicted, GrantReservation, LedgerChanged, Load, Refuse, Spawn, Stop
from vramd_supervisor.core.events import DeadlinePassed, ReservationExpired, ShutdownRequested
from vramd_supervisor.core.ledger import Account, Ledger
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.core.view import reservations
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.config import Config, ServerConfig

NO_SPARE = Config(server=ServerConfig(spare=False))


def world_of() -> CoreWorld:
    return CoreWorld(NO_SPARE, spare=False)


def run_all(world: CoreWorld) -> None:
    while world.errands:
        world.run_errand()


def loaded(world: CoreWorld, *models: str) -> None:
    for model in models:
        world.now_s += 1
        request = world.request(model)
        run_all(world)
        world.caller(request, "end")


def state(world: CoreWorld, model: str) -> ModelState:
    return world.core.state.models[model].state


def reserved(world: CoreWorld, device: str) -> int:
    return world.core.state.ledger.reserved_bytes(device)


def refused(world: CoreWorld) -> Refuse:
    (refuse,) = [action for action in world.actions if isinstance(action, Refuse)]
    return refuse


def granted(world: CoreWorld) -> list[int]:
    return [action.request for action in world.actions if isinstance(action, GrantReservation)]


def ring(world: CoreWorld, kind: type[ReservationExpired] | type[DeadlinePassed]) -> None:
    """Goes on to the last timer of a kind."""
    timer = [timer for timer in world.timers if isinstance(timer, kind)][-1]
    world.now_s = timer.at_s
    world.tell(timer)


@pytest.fixture
def world() -> CoreWorld:
    return world_of()


def test_room_is_made_before_the_grant_and_the_least_recently_used_goes(world: CoreWorld) -> None:
    loaded(world, "middle", "small")
    asked = world.announce("card", 4)
    (evicted,) = [a for a in world.actions if isinstance(a, Evicted)]
    assert (evicted.model, evicted.beneficiary.name) == (
        "middle",
        f"reservation {evicted.beneficiary.reservation} (game)",
    )
    assert evicted.because.cause is Cause.EVICTED_FOR_RESERVATION
    assert "lacks 0.0 MiB on card" in evicted.because.words
    assert granted(world) == []
    assert reserved(world, "card") == 6, "nothing is promised before it is free"
    world.run_errand()
    assert granted(world) == [], "the process is gone, its memory is not back"
    world.run_errand()
    assert granted(world) == [asked]
    assert reserved(world, "card") == 6
    assert state(world, "small") is ModelState.READY


def test_room_that_is_there_is_given_at_once_and_the_ledger_says_why(world: CoreWorld) -> None:
    asked = world.announce("host", 3, ttl_s=7.5)
    assert granted(world) == [asked]
    (change,) = [a for a in world.actions if isinstance(a, LedgerChanged)]
    assert (change.reserved_and_budget["host"], change.message) == ((3, 12), "reservation 1 (game) stands for 7.5 s")


def test_it_ends_after_its_time(world: CoreWorld) -> None:
    world.announce("card", 8, ttl_s=30)
    ring(world, ReservationExpired)
    assert world.now_s == 30
    assert reserved(world, "card") == 0
    (change,) = [a for a in world.actions if isinstance(a, LedgerChanged)]
    assert change.message == "reservation 1 (game) has had its time"


def test_it_ends_by_release_and_a_second_release_is_harmless(world: CoreWorld) -> None:
    world.announce("card", 8)
    world.release(world.reserved[0])
    assert reserved(world, "card") == 0
    for _ in range(2):
        world.release(world.reserved[0])
        assert world.actions == []
    assert not world.is_set(ReservationExpired(0.0, world.reserved[0]))
    world.tell(ReservationExpired(60.0, world.reserved[0]))
    assert world.actions == []


def test_it_waits_for_a_busy_model(world: CoreWorld) -> None:
    busy = world.request("middle")
    run_all(world)
    asked = world.announce("card", 6)
    run_all(world)
    assert granted(world) == []
    assert state(world, "middle") is ModelState.READY
    world.caller(busy, "end")
    run_all(world)
    assert world.reserved
    assert asked not in world.open_requests


def test_it_waits_no_longer_than_its_caller(world: CoreWorld) -> None:
    world.request("middle")
    run_all(world)
    asked = world.announce("card", 6, limit_s=5)
    world.tell(DeadlinePassed(5.0, asked))
    assert refused(world).refusal.reason is Reason.DEADLINE_PASSED
    assert not world.core.state.pending_reservations


def test_what_can_never_fit_is_refused_with_the_numbers(world: CoreWorld) -> None:
    world.announce("card", 9)
    refusal = refused(world).refusal
    assert refusal.reason is Reason.RESERVATION_TOO_LARGE
    assert refusal.metadata == {"device": "card", "neededBytes": "9", "budgetBytes": "8"}


def test_what_pinned_models_hold_is_not_taken_and_they_are_named(world: CoreWorld) -> None:
    loaded(world, "pinned")
    world.announce("card", 8)
    refusal = refused(world).refusal
    assert refusal.reason is Reason.RESERVATION_EXHAUSTED
    assert refusal.metadata["heldBy"].startswith("pinned")
    assert state(world, "pinned") is ModelState.READY


def test_a_load_does_not_evict_a_reservation_and_hears_of_it(world: CoreWorld) -> None:
    world.announce("card", 6)
    world.request("middle")
    world.run_errand()
    refusal = refused(world).refusal
    assert refusal.reason is Reason.MEMORY_EXHAUSTED
    assert refusal.metadata["heldBy"] == "reservation 1 (game) 0.0 MiB"
    world.release(world.reserved[0])
    loaded(world, "middle")
    assert state(world, "middle") is ModelState.READY


def test_no_load_overtakes_it_on_its_device(world: CoreWorld) -> None:
    busy = world.request("middle")
    run_all(world)
    world.announce("card", 7)
    world.request("small", RequestKind.LOAD)
    run_all(world)
    assert state(world, "small") is ModelState.QUEUED, "there would be room for it"
    world.request("ram", RequestKind.LOAD)
    run_all(world)
    assert state(world, "ram") is ModelState.READY, "of another device"
    world.caller(busy, "end")
    run_all(world)
    assert len(world.reserved) == 1


def test_it_overtakes_no_load_that_waits(world: CoreWorld) -> None:
    busy = world.request("middle")
    run_all(world)
    first = world.request("large", RequestKind.LOAD)
    run_all(world)
    world.announce("card", 2)
    assert granted(world) == []
    world.caller(busy, "end")
    run_all(world)
    assert first not in world.open_requests
    assert state(world, "large") is ModelState.UNLOADED, "idle again, it went for the reservation"
    assert len(world.reserved) == 1


def test_a_spare_goes_first_and_none_starts_while_a_reservation_waits() -> None:
    world = CoreWorld()
    run_all(world)
    spare = world.core.state.spare
    assert spare is not None
    loaded(world, "small")
    run_all(world)
    spare = world.core.state.spare
    assert spare is not None
    world.announce("host", 11)
    assert [a.worker_id for a in world.actions if isinstance(a, Stop)] == [spare.id]
    assert not [a for a in world.actions if isinstance(a, Evicted)], "the spare is enough"
    while world.errands:
        world.run_errand()
        assert not [a for a in world.actions if isinstance(a, Spawn)]
    assert len(world.reserved) == 1
    assert state(world, "small") is ModelState.READY
    world.release(world.reserved[0])
    assert [a for a in world.actions if isinstance(a, Spawn)], "now there is room for the next"


def test_a_load_does_not_take_a_spare_that_goes() -> None:
    world = CoreWorld()
    run_all(world)
    world.announce("host", 12)
    world.request("small", RequestKind.LOAD)
    run_all(world)
    assert not [a for a in world.actions if isinstance(a, Load)]
    assert len(world.reserved) == 1


def test_a_caller_that_leaves_leaves_no_reservation(world: CoreWorld) -> None:
    busy = world.request("middle")
    run_all(world)
    waits = world.announce("card", 6)
    world.caller(waits, "cancel")
    assert not world.core.state.pending_reservations
    world.caller(busy, "end")
    assert state(world, "middle") is ModelState.READY, "nobody wants its room any more"


def test_a_caller_that_leaves_in_the_moment_of_the_grant_leaves_none_either(world: CoreWorld) -> None:
    asked = world.announce("card", 6)
    world.open_requests.add(asked)
    world.caller(asked, "cancel")
    assert reserved(world, "card") == 0


def test_an_end_ends_reservations_and_tells_those_who_wait(world: CoreWorld) -> None:
    world.request("middle")
    run_all(world)
    world.announce("card", 2)
    world.announce("card", 5)
    world.tell(ShutdownRequested(world.now_s, force=True))
    assert Reason.SHUTTING_DOWN in [a.refusal.reason for a in world.actions if isinstance(a, Refuse)]
    assert not world.core.state.reservations
    world.announce("card", 1)
    assert refused(world).refusal.reason is Reason.SHUTTING_DOWN
    run_all(world)
    assert world.exited


@pytest.mark.parametrize(
    ("external", "free"),
    [(10, 50), (20, 50), (50, 50), (60, 40), (0, 50)],
    ids=["nothing taken yet", "a part", "all of it", "more than was said", "less than before"],
)
def test_what_arrives_of_the_announced_bytes_is_not_counted_twice(external: int, free: int) -> None:
    ledger = Ledger({"card": Account(total_bytes=100, budget_bytes=90, external_bytes=10)})
    ledger.reserve(1, {"card": 40})
    ledger.observe("card", 100, external)
    assert ledger.free_bytes("card") == free
    ledger.check()


def test_one_growth_counts_for_two_reservations_together_once() -> None:
    ledger = Ledger({"card": Account(total_bytes=100, budget_bytes=100)})
    ledger.reserve(1, {"card": 20})
    ledger.reserve(2, {"card": 30})
    ledger.observe("card", 100, 25)
    assert ledger.free_bytes("card") == 50
    ledger.observe("card", 100, 70)
    assert ledger.free_bytes("card") == 30


def listed(world: CoreWorld) -> list[tuple[str, int, int, float]]:
    return [
        (one.label, one.size_bytes, one.taken_bytes, one.left_s) for one in reservations(world.core.state, world.now_s)
    ]


def test_those_that_stand_are_listed_with_what_is_taken_and_left(world: CoreWorld) -> None:
    world.sample("host", 1)
    world.announce("card", 4, ttl_s=30, label="game")
    world.now_s += 10
    world.announce("host", 3, ttl_s=60, label="")
    assert listed(world) == [("game", 4, 0, 20.0), ("", 3, 0, 60.0)]
    assert [one.id for one in reservations(world.core.state, world.now_s)] == world.reserved
    world.sample("host", 3)
    assert listed(world)[1] == ("", 3, 2, 60.0), "one was there before"
    world.sample("host", 9)
    assert listed(world)[1] == ("", 3, 3, 60.0), "no more than was reserved"
    world.release(world.reserved[0])
    assert listed(world) == [("", 3, 3, 60.0)]
    ring(world, ReservationExpired)
    assert listed(world) == []


def test_one_that_waits_for_room_is_not_listed_yet(world: CoreWorld) -> None:
    busy = world.request("middle")
    run_all(world)
    world.announce("card", 6)
    assert listed(world) == []
    world.caller(busy, "end")
    run_all(world)
    assert listed(world) == [("game", 6, 0, 60.0)]
