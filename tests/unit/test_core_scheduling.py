"""Who is served next and how long anybody waits: one scenario each, with the pure core on a virtual clock."""

import pytest
from support.core_scenes import Crowd, decided, evicted, refused, state, three, use, world_of
from support.core_world import CoreWorld
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import (
    Action,
    Complete,
    Grant,
    Load,
    Refuse,
    Report,
    Spawn,
)
from vramd_supervisor.core.events import LoadLimitReached, ModelUpdated, WorkerReady
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.config import BOUND_FACTORS, Priority
from vramd_supervisor.domain.decisions import DecisionKind

BOUND_S, DRAIN_S, STOP_S, RESIDENCY_S = 60.0, 30.0, 2.0, 10.0


@pytest.fixture
def world() -> CoreWorld:
    return world_of()


@pytest.mark.parametrize("priority", list(Priority))
def test_o29_a_victim_under_constant_load_from_eight_clients_yields_within_the_bound(
    world: CoreWorld, priority: Priority
) -> None:
    crowd = Crowd(world, "middle", 8)
    crowd.go_on(1.0)
    waits = world.request("large", priority=priority)
    bound_s = BOUND_S * BOUND_FACTORS[priority]
    early = crowd.go_on(bound_s - DRAIN_S - STOP_S - 1.0)
    assert not evicted(early), "nobody is sent away before it has to be"
    late = crowd.go_on(DRAIN_S + STOP_S + 1.0)
    assert evicted(late)[0] == "middle"
    (grant,) = [a for a in late if isinstance(a, Grant) and a.request == waits]
    assert grant.timeline["queued_s"] <= bound_s
    assert Reason.MODEL_UNLOADED not in refused(late), "answers of three seconds are not cut off"


def test_an_answer_that_does_not_end_is_cut_off_so_that_the_bound_holds(world: CoreWorld) -> None:
    endless = world.request("middle", resume=False)
    world.wait(1.0)
    waits = world.request("large")
    brought = world.wait(BOUND_S - STOP_S - 0.01)
    assert waits not in world.granted
    assert endless in world.granted
    brought = world.wait(0.01)
    assert refused(brought) == [Reason.MODEL_UNLOADED], "with the time left that a process may take to end"
    assert waits in world.granted
    (cut,) = [one.decision.message for one in decided(brought, DecisionKind.REFUSE)]
    assert "evicted for large" in cut


def test_a_bound_shorter_than_the_time_to_drain_shortens_that() -> None:
    world = world_of(starvation_bound_s=10.0, minimum_residency_s=0.0)
    world.request("middle", resume=False)
    world.wait(1.0)
    waits = world.request("large")
    brought = world.wait(10.0 - STOP_S - 0.01)
    assert state(world, "middle") is ModelState.DRAINING
    assert not refused(brought)
    assert refused(world.wait(0.01)) == [Reason.MODEL_UNLOADED]
    assert waits in world.granted


def test_a_model_that_is_in_use_stays_for_its_least_time() -> None:
    world = world_of(starvation_bound_s=31.0)
    world.request("large", RequestKind.LOAD)
    world.wait(0.0)
    world.wait(5.0)
    world.request("middle")
    world.wait(0.0)
    world.request("large")
    brought = world.wait(RESIDENCY_S - 0.01)
    assert evicted(brought) == []
    assert evicted(world.wait(0.02)) == ["middle"]
    world.wait(DRAIN_S)
    assert state(world, "large") is ModelState.READY, "within its bound"


def test_twenty_calls_of_one_model_with_one_of_another_in_the_middle_cost_at_most_two_swaps() -> None:
    world, brought = world_of(), list[Action]()
    calls = ["middle"] * 10 + ["large"] + ["middle"] * 10
    requests = []
    for model in calls:
        requests.append(world.request(model))
        brought += [*world.actions, *world.wait(0.1)]
    while world.open_requests:
        brought += world.wait(0.5)
        for request in sorted(world.granted):
            world.caller(request, "end")
            brought += [*world.actions, *world.wait(0.0)]
    assert len(evicted(brought)) <= 2
    assert {a.request for a in brought if isinstance(a, Grant)} == set(requests)


def test_r9_a_cold_model_serves_its_own_caller_before_it_may_be_evicted(world: CoreWorld) -> None:
    first = world.request("middle")
    world.run_errand()
    world.now_s += 0.1
    second = world.request("large")
    brought = world.wait(0.0)
    assert first in world.granted
    assert evicted(brought) == []
    world.caller(first, "end")
    world.wait(0.0)
    assert second in world.granted


def test_o28_a_victim_that_is_called_at_that_instant_still_goes_and_comes_back(world: CoreWorld) -> None:
    use(world, "middle")
    waits = world.request("large")
    world.run_errand()
    assert evicted(world.actions) == ["middle"]
    late = world.request("middle")
    assert late not in world.granted
    world.wait(0.0)
    assert waits in world.granted
    world.caller(waits, "end")
    world.wait(0.0)
    assert late in world.granted


def test_s16_calls_of_models_that_exclude_each_other_are_served_together() -> None:
    world, brought = world_of(three(group="one")), list[Action]()
    for model in "abcabc":
        world.request(model)
        brought += world.actions
    while world.open_requests:
        brought += world.wait(0.5)
        for request in sorted(world.granted):
            world.caller(request, "end")
            brought += world.actions
    assert evicted(brought) == ["a", "b"]
    assert sum(isinstance(a, Grant) for a in brought) == 6


def test_s18_a_caller_that_left_before_the_grant_keeps_nothing(world: CoreWorld) -> None:
    gone = world.request("middle")
    world.run_errand()
    world.caller(gone, "cancel")
    world.wait(0.0)
    waits = world.request("large")
    assert evicted(world.wait(0.0)) == ["middle"]
    assert waits in world.granted


def test_s21_the_urgent_first_and_within_one_priority_by_arrival(world: CoreWorld) -> None:
    running = [world.request("small"), world.request("small")]
    world.wait(0.0)
    order = [Priority.BATCH, Priority.NORMAL, Priority.INTERACTIVE, Priority.BATCH, Priority.INTERACTIVE]
    requests = [world.request("small", priority=priority) for priority in order]
    served = []
    for request in running:
        world.caller(request, "end")
        served += [a.request for a in world.actions if isinstance(a, Grant)]
    while world.granted:
        world.caller(min(world.granted, key=served.index), "end")
        served += [a.request for a in world.actions if isinstance(a, Grant)]
    assert served == [requests[place] for place in (2, 4, 1, 0, 3)]


def test_what_has_waited_for_a_bound_is_as_urgent_as_what_is_one_priority_above(world: CoreWorld) -> None:
    running = [world.request("small"), world.request("small")]
    world.wait(0.0)
    batch = world.request("small", priority=Priority.BATCH)
    world.wait(2 * BOUND_S - 1.0)
    urgent = world.request("small")
    world.wait(2.0)
    later = world.request("small")
    for request in running:
        world.caller(request, "end")
    assert set(world.granted) == {urgent, batch}
    assert later in world.open_requests


def test_the_priority_of_a_model_holds_where_a_call_does_not_say(world: CoreWorld) -> None:
    world.request("small")
    world.request("small")
    world.wait(0.0)
    world.tell(ModelUpdated(world.now_s, "small", priority=Priority.BATCH))
    batch, urgent = world.request("small"), world.request("small", priority=Priority.INTERACTIVE)
    world.caller(min(world.granted), "end")
    assert urgent in world.granted
    assert batch not in world.granted


def test_a_more_urgent_caller_makes_a_load_that_waits_more_urgent() -> None:
    world = world_of(three())
    use(world, "a")
    busy = [world.request("a"), world.request("b")]
    world.wait(0.0)
    world.request("c", priority=Priority.BATCH)
    assert evicted(world.wait(BOUND_S)) == []
    world.request("c", priority=Priority.INTERACTIVE)
    brought = [*world.actions, *world.wait(0.0)]
    assert evicted(brought) == ["a"], "the load has waited for its bound already"
    assert busy[1] in world.granted


def test_the_queues_of_a_model_and_of_all_are_limited_and_loads_and_holds_join_without_a_place() -> None:
    world = world_of(queue_per_model=2, queue_total=3)
    for kind in [RequestKind.HOLD, *[RequestKind.LOAD] * 100]:
        world.request("small", kind)
        assert refused(world.actions) == []
    world.request("small")
    world.request("small")
    assert refused(world.actions) == []
    world.request("small")
    assert refused(world.actions) == [Reason.QUEUE_FULL]
    world.request("middle")
    world.request("large")
    assert refused(world.actions) == [Reason.QUEUE_FULL]
    (refuse,) = [a for a in world.actions if isinstance(a, Refuse)]
    assert "3 in all (at most 3)" in refuse.refusal.message
    assert refuse.refusal.reason.value.retry_after_s


def test_a_grant_tells_what_the_time_was_spent_on(world: CoreWorld) -> None:
    running = world.request("middle")
    world.wait(0.0)
    world.request("large")
    world.run_errand()
    world.now_s += 4.0
    world.caller(running, "end")
    for seconds in (0.0, 2.0, 1.0, 8.0):
        world.now_s += seconds
        world.run_errand()
    (grant,) = [a for a in world.actions if isinstance(a, Grant)]
    assert grant.timeline == pytest.approx({"queued_s": 4.0, "drained_s": 2.0, "spawned_s": 1.0, "loaded_s": 8.0})
    world.caller(grant.request, "end")
    world.request("large")
    (grant,) = [a for a in world.actions if isinstance(a, Grant)]
    assert grant.timeline == {}, "it is there"


def test_a_waiting_caller_hears_its_place_if_it_wants_to(world: CoreWorld) -> None:
    world.request("small")
    silent, curious = world.request("small"), world.request("small", progress=True)
    last = world.request("small", progress=True)
    told = {a.request: a.ahead for a in world.actions if isinstance(a, Report)}
    assert told == {curious: 2, last: 3}
    world.caller(silent, "cancel")
    assert {a.request: a.ahead for a in world.actions if isinstance(a, Report)} == {curious: 1, last: 2}


def test_a_short_deadline_does_not_start_a_long_load_anew_each_time() -> None:
    world, brought = world_of(), list[Action]()
    world.request("small", limit_s=2.0)
    while not isinstance(world.errands[0], Load):
        world.run_errand()
    load = world.errands.pop()
    for _ in range(3):
        brought += world.wait(2.5)
        world.request("small", limit_s=2.0)
        brought += world.actions
    assert refused(brought) == [Reason.DEADLINE_PASSED] * 3
    assert not [a for a in brought if isinstance(a, Spawn)]
    world.errands.append(load)
    world.run_errand()
    assert len(world.granted) == 1


def test_a_load_only_waits_for_the_model_and_takes_no_place(world: CoreWorld) -> None:
    loads = [world.request("small", RequestKind.LOAD) for _ in range(4)]
    brought = world.wait(0.0)
    assert [a.request for a in brought if isinstance(a, Complete)] == loads
    assert not world.granted


def test_who_calls_for_a_load_that_has_waited_long_enough_for_nobody_does_not_wait_anew(world: CoreWorld) -> None:
    busy = world.request("middle")
    world.wait(0.0)
    gone = world.request("large")
    world.wait(1.0)
    world.caller(gone, "cancel")
    assert evicted(world.wait(BOUND_S)) == [], "nobody is sent away for nobody"
    world.request("large")
    assert evicted(world.actions) == ["middle"]
    assert busy in world.granted, "it may end first"


def test_late_news_and_timers_of_a_former_process_do_not_touch_the_next(world: CoreWorld) -> None:
    world.request("small")
    while not isinstance(world.errands[0], Load):
        world.run_errand()
    (former,) = world.alive
    world.crash(former)
    request = world.request("small")
    world.errands = [one for one in world.errands if not isinstance(one, Load)]
    release = world.errands.pop(0)
    world.next_timer()
    while not isinstance(world.errands[0], Load):
        world.run_errand()
    assert former in world.memory, "its memory is not back, so its row still stands"
    world.tell(WorkerReady(world.now_s, former, 2048))
    assert state(world, "small") is ModelState.LOADING
    world.tell(LoadLimitReached(world.now_s, former))
    assert request in world.open_requests
    world.errands.append(release)
    world.wait(0.0)
    assert request in world.granted


def test_a_load_that_a_hold_keeps_out_from_now_on_is_refused_at_once(world: CoreWorld) -> None:
    running = world.request("middle")
    world.wait(0.0)
    waits = world.request("large")
    world.wait(1.0)
    world.request("middle", RequestKind.HOLD)
    assert refused(world.actions) == [Reason.MEMORY_EXHAUSTED]
    assert waits not in world.open_requests
    assert running in world.granted
