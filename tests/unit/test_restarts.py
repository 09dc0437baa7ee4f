"""A model whose processes die: pauses, strikes, quarantine, the load on probation, the breaker."""

import itertools
from dataclasses import replace

import pytest
from support.core_scenes import Memory, decided, refused, state, three
from support.core_world import CoreWorld
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import FindPlans, Load, ModelChanged, Refuse, Spawn
from vramd_supervisor.core.events import LoadRefused, ModelReset, PlansRefused
from vramd_supervisor.core.restarts import (
    BREAKER_DEATHS,
    BREAKER_S,
    FIRST_PAUSE_S,
    LEAST_BETWEEN_S,
    LONGEST_PAUSE_S,
    PROVEN_S,
    SPREAD_SHARE,
    WINDOW_S,
    Breaker,
    History,
    Limits,
    Strike,
    pause_s,
    strike,
)
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.config import Config, ModelConfig, ServerConfig
from vramd_supervisor.domain.decisions import DecisionKind
from vramd_supervisor.domain.errors import refusal
from vramd_supervisor.domain.receipt import Exit

LIMITS = Limits(3, 900.0)


def world_with(strikes: int = 3, **more: object) -> Memory:
    world = Memory(three(**more))
    config = world.core.state.config
    world.core.state.config = replace(config, server=replace(config.server, strikes=strikes))
    return world


def kill(world: CoreWorld, how: Exit = Exit.CRASHED) -> None:
    """Ends the one process that lives."""
    world.crash(*world.alive, how=how)


def die_loading(world: CoreWorld, times: int, how: Exit = Exit.CRASHED) -> None:
    """Each next load of a model ends like this."""
    for _ in range(times):
        while not any(isinstance(errand, Load) for errand in world.errands):
            if world.errands:
                world.run_errand()
            else:
                world.next_timer()
        world.errands = [errand for errand in world.errands if not isinstance(errand, Load)]
        kill(world, how)


def loads(world: Memory) -> int:
    return sum(isinstance(action, Load) for action in world.brought)


def granted(world: Memory, keep_alive_s: float | None = None) -> int:
    """A request that runs."""
    request = world.request("a", keep_alive_s=keep_alive_s)
    world.wait(0.0)
    assert request in world.granted
    return request


# The rules.


def test_pauses_double_up_to_a_limit_and_processes_that_died_together_do_not_come_back_together() -> None:
    for worker_id in range(1, 50):
        pauses = [pause_s(count, worker_id) for count in range(1, 40)]
        for before, after in itertools.pairwise(pauses):
            assert after == pytest.approx(2 * before) or after >= LONGEST_PAUSE_S * (1 - SPREAD_SHARE)
        assert FIRST_PAUSE_S * (1 - SPREAD_SHARE) <= pauses[0] <= FIRST_PAUSE_S
        assert pauses[-1] <= LONGEST_PAUSE_S
    firsts = sorted(pause_s(1, worker_id) for worker_id in range(1, 17))
    gaps = [after - before for before, after in itertools.pairwise(firsts)]
    assert min(gaps) > FIRST_PAUSE_S * SPREAD_SHARE / 40


def test_strikes_count_within_their_window_only() -> None:
    history = History()
    assert not strike(history, Strike(0.0, Exit.DIED, ""), LIMITS)
    assert not strike(history, Strike(WINDOW_S - 1, Exit.DIED, ""), LIMITS)
    assert not strike(history, Strike(WINDOW_S, Exit.DIED, ""), LIMITS), "the first one is too old by now"
    assert strike(history, Strike(WINDOW_S + 1, Exit.DIED, ""), LIMITS)
    assert history.is_quarantined(WINDOW_S + 900.0)
    assert not history.is_quarantined(WINDOW_S + 901.0)


def test_no_strikes_are_counted_where_the_configuration_wants_none() -> None:
    history = History()
    assert not any(strike(history, Strike(float(at), Exit.DIED, ""), Limits(0, 900.0)) for at in range(100))


def test_the_breaker_opens_once_and_closes_by_itself() -> None:
    breaker = Breaker()
    assert [breaker.died(float(at)) for at in range(BREAKER_DEATHS + 2)] == [False] * (BREAKER_DEATHS - 1) + [
        True,
        False,
        False,
    ]
    assert breaker.is_open(BREAKER_S + 1.0)
    assert not breaker.is_open(BREAKER_S + 2.0)


# What the core makes of them.


def test_a_model_whose_loads_die_costs_three_processes_and_its_callers_hear_why() -> None:
    world = world_with()
    callers = [world.request("a", kind) for kind in (RequestKind.RUN, RequestKind.LOAD, RequestKind.HOLD)]
    die_loading(world, 3)
    assert world.open_requests.isdisjoint(callers)
    told = [action.refusal for action in world.brought if isinstance(action, Refuse)]
    assert {why.reason for why in told} == {Reason.MODEL_QUARANTINED}
    assert told[0].metadata == {"model": "a", "strikes": "3", "exit": "killed by SIGSEGV", "untilS": "900"}
    assert state(world, "a") is ModelState.QUARANTINED
    for _ in range(50):
        world.request("a")
        assert refused(world.actions) == [Reason.MODEL_QUARANTINED]
    world.wait(60.0)
    assert loads(world) == 3
    (record,) = decided(world.brought, DecisionKind.QUARANTINE)
    assert (record.decision.model, record.decision.cause) == ("a", Cause.QUARANTINED)


def test_after_the_quarantine_one_load_is_tried_and_its_death_ends_it_again() -> None:
    world = world_with()
    world.request("a")
    die_loading(world, 3)
    world.wait(900.0)
    assert state(world, "a") is ModelState.UNLOADED
    world.request("a")
    world.request("a")
    die_loading(world, 1)
    assert state(world, "a") is ModelState.QUARANTINED
    assert loads(world) == 4
    world.wait(900.0)
    request = world.request("a")
    world.wait(1.0)
    world.caller(request, "end")
    kill(world)
    assert state(world, "a") is ModelState.QUARANTINED, "it was ready, but has not proven itself"


def test_a_process_that_has_proven_itself_ends_the_probation() -> None:
    world = world_with()
    world.request("a")
    die_loading(world, 3)
    world.wait(900.0)
    request = world.request("a", keep_alive_s=-1.0)
    world.wait(1.0)
    world.caller(request, "end")
    seen = world.core.model("a")
    assert seen
    assert seen.deaths
    assert seen.deaths.probation
    world.wait(PROVEN_S)
    world.request("a")
    seen = world.core.model("a")
    assert seen
    assert seen.deaths is None
    kill(world)
    assert state(world, "a") is not ModelState.QUARANTINED


def test_an_idle_model_that_dies_is_loaded_when_it_is_asked_for() -> None:
    world = world_with()
    world.caller(world.request("a"), "cancel")
    world.wait(1.0)
    kill(world)
    world.wait(WINDOW_S)
    assert (state(world, "a"), loads(world)) == (ModelState.UNLOADED, 1)
    request = world.request("a")
    world.wait(0.0)
    assert request in world.granted


def test_a_held_model_that_dies_when_it_is_ready_does_not_spin() -> None:
    world = world_with(strikes=0)
    hold = world.request("a", RequestKind.HOLD)
    world.wait(1.0)
    moments = []
    for _ in range(12):
        kill(world)
        died_s = world.now_s
        while not world.alive:
            world.wait(0.1)
        moments.append(world.now_s - died_s)
    assert hold in world.open_requests
    assert moments[0] >= FIRST_PAUSE_S * (1 - SPREAD_SHARE)
    assert moments[-1] >= LONGEST_PAUSE_S * (1 - SPREAD_SHARE)
    assert sum(moments) > 120.0


def test_a_held_model_is_quarantined_and_its_holder_hears_of_it() -> None:
    world = world_with()
    hold = world.request("a", RequestKind.HOLD)
    for _ in range(3):
        world.wait(5.0)
        kill(world)
    assert hold not in world.open_requests
    assert refused(world.actions) == [Reason.MODEL_QUARANTINED]
    world.wait(5.0)
    assert loads(world) == 3


@pytest.mark.parametrize("rule", ["pinned", "preload"])
def test_a_pinned_or_preloaded_model_comes_back_by_itself_after_a_pause(rule: str) -> None:
    world = world_with(**{rule: True})
    world.caller(world.request("a"), "cancel")
    world.wait(1.0)
    kill(world)
    assert state(world, "a") is ModelState.BACKOFF
    world.wait(FIRST_PAUSE_S * (1 - SPREAD_SHARE) - 0.01)
    assert state(world, "a") is ModelState.BACKOFF
    world.wait(FIRST_PAUSE_S * SPREAD_SHARE + 0.01)
    assert state(world, "a") is ModelState.READY
    for _ in range(2):
        kill(world)
        world.wait(5.0)
    assert state(world, "a") is ModelState.QUARANTINED
    world.wait(900.0)
    assert state(world, "a") is ModelState.READY, "it is tried once more by itself"


@pytest.mark.parametrize("where", [FindPlans, Load])
@pytest.mark.parametrize("rule", ["pinned", "preload"])
def test_one_that_comes_back_tries_it_again_where_its_load_is_refused_for_now(rule: str, where: type) -> None:
    world = world_with(**{rule: True})
    world.caller(granted(world), "cancel")
    kill(world)
    pauses = []
    for _ in range(10):
        began_s = world.now_s
        while not any(isinstance(errand, where) for errand in world.errands):
            world.run_errand() if world.errands else world.next_timer()
        pauses.append(world.now_s - began_s)
        errand = next(errand for errand in world.errands if isinstance(errand, where))
        world.errands.remove(errand)
        why = refusal(Reason.PROCESSES_EXHAUSTED, "no more processes")
        if isinstance(errand, FindPlans):
            world.tell(PlansRefused(world.now_s, "a", errand.turn, why))
        elif isinstance(errand, Load):
            world.tell(LoadRefused(world.now_s, errand.worker_id, why))
        world.wait(0.0)
        assert state(world, "a") is ModelState.BACKOFF
        (change,) = [one for one in world.brought[-8:] if isinstance(one, ModelChanged)][-1:]
        assert "its load was refused (no more processes)" in change.because.words
    assert LONGEST_PAUSE_S * (1 - SPREAD_SHARE) <= pauses[-1] <= LONGEST_PAUSE_S
    world.wait(LONGEST_PAUSE_S)
    assert state(world, "a") is ModelState.READY


def test_one_that_comes_back_does_not_try_again_what_cannot_succeed() -> None:
    world = world_with(pinned=True)
    world.caller(granted(world), "cancel")
    kill(world)
    while not any(isinstance(errand, Load) for errand in world.errands):
        world.run_errand() if world.errands else world.next_timer()
    world.fail_errand()
    world.wait(LONGEST_PAUSE_S)
    assert state(world, "a") is ModelState.UNLOADED


def test_a_caller_does_not_wait_for_the_pause_of_a_model_that_comes_back_by_itself() -> None:
    world = world_with(pinned=True)
    world.caller(world.request("a"), "cancel")
    world.wait(1.0)
    kill(world)
    request = world.request("a")
    world.wait(0.0)
    assert request in world.granted


def test_a_model_that_is_unloaded_in_its_pause_stays_away() -> None:
    world = world_with(pinned=True)
    world.caller(world.request("a"), "cancel")
    world.wait(1.0)
    kill(world)
    world.unload("a")
    assert state(world, "a") is ModelState.UNLOADED
    world.wait(5.0)
    assert state(world, "a") is ModelState.UNLOADED


def test_a_expendable_model_is_not_loaded_again_for_those_who_waited() -> None:
    world = world_with(expendable=True)
    world.request("a")
    die_loading(world, 1)
    assert refused(world.actions) == [Reason.WORKER_CRASHED]
    world.wait(5.0)
    assert loads(world) == 1


def test_who_waits_is_not_kept_waiting_for_ever_where_no_strikes_are_counted() -> None:
    world = world_with(strikes=0)
    world.request("a")
    die_loading(world, 3)
    assert refused(world.actions) == [Reason.WORKER_CRASHED]
    world.wait(5.0)
    assert loads(world) == 3


@pytest.mark.parametrize("how", [Exit.NOT_STARTED, Exit.ENDED])
def test_a_process_that_the_system_did_not_start_is_no_strike(how: Exit) -> None:
    world = world_with()
    for _ in range(5):
        world.request("a")
        world.wait(0.0) if not world.alive else None
        kill(world, how)
        world.wait(1.0)
    assert state(world, "a") is not ModelState.QUARANTINED


def test_clean_refusals_are_no_strikes() -> None:
    world = world_with()
    for _ in range(5):
        world.request("a")
        while not isinstance(world.errands[0], Load):
            world.run_errand()
        world.errands.pop(0)
        why = refusal(Reason.MODEL_FILE_INVALID, "damaged", model="a")
        (worker_id,) = world.alive
        world.tell(LoadRefused(world.now_s, worker_id, why))
        assert refused(world.actions) == [Reason.MODEL_FILE_INVALID]
        world.wait(0.0)
    assert state(world, "a") is ModelState.UNLOADED


def test_starts_of_a_model_keep_their_distance() -> None:
    world = world_with(strikes=0)
    for _ in range(20):
        world.request("a", limit_s=600.0)
    began: list[float] = []
    while state(world, "a") is not ModelState.UNLOADED or not began:
        before = loads(world)
        world.wait(0.01)
        if loads(world) > before:
            began.append(world.now_s)
        if world.alive:
            kill(world)
    assert all(b - a >= LEAST_BETWEEN_S - 0.02 for a, b in itertools.pairwise(began))


def test_a_caller_resets_a_quarantine() -> None:
    world = world_with()
    world.request("a")
    die_loading(world, 3)
    world.tell(ModelReset(world.now_s, "a"))
    (change,) = [action for action in world.actions if isinstance(action, ModelChanged)]
    assert (change.after, change.because.cause) == (ModelState.UNLOADED, Cause.RESET)
    request = world.request("a")
    die_loading(world, 2)
    world.wait(1.0)
    assert request in world.granted, "all three strikes are to be had again"


def test_another_file_or_other_settings_end_a_quarantine_and_a_look_into_the_folders_does_not() -> None:
    world = world_with()
    world.request("a")
    die_loading(world, 3)
    world.rescan()
    assert state(world, "a") is ModelState.QUARANTINED
    world.models = {name: replace(one, aliases=("other",)) for name, one in world.models.items()}
    world.rescan()
    assert state(world, "a") is ModelState.UNLOADED


def test_what_is_known_of_the_deaths_can_be_seen() -> None:
    world = world_with()
    world.request("a")
    die_loading(world, 1)
    waits = world.core.resident("a", world.now_s)
    assert waits
    assert (waits.state, waits.deaths and waits.deaths.strikes) == (ModelState.BACKOFF, 1)
    die_loading(world, 2)
    seen = world.core.resident("a", world.now_s)
    assert seen
    assert seen.deaths
    deaths = seen.deaths
    assert (seen.state, deaths.strikes, deaths.limit, deaths.exit) == (ModelState.QUARANTINED, 3, 3, Exit.CRASHED)
    assert (deaths.quarantined_s, deaths.returns_s, deaths.probation) == (900.0, None, True)


def test_with_many_deaths_in_a_minute_loads_begin_one_at_a_time() -> None:
    config = Config(ServerConfig(spare=False, strikes=0), models={name: ModelConfig() for name in "abc"})
    world = CoreWorld(config, spare=False, models=three())
    for _ in range(BREAKER_DEATHS):
        world.request("a", RequestKind.LOAD)
        while not world.alive:
            world.run_errand() if world.errands else world.next_timer()
        world.errands.clear()
        kill(world)
        world.caller(min(world.open_requests), "cancel") if world.open_requests else None
        world.wait(LEAST_BETWEEN_S)
    callers = [world.request(name) for name in "bc"]
    while any(isinstance(errand, FindPlans) for errand in world.errands):
        world.run_errand()
    assert sum(isinstance(errand, Spawn) for errand in world.errands) == 1
    world.wait(0.0)
    assert set(callers) <= world.granted.keys()


def test_memory_that_ran_out_has_the_next_load_take_less_once() -> None:
    world = world_with()
    request = world.request("a")
    die_loading(world, 1, Exit.OUT_OF_MEMORY)
    while not any(isinstance(errand, FindPlans) for errand in world.errands):
        world.next_timer()
    (asked,) = [errand for errand in world.errands if isinstance(errand, FindPlans)]
    assert asked.available_if_evicted["host"] < 1, "less than the process took that was killed"
    die_loading(world, 1, Exit.OUT_OF_MEMORY)
    assert request not in world.open_requests
    assert refused(world.brought) == [Reason.HOST_OOM]


def test_an_answer_under_which_memory_runs_out_again_is_broken_off() -> None:
    world = world_with()
    request = granted(world)
    world.caller(request, "stream")
    kill(world, Exit.OUT_OF_MEMORY)
    world.wait(1.0)
    kill(world, Exit.OUT_OF_MEMORY)
    (why,) = [action.refusal for action in world.brought if isinstance(action, Refuse)]
    assert why.reason is Reason.WORKER_CRASHED_MID_STREAM
    assert "ran out of memory under a again" in why.message


def test_a_new_process_that_dies_puts_no_model_into_quarantine_that_serves() -> None:
    world = world_with(strikes=1)
    world.caller(granted(world, keep_alive_s=-1.0), "end")
    first = set(world.alive)
    world.restart("a")
    while not any(isinstance(errand, Load) for errand in world.errands):
        world.run_errand()
    (second,) = world.alive - first
    world.crash(second)
    world.errands = [errand for errand in world.errands if not isinstance(errand, Load)]
    assert state(world, "a") is ModelState.READY
    world.wait(PROVEN_S)
    world.unload("a")
    world.wait(1.0)
    assert state(world, "a") is ModelState.UNLOADED
    assert granted(world)


def test_a_call_that_ends_without_an_answer_proves_nothing() -> None:
    world = world_with()
    world.request("a")
    die_loading(world, 3)
    world.wait(900.0)
    requests = [world.request("a", limit_s=limit_s) for limit_s in (600.0, PROVEN_S / 2)]
    world.wait(PROVEN_S)
    world.caller(requests[0], "cancel")
    assert requests[1] not in world.open_requests
    kill(world)
    assert state(world, "a") is ModelState.QUARANTINED


def test_a_process_that_proves_itself_ends_a_quarantine() -> None:
    history = History()
    assert strike(history, Strike(0.0, Exit.DIED, ""), Limits(1, 900.0))
    assert history.is_quarantined(1.0)
    history.prove()
    assert not history.is_quarantined(1.0)
