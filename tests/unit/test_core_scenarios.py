"""The core, told what happens and asked what it wants done: one scenario each, without any I/O."""

from dataclasses import replace

import pytest
from support.core_world import MODELS, NEEDS, CoreWorld, plan
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Evicted, FindPlans, Grant, Load, Refuse, Report, SetThreads, Spawn, Stop
from vramd_supervisor.core.events import (
    DeadlinePassed,
    KeepAliveEnded,
    LoadLimitReached,
    LoadProgressed,
    ModelUpdated,
    ShutdownRequested,
    UnloadRequested,
)
from vramd_supervisor.core.ledger import Account
from vramd_supervisor.core.scheduler import SPARE_PATIENCE_S
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.core.view import books, resident, residents, taken_bytes
from vramd_supervisor.domain.config import Config, SchedulingConfig, ServerConfig
from vramd_supervisor.quoting.placement import differences

NO_SPARE = Config(server=ServerConfig(spare=False))


def world_of(config: Config = NO_SPARE) -> CoreWorld:
    return CoreWorld(config, spare=False)


def run_all(world: CoreWorld) -> None:
    while world.errands:
        world.run_errand()


def loaded(world: CoreWorld, *models: str) -> None:
    """Loads models one after the other; the first is then the least recently used."""
    for model in models:
        world.now_s += 1
        request = world.request(model)
        run_all(world)
        world.caller(request, "end")


def state(world: CoreWorld, model: str) -> ModelState:
    return world.core.state.models[model].state


def refusals(world: CoreWorld) -> list[Reason]:
    return [action.refusal.reason for action in world.actions if isinstance(action, Refuse)]


@pytest.fixture
def world() -> CoreWorld:
    return world_of()


def test_twenty_callers_of_one_cold_model_start_one_process(world: CoreWorld) -> None:
    for _ in range(20):
        world.request("small")
    assert len(world.errands) == 1, "one quote"
    run_all(world)
    assert len(world.alive) == 1
    assert len(world.granted) == 2, "as many as may run at once"


def test_the_next_in_line_is_served_when_a_place_is_free(world: CoreWorld) -> None:
    first, second, third = (world.request("small") for _ in range(3))
    run_all(world)
    assert sorted(world.granted) == [first, second]
    world.caller(first, "end")
    assert [a.request for a in world.actions if isinstance(a, Grant)] == [third]


def test_the_least_recently_used_goes_not_the_oldest(world: CoreWorld) -> None:
    loaded(world, "small", "middle")
    world.now_s += 1
    again = world.request("small")
    world.caller(again, "end")
    world.request("large")
    world.run_errand()
    assert [a.model for a in world.actions if isinstance(a, Evicted)] == ["middle", "small"]
    assert {a.beneficiary.model for a in world.actions if isinstance(a, Evicted)} == {"large"}


def test_no_more_is_evicted_than_is_needed(world: CoreWorld) -> None:
    loaded(world, "middle", "small", "pinned")
    world.request("ram")
    run_all(world)
    assert state(world, "middle") is ModelState.READY, "there is room without it"
    assert state(world, "ram") is ModelState.READY


def test_a_busy_model_is_waited_for_and_a_pinned_one_stays(world: CoreWorld) -> None:
    loaded(world, "pinned")
    busy = world.request("middle")
    run_all(world)
    waits = world.request("large", RequestKind.LOAD)
    run_all(world)
    assert state(world, "large") is ModelState.QUEUED
    assert any("middle" in a.message for a in world.actions if isinstance(a, Report) and a.request == waits)
    world.caller(busy, "end")
    assert [a.model for a in world.actions if isinstance(a, Evicted)] == ["middle"]
    run_all(world)
    assert refusals(world) == []
    assert state(world, "large") is ModelState.READY
    assert state(world, "pinned") is ModelState.READY


def test_a_model_that_can_never_fit_is_refused_at_once_with_the_numbers(world: CoreWorld) -> None:
    world.request("giant")
    world.run_errand()
    (refuse,) = [a for a in world.actions if isinstance(a, Refuse)]
    assert refuse.refusal.reason is Reason.MODEL_TOO_LARGE
    assert refuse.refusal.metadata == {"model": "giant", "device": "card", "neededBytes": "9", "budgetBytes": "8"}


def test_what_pinned_models_and_other_programs_hold_is_named(world: CoreWorld) -> None:
    loaded(world, "pinned")
    world.sample("card", 3)
    world.request("large")
    world.run_errand()
    (refuse,) = [a for a in world.actions if isinstance(a, Refuse)]
    assert refuse.refusal.reason is Reason.MEMORY_EXHAUSTED
    assert "pinned" in refuse.refusal.message
    assert "other programs" in refuse.refusal.message


@pytest.mark.parametrize("external", [0, 3, 60])
def test_where_the_budget_is_the_limit_others_are_not_blamed(world: CoreWorld, external: int) -> None:
    ledger = world.core.state.ledger
    loaded(world, "pinned")
    ledger._accounts["card"] = Account(total_bytes=80, budget_bytes=7, external_bytes=external)
    world.request("large")
    world.run_errand()
    (refuse,) = [a for a in world.actions if isinstance(a, Refuse)]
    assert refuse.refusal.reason is Reason.MEMORY_EXHAUSTED
    assert "of the budget of" in refuse.refusal.message
    assert "raise the budget (devices.card.budget)" in refuse.refusal.message
    assert "program" not in refuse.refusal.message
    assert "other programs" not in refuse.refusal.metadata["heldBy"]


def test_memory_on_its_way_back_is_waited_for_without_a_further_eviction(world: CoreWorld) -> None:
    loaded(world, "middle", "small")
    world.request("large")
    world.run_errand()
    evicted = [a.model for a in world.actions if isinstance(a, Evicted)]
    world.sample("card", 0)
    assert not [a for a in world.actions if isinstance(a, Evicted)], "chosen twice"
    assert evicted == ["middle", "small"]


def test_a_load_that_waits_lets_nobody_overtake_it_on_its_device(world: CoreWorld) -> None:
    busy = world.request("middle")
    run_all(world)
    world.request("large")
    run_all(world)
    world.request("small")
    world.request("ram")
    run_all(world)
    assert state(world, "small") is ModelState.QUEUED, "it would fit, and keep the large one out for ever"
    assert state(world, "ram") is ModelState.READY, "it takes nothing that the large one waits for"
    world.caller(busy, "end")
    run_all(world)
    assert state(world, "large") is ModelState.READY


def test_a_caller_that_leaves_does_not_stop_the_load(world: CoreWorld) -> None:
    request = world.request("small")
    world.run_errand()
    world.caller(request, "cancel")
    run_all(world)
    assert state(world, "small") is ModelState.READY


def test_a_spare_is_used_by_the_next_load_and_replaced_behind_its_first_answer() -> None:
    world = CoreWorld()
    run_all(world)
    request = world.request("small")
    world.run_errand()
    assert any(isinstance(a, Load) for a in world.actions)
    run_all(world)
    assert state(world, "small") is ModelState.READY
    assert len(world.alive) == 1, "a process that starts would slow the load down"
    world.caller(request, "stream")
    assert sum(isinstance(a, Spawn) for a in world.actions) == 1, "the next spare"
    run_all(world)
    assert len(world.alive) == 2


def test_the_next_spare_does_not_wait_for_a_slow_load_for_ever() -> None:
    world = CoreWorld()
    run_all(world)
    world.request("small")
    world.run_errand()
    for after_s, alive in ((0.0, 1), (SPARE_PATIENCE_S - 0.1, 1), (SPARE_PATIENCE_S, 2)):
        world.now_s = after_s
        world.sample("host", 0)
        assert len(world.alive) == alive
    assert state(world, "small") is ModelState.LOADING


def test_the_next_spare_comes_at_once_if_only_the_load_was_asked_for() -> None:
    world = CoreWorld()
    run_all(world)
    world.request("small", RequestKind.LOAD)
    run_all(world)
    assert len(world.alive) == 2


def test_the_first_worker_goes_again_where_no_spare_is_wanted() -> None:
    world = CoreWorld(NO_SPARE)
    world.run_errand()
    assert any(isinstance(a, Stop) for a in world.actions)
    run_all(world)
    assert not world.alive


def test_a_spare_that_cannot_start_is_not_tried_again_and_again() -> None:
    world = CoreWorld()
    world.fail_errand()
    run_all(world)
    assert not world.alive


def test_what_a_process_leaves_unsaid_is_not_to_be_made_again(world: CoreWorld) -> None:
    silent, speaking = world.request("small", resume=False), world.request("small", resume=False)
    run_all(world)
    world.caller(speaking, "stream")
    world.crash(next(iter(world.alive)))
    told = {action.request: action.refusal.retry for action in world.actions if isinstance(action, Refuse)}
    assert told == {silent: False, speaking: False}


def test_callers_of_a_model_that_drains_wait_for_its_next_life(world: CoreWorld) -> None:
    running = world.request("small")
    run_all(world)
    world.unload("small")
    assert state(world, "small") is ModelState.DRAINING
    late = world.request("small")
    assert late not in world.granted, "a victim admits nothing new"
    world.caller(running, "end")
    run_all(world)
    assert world.granted.keys() == {late}


def test_a_forced_unload_ends_what_runs(world: CoreWorld) -> None:
    world.request("small", resume=False)
    run_all(world)
    world.unload("small", force=True)
    assert refusals(world) == [Reason.MODEL_UNLOADED]
    assert state(world, "small") is ModelState.STOPPING


def test_a_drain_ends_at_its_time(world: CoreWorld) -> None:
    world.request("small")
    run_all(world)
    world.unload("small")
    began_s = world.now_s
    while state(world, "small") is ModelState.DRAINING:
        world.next_timer()
    assert world.now_s - began_s == world.config.scheduling.drain_s


def test_unloading_what_is_not_loaded_is_an_error(world: CoreWorld) -> None:
    world.unload("small")
    assert refusals(world) == [Reason.MODEL_NOT_LOADED]


def test_an_unload_gives_up_a_load_that_waits_for_room(world: CoreWorld) -> None:
    world.request("middle")
    run_all(world)
    world.request("large")
    run_all(world)
    world.unload("large")
    assert refusals(world) == [Reason.MODEL_UNLOADED, Reason.MODEL_NOT_LOADED]
    assert state(world, "large") is ModelState.UNLOADED


def test_an_idle_model_leaves_after_its_time_and_a_use_prolongs_it(world: CoreWorld) -> None:
    loaded(world, "small")
    ends_s = world.now_s + 60
    world.now_s += 50
    again = world.request("small")
    world.caller(again, "end")
    worker_id = next(iter(world.alive))
    world.tell(KeepAliveEnded(ends_s, worker_id))
    assert state(world, "small") is ModelState.READY
    world.tell(KeepAliveEnded(world.now_s + 60, worker_id))
    assert state(world, "small") is ModelState.STOPPING


def test_keep_alive_of_a_request_counts_from_then_on(world: CoreWorld) -> None:
    stays = world.request("small", keep_alive_s=-1.0)
    run_all(world)
    world.caller(stays, "end")
    world.tell(KeepAliveEnded(world.now_s + 1e6, next(iter(world.alive))))
    assert state(world, "small") is ModelState.READY
    leaves = world.request("small", keep_alive_s=0.0)
    world.caller(leaves, "end")
    assert state(world, "small") is ModelState.STOPPING


def test_a_pinned_model_is_never_idle_for_too_long(world: CoreWorld) -> None:
    loaded(world, "pinned")
    world.tell(KeepAliveEnded(world.now_s + 1e6, next(iter(world.alive))))
    assert state(world, "pinned") is ModelState.READY


def test_a_request_that_waits_too_long_is_told_so(world: CoreWorld) -> None:
    request = world.request("small", limit_s=3.0)
    world.tell(DeadlinePassed(3.0, request))
    assert refusals(world) == [Reason.DEADLINE_PASSED]
    run_all(world)
    assert state(world, "small") is ModelState.READY, "the load goes on"


def test_a_load_that_takes_too_long_is_ended(world: CoreWorld) -> None:
    world.request("small")
    world.run_errand()
    world.run_errand()
    worker_id = next(iter(world.alive))
    world.tell(LoadLimitReached(900.0, worker_id))
    assert refusals(world) == [Reason.LOAD_TIMEOUT]
    run_all(world)
    assert not world.memory


def test_full_queues_refuse_and_say_how_many_wait() -> None:
    world = world_of(Config(server=ServerConfig(spare=False), scheduling=SchedulingConfig(queue_per_model=2)))
    world.request("small")
    world.request("small")
    world.request("small")
    assert refusals(world) == [Reason.QUEUE_FULL]


def test_other_settings_than_the_loaded_ones_are_refused_by_name(world: CoreWorld) -> None:
    loaded(world, "small")
    world.request("small", context_tokens=4096)
    (refuse,) = [a for a in world.actions if isinstance(a, Refuse)]
    assert refuse.refusal.reason is Reason.MODEL_LOADED_DIFFERENTLY
    assert "context_tokens is 2048, asked for 4096" in refuse.refusal.message
    same = world.request("small", context_tokens=2048)
    assert same in world.granted


def test_an_unknown_model_is_refused_with_a_near_name(world: CoreWorld) -> None:
    world.request("smal")
    (refuse,) = [a for a in world.actions if isinstance(a, Refuse)]
    assert refuse.refusal.reason is Reason.MODEL_NOT_FOUND
    assert "small" in refuse.refusal.message


def test_threads_are_shared_while_two_generate_and_given_back(world: CoreWorld) -> None:
    loaded(world, "small", "ram")
    first = world.request("small")
    (grant,) = [a for a in world.actions if isinstance(a, Grant)]
    assert grant.threads == 2, "alone it gets all of its setting"
    second = world.request("ram")
    (grant,) = [a for a in world.actions if isinstance(a, Grant)]
    assert (grant.threads, world.core.state.threads) == (1, {1: 2, 2: 1}), "three cores in all"
    world.caller(first, "end")
    assert [(a.worker_id, a.threads) for a in world.actions if isinstance(a, SetThreads)] == [(2, 2)]
    world.caller(second, "end")
    assert world.core.state.threads == {}


def test_progress_reaches_those_who_wait_for_a_load(world: CoreWorld) -> None:
    request = world.request("small", RequestKind.LOAD)
    world.run_errand()
    world.run_errand()
    world.tell(LoadProgressed(world.now_s, next(iter(world.alive)), 0.25))
    assert [(a.request, a.share) for a in world.actions if isinstance(a, Report)] == [(request, 0.25)]


def test_a_model_whose_file_is_gone_leaves_when_nothing_uses_it_any_more(world: CoreWorld) -> None:
    busy = world.request("small")
    run_all(world)
    world.rescan(without="small")
    assert state(world, "small") is ModelState.READY
    world.caller(busy, "end")
    run_all(world)
    assert state(world, "small") is ModelState.READY, "what is loaded stays for as long as every other"
    world.wait(60.0)
    assert "small" not in world.core.state.models


def test_an_end_tells_the_waiting_lets_the_running_finish_and_leaves_nothing(world: CoreWorld) -> None:
    running = world.request("small")
    run_all(world)
    world.request("ram", RequestKind.LOAD)
    world.tell(ShutdownRequested(world.now_s))
    assert refusals(world) == [Reason.SHUTTING_DOWN]
    world.request("small")
    assert refusals(world) == [Reason.SHUTTING_DOWN]
    assert not world.exited
    world.caller(running, "end")
    run_all(world)
    assert world.exited


def test_a_second_end_cuts_off_what_runs(world: CoreWorld) -> None:
    world.request("small")
    run_all(world)
    world.tell(ShutdownRequested(world.now_s))
    world.tell(ShutdownRequested(world.now_s, force=True))
    assert refusals(world) == [Reason.SHUTTING_DOWN]


def test_late_and_double_news_are_harmless(world: CoreWorld) -> None:
    loaded(world, "small")
    before = residents(world.core.state, world.now_s)
    world.tell(DeadlinePassed(world.now_s, 777))
    world.tell(KeepAliveEnded(world.now_s, 777))
    world.tell(LoadProgressed(world.now_s, 777, 0.5))
    world.tell(LoadLimitReached(world.now_s, next(iter(world.alive))))
    assert residents(world.core.state, world.now_s) == before


def test_what_is_seen_of_it(world: CoreWorld) -> None:
    loaded(world, "small")
    world.now_s += 5
    seen = resident(world.core.state, "small", world.now_s)
    assert seen is not None
    assert (seen.state, seen.reserved, seen.parallel, seen.in_flight) == (
        ModelState.READY,
        {"card": 2, "host": 1},
        2,
        0,
    )
    assert (seen.loaded_s, seen.last_used_s) == (5, 5)
    assert resident(world.core.state, "ram", world.now_s) is None
    assert books(world.core.state)["card"].free_bytes == 6


def test_an_unload_without_a_model_is_refused(world: CoreWorld) -> None:
    world.open_requests.add(99)
    world.tell(UnloadRequested(world.now_s, 99, "nobody", 60.0))
    assert refusals(world) == [Reason.MODEL_NOT_FOUND]


def test_a_restart_gives_a_new_process_and_keeps_the_waiting_in_their_places(world: CoreWorld) -> None:
    running = [world.request("small"), world.request("small")]
    waiting = [world.request("small"), world.request("small")]
    run_all(world)
    (before,) = world.alive
    restart = world.restart("small")
    assert state(world, "small") is ModelState.READY, "until the new process is ready"
    run_all(world)
    assert state(world, "small") is ModelState.DRAINING
    assert world.open_requests == {*running, *waiting, restart}
    for request in running:
        world.caller(request, "end")
    run_all(world)
    (after,) = world.alive
    assert after != before
    assert restart not in world.open_requests
    assert sorted(world.granted) == waiting


def test_a_restart_while_loading_begins_anew_and_loses_nobody(world: CoreWorld) -> None:
    first = world.request("small")
    world.run_errand()
    restart = world.restart("small")
    assert state(world, "small") is ModelState.STOPPING
    run_all(world)
    assert restart not in world.open_requests
    assert first in world.granted


def test_a_restart_keeps_the_settings_that_were_asked_for(world: CoreWorld) -> None:
    loaded(world, "small")
    world.restart("small")
    (find,) = [errand for errand in world.errands if isinstance(errand, FindPlans)]
    assert (find.options.context_tokens, find.options.parallel, find.options.keep_alive_s) == (2048, 2, 60.0)


def test_what_has_no_process_cannot_be_restarted(world: CoreWorld) -> None:
    world.restart("small")
    assert refusals(world) == [Reason.MODEL_NOT_LOADED]


def test_a_model_can_be_pinned_and_unpinned_while_it_runs(world: CoreWorld) -> None:
    loaded(world, "middle")
    world.tell(ModelUpdated(world.now_s, "middle", pinned=True))
    world.request("large")
    world.run_errand()
    assert refusals(world) == [Reason.MEMORY_EXHAUSTED]
    world.tell(ModelUpdated(world.now_s, "middle", pinned=False))
    world.request("large")
    run_all(world)
    assert state(world, "large") is ModelState.READY


def test_a_changed_keep_alive_counts_at_once_and_for_the_next_life(world: CoreWorld) -> None:
    loaded(world, "small")
    world.tell(ModelUpdated(world.now_s, "small", keep_alive_s=0.0))
    assert state(world, "small") is ModelState.STOPPING
    run_all(world)
    again = world.request("small")
    run_all(world)
    world.caller(again, "end")
    assert state(world, "small") is ModelState.STOPPING


def test_a_load_does_not_take_the_first_worker_that_was_told_to_go() -> None:
    world = CoreWorld(NO_SPARE)
    request = world.request("small")
    world.run_errand()
    assert any(isinstance(errand, Stop) for errand in world.errands)
    run_all(world)
    assert request in world.granted


def test_an_answer_to_an_older_wish_is_none_to_a_newer_one(world: CoreWorld) -> None:
    world.request("small")
    world.unload("small")
    again = world.request("small")
    world.fail_errand()
    assert again in world.open_requests
    run_all(world)
    assert again in world.granted


def test_memory_that_a_device_shows_as_others_while_it_comes_back_does_not_refuse_a_load(world: CoreWorld) -> None:
    loaded(world, "middle")
    request = world.request("large")
    world.run_errand()
    world.run_errand()
    world.sample("card", 4)
    assert request in world.open_requests
    world.sample("card", 0)
    run_all(world)
    assert request in world.granted


def test_a_batch_longer_than_the_context_is_no_difference() -> None:
    settings = plan(NEEDS["small"]).settings
    asked = LoadOptions(batch_tokens=4096, context_tokens=2048)
    assert differences(MODELS["small"], settings, asked) == "batch_tokens is 512, asked for 2048"
    assert not differences(MODELS["small"], replace(settings, batch_tokens=2048), LoadOptions(batch_tokens=4096))


def test_what_a_load_will_take_does_not_count_as_taken_before_it_is_ready(world: CoreWorld) -> None:
    request = world.request("middle")
    world.run_errand()
    world.run_errand()
    assert (state(world, "middle"), taken_bytes(world.core.state, "card")) == (ModelState.LOADING, 0)
    run_all(world)
    assert taken_bytes(world.core.state, "card") == 4
    world.caller(request, "end")
    world.unload("middle")
    world.run_errand()
    assert taken_bytes(world.core.state, "card") == 0, "who is dead takes nothing for certain"
    run_all(world)
    assert taken_bytes(world.core.state, "card") == 0
