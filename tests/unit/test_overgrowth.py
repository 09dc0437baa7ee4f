"""A process that grows far beyond what it took when it was loaded goes as soon as nobody uses it."""

from dataclasses import replace

import pytest
from support.core_world import BUDGETS, NEEDS, CoreWorld
from vramd_supervisor.core.actions import Decided, ModelChanged
from vramd_supervisor.core.events import DeviceSampled, ShutdownRequested
from vramd_supervisor.core.samples import SPARED_BYTES, SPARED_SHARE
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.config import Size
from vramd_supervisor.domain.decisions import DecisionKind
from vramd_supervisor.domain.quote import Source

GIB = 1 << 30


def ready(world: CoreWorld) -> int:
    """The pid of a model that is loaded and idle."""
    request = world.request("small")
    while world.errands:
        world.run_errand()
    world.caller(request, "end")
    process = world.core.state.models["small"].current
    assert process is not None
    # Sizes in these worlds are a few bytes; growth is told in real ones.
    process.measured = {"host": GIB}
    return process.pid


@pytest.fixture
def world() -> CoreWorld:
    return CoreWorld()


@pytest.fixture
def pid(world: CoreWorld) -> int:
    return ready(world)


def sampled(world: CoreWorld, device: str, **taken: int) -> None:
    account = world.core.state.ledger.accounts[device]
    event = DeviceSampled(world.now_s, device, account.total_bytes, account.external_bytes)
    world.tell(replace(event, taken_bytes={int(pid[1:]): size for pid, size in taken.items()}))


def state(world: CoreWorld) -> ModelState:
    return world.core.state.models["small"].state


@pytest.mark.parametrize(
    ("size_bytes", "stays"),
    [(GIB, True), (GIB + int(GIB * SPARED_SHARE), True), (GIB + int(GIB * SPARED_SHARE) + 1, False), (10 * GIB, False)],
)
def test_a_process_far_beyond_its_due_is_ended_and_told(
    world: CoreWorld, pid: int, size_bytes: int, stays: bool
) -> None:
    sampled(world, "host", **{f"p{pid}": size_bytes})
    assert (state(world) is ModelState.READY) == stays
    records = [a.decision for a in world.actions if isinstance(a, Decided)]
    changes = [a for a in world.actions if isinstance(a, ModelChanged) and a.model == "small"]
    if stays:
        assert not records
    else:
        (record,) = records
        assert (record.kind, record.model) == (DecisionKind.GIVE_BACK, "small")
        assert record.numbers == {"host_bytes": size_bytes, "promised_bytes": GIB}
        assert changes[0].because.cause is Cause.TOOK_TOO_MUCH


def test_a_small_model_is_left_what_every_process_may_grow_by(world: CoreWorld, pid: int) -> None:
    process = world.core.state.models["small"].current
    assert process is not None
    process.measured = {"host": 30 << 20}
    sampled(world, "host", **{f"p{pid}": (30 << 20) + SPARED_BYTES})
    assert state(world) is ModelState.READY
    sampled(world, "host", **{f"p{pid}": (31 << 20) + SPARED_BYTES})
    assert state(world) is not ModelState.READY


def test_who_uses_it_is_served_to_the_end(world: CoreWorld, pid: int) -> None:
    request = world.request("small")
    sampled(world, "host", **{f"p{pid}": 10 * GIB})
    assert state(world) is ModelState.READY
    world.caller(request, "end")
    sampled(world, "host", **{f"p{pid}": 10 * GIB})
    assert state(world) is not ModelState.READY


def test_what_it_takes_beyond_its_due_while_it_works_is_told_once_and_booked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUDGETS, "host", 80 * GIB)
    world = CoreWorld()
    pid = ready(world)
    request = world.request("small")
    process = world.core.state.models["small"].current
    assert process is not None
    assert process.plan is not None
    process.plan = replace(process.plan, quote=replace(process.plan.quote, source=Source.CLOSED_FORM))
    decided = []
    for size_bytes in (10 * GIB, 11 * GIB, 12 * GIB):
        sampled(world, "host", **{f"p{pid}": size_bytes})
        decided += [action.decision for action in world.actions if isinstance(action, Decided)]
    (record,) = decided
    assert record.kind is DecisionKind.GIVE_BACK
    assert "it is ended once nobody uses it" in record.message
    assert world.core.state.ledger.rows[process.id]["host"] == 12 * GIB
    assert state(world) is ModelState.READY
    world.caller(request, "end")
    sampled(world, "host", **{f"p{pid}": 12 * GIB})
    assert state(world) is not ModelState.READY, "what is booked meanwhile is not its due"


def limited(world: CoreWorld, limit_bytes: int) -> None:
    model = world.core.state.models["small"]
    model.spec = replace(model.spec, memory_limit=Size(limit_bytes))


def test_beyond_its_memory_limit_it_is_ended_whatever_runs_on_it(world: CoreWorld, pid: int) -> None:
    limited(world, 2 * GIB)
    request = world.request("small")
    sampled(world, "host", **{f"p{pid}": 2 * GIB})
    assert state(world) is ModelState.READY
    sampled(world, "host", **{f"p{pid}": 2 * GIB + 1})
    assert state(world) is ModelState.STOPPING
    (record,) = [a.decision for a in world.actions if isinstance(a, Decided) and a.decision.model == "small"]
    assert "its memory_limit is 2.00 GiB: it is ended" in record.message
    while world.errands:
        world.run_errand()
    assert world.core.state.requests[request].resumes == 1, "what ran on it goes on elsewhere"


def test_a_load_beyond_the_memory_limit_is_given_back(world: CoreWorld) -> None:
    limited(world, 1)
    world.measured["small"] = {"host": 2}
    request = world.request("small")
    while world.errands:
        world.run_errand()
    assert state(world) is ModelState.UNLOADED
    assert request not in world.core.state.requests


def test_who_holds_it_has_it_loaded_anew(world: CoreWorld, pid: int) -> None:
    world.request("small", RequestKind.HOLD)
    sampled(world, "host", **{f"p{pid}": 10 * GIB})
    while world.errands:
        world.run_errand()
    process = world.core.state.models["small"].current
    assert state(world) is ModelState.READY
    assert process is not None
    assert process.pid != pid


def test_a_pinned_one_comes_back_by_itself_with_its_settings() -> None:
    world = CoreWorld()
    world.request("small", RequestKind.LOAD, context_tokens=2048)
    pid = ready(world)
    world.pin("small", True)
    sampled(world, "host", **{f"p{pid}": 10 * GIB})
    while world.errands:
        world.run_errand()
    process = world.core.state.models["small"].current
    assert state(world) is ModelState.READY
    assert process is not None
    assert process.pid != pid
    assert process.plan is not None
    assert process.plan.settings.context_tokens == 2048


@pytest.mark.parametrize("gone", ["unpinned", "unloaded", "unlisted", "the end"])
def test_a_pinned_one_that_is_not_wanted_any_more_stays_away(world: CoreWorld, pid: int, gone: str) -> None:
    world.pin("small", True)
    sampled(world, "host", **{f"p{pid}": 10 * GIB})
    if gone == "unpinned":
        world.pin("small", False)
    elif gone == "unloaded":
        world.unload("small")
    elif gone == "unlisted":
        world.rescan(without="small")
    else:
        world.tell(ShutdownRequested(world.now_s))
    while world.errands:
        world.run_errand()
    assert state(world) is ModelState.UNLOADED
    if gone == "unlisted":  # a pin is not forgotten, but what comes of it now is an ordinary load
        world.rescan()
        assert state(world) is ModelState.UNLOADED


def test_others_and_devices_without_a_promise_are_left_alone(world: CoreWorld, pid: int) -> None:
    sampled(world, "host", **{f"p{pid + 1}": 10 * GIB})
    assert state(world) is ModelState.READY
    unpromised = next((device for device in world.core.state.ledger.accounts if device not in NEEDS["small"]), None)
    if unpromised:
        sampled(world, unpromised, **{f"p{pid}": 10 * GIB})
        assert state(world) is ModelState.READY
