"""A request that loses its process goes on in another."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.core_scenes import state
from support.core_world import MODELS, NEEDS, CoreWorld, plan
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Decided, FindPlans, Grant, Interrupted, Refuse
from vramd_supervisor.core.events import CpuSampled, Resumed
from vramd_supervisor.core.restarts import LEAST_BETWEEN_S, MOST_RUNS_AGAIN
from vramd_supervisor.core.state import ModelState
from vramd_supervisor.domain.catalog import Simulation
from vramd_supervisor.domain.decisions import DecisionKind


@pytest.fixture
def world() -> CoreWorld:
    return CoreWorld()


def refusals(world: CoreWorld) -> list[Reason]:
    return [action.refusal.reason for action in world.actions if isinstance(action, Refuse)]


def begun(world: CoreWorld, name: str = "small", *, resume: bool = True, streams: bool = True) -> int:
    request = world.request(name, resume=resume)
    world.wait(LEAST_BETWEEN_S)
    if streams:
        world.caller(request, "stream")
    return request


def crash(world: CoreWorld, request: int) -> None:
    world.crash(world.granted[request])


@pytest.mark.parametrize("streams", [False, True])
def test_it_waits_again_before_all_others_and_goes_on(world: CoreWorld, streams: bool) -> None:
    first, second = begun(world, streams=streams), begun(world, streams=streams)
    waits = world.request("small")
    crash(world, first)
    assert [one.request for one in world.actions if isinstance(one, Interrupted)] == [first, second]
    assert not world.granted
    world.wait(0.0)
    assert list(world.granted) == [first, second]
    assert waits in world.open_requests


def test_it_goes_on_at_most_twice(world: CoreWorld) -> None:
    request = begun(world)
    for _ in range(MOST_RUNS_AGAIN):
        crash(world, request)
        world.wait(LEAST_BETWEEN_S)
        assert request in world.granted
    crash(world, request)
    (refused,) = [one for one in world.actions if isinstance(one, Refuse)]
    assert refused.refusal.reason is Reason.WORKER_CRASHED_MID_STREAM, "although the last process had said nothing"
    assert not refused.refusal.retry


@pytest.mark.parametrize("expendable", [False, True])
def test_it_ends_if_its_caller_or_its_model_wants_that(expendable: bool) -> None:
    models = {"small": replace(MODELS["small"], expendable=expendable)}
    world = CoreWorld(models=models)
    speaking, silent = (begun(world, resume=expendable, streams=streams) for streams in (True, False))
    crash(world, speaking)
    assert not world.open_requests & {speaking, silent}
    assert refusals(world) == [Reason.WORKER_CRASHED_MID_STREAM, Reason.WORKER_CRASHED]


def force(world: CoreWorld) -> None:
    world.unload("small", force=True)


def wait_for_the_drain(world: CoreWorld) -> None:
    world.unload("small")
    while state(world, "small") is ModelState.DRAINING:
        world.next_timer()


@pytest.mark.parametrize("end", [force, wait_for_the_drain])
def test_a_process_that_is_ended_under_it_is_no_end_for_it(world: CoreWorld, end: Callable[[CoreWorld], None]) -> None:
    request = begun(world)
    end(world)
    assert request not in world.granted
    world.wait(0.0)
    assert request in world.granted


def test_a_supervisor_that_ends_takes_it_along(world: CoreWorld) -> None:
    request = begun(world)
    world.shut_down()
    assert request not in world.open_requests
    assert world.exited


def test_a_caller_may_leave_in_the_pause(world: CoreWorld) -> None:
    request = begun(world)
    crash(world, request)
    world.caller(request, "cancel")
    world.wait(0.0)
    assert not world.granted


def test_its_deadline_counts_on_in_the_pause(world: CoreWorld) -> None:
    request = world.request("small", limit_s=5.0)
    world.wait(0.0)
    world.caller(request, "stream")
    crash(world, request)
    while request in world.open_requests:
        world.next_timer()
    assert refusals(world) == [Reason.DEADLINE_PASSED]


@pytest.mark.parametrize(("streams", "reason"), [(True, Reason.WORKER_CRASHED_MID_STREAM), (False, None)])
def test_what_keeps_it_from_going_on_is_told_as_the_end_of_its_answer(
    world: CoreWorld, streams: bool, reason: Reason | None
) -> None:
    request = begun(world, streams=streams)
    crash(world, request)
    world.fail_errand(next(place for place, errand in enumerate(world.errands) if isinstance(errand, FindPlans)))
    (refused,) = [one.refusal for one in world.actions if isinstance(one, Refuse)]
    assert refused.reason is (reason or Reason.MODEL_FILE_MISSING)
    assert "gone" in refused.message


def test_another_file_does_not_continue_its_answer(world: CoreWorld) -> None:
    request, silent = begun(world), begun(world, streams=False)
    crash(world, request)
    world.models = {**MODELS, "small": replace(MODELS["small"], source=Simulation({"card": 2}, 2.0, 40.0, (), False))}
    world.rescan()
    world.wait(0.0)
    assert list(world.granted) == [silent]
    assert request not in world.open_requests


def test_the_next_process_is_loaded_like_the_lost_one(world: CoreWorld) -> None:
    other = world.request("small", context_tokens=1024)
    world.wait(0.0)
    world.caller(other, "end")
    request = begun(world)
    crash(world, request)
    world.wait(0.0)
    current = world.core.state.models["small"].current
    assert current and current.plan
    assert current.plan.settings.context_tokens == 1024


@pytest.mark.parametrize("alike", [True, False])
def test_a_grant_says_whether_the_process_computes_like_the_lost_one(world: CoreWorld, alike: bool) -> None:
    request = begun(world)
    settings = world.ways["small"] = [plan(MODELS["small"].source.memory, 2048)]  # type: ignore[union-attr]
    other = replace(settings[0].settings, threads=1) if alike else replace(settings[0].settings, batch_tokens=64)
    world.ways["small"] = [replace(settings[0], settings=other)]
    crash(world, request)
    granted: list[Grant] = []
    while world.errands:
        world.run_errand()
        granted += [one for one in world.actions if isinstance(one, Grant)]
    assert [one.alike for one in granted] == [alike]


@pytest.mark.parametrize(
    ("flash_attention", "foreign", "alike"),
    [
        ("auto", (0.0, 0.0), True),
        ("auto", (0.0, 2.0), False),
        ("auto", (2.0, 2.0), False),
        ("off", (2.0, 0.0), True),
    ],
    ids=["as many threads", "fewer in the next process", "fewer while it ran", "without flash attention"],
)
def test_a_process_with_other_threads_computes_otherwise_on_the_cpu(
    world: CoreWorld, flash_attention: str, foreign: tuple[float, float], alike: bool
) -> None:
    one = plan(NEEDS["ram"], 2048)
    world.ways["ram"] = [replace(one, settings=replace(one.settings, flash_attention=flash_attention))]
    request = begun(world, "ram")
    for foreign_cores in (foreign[0], foreign[0]):
        world.tell(CpuSampled(world.now_s, 3, foreign_cores))
    crash(world, request)
    for foreign_cores in (foreign[1], foreign[1]):
        world.tell(CpuSampled(world.now_s, 3, foreign_cores))
    granted: list[Grant] = []
    while world.errands:
        world.run_errand()
        granted += [action for action in world.actions if isinstance(action, Grant)]
    assert [action.alike for action in granted] == [alike]


def test_the_time_in_which_it_ran_does_not_count_as_waiting(world: CoreWorld) -> None:
    request = begun(world)
    world.now_s += 100.0
    crash(world, request)
    assert world.core.state.pending_loads["small"].since_s == world.now_s


def test_that_it_goes_on_is_recorded_with_where(world: CoreWorld) -> None:
    request = begun(world)
    crash(world, request)
    world.wait(0.0)
    world.tell(Resumed(world.now_s, request, 7, exact=True))
    (told,) = [one.decision for one in world.actions if isinstance(one, Decided)]
    assert told.kind is DecisionKind.RESUME
    assert told.numbers == {"sent_tokens": 7.0, "resumes": 1.0}
    assert "after 7 tokens, exactly" in told.message
    assert "killed by SIGSEGV" in told.message
