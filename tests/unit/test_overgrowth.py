"""A process that grows far beyond what it took when it was loaded goes as soon as nobody uses it."""

from dataclasses import replace

import pytest
from support.core_world import NEEDS, CoreWorld
from vramd_supervisor.core.actions import Decided, ModelChanged
from vramd_supervisor.core.events import DeviceSampled, ShutdownRequested
from vramd_supervisor.core.samples import SPARED_BYTES, SPARED_SHARE
from vramd_supervisor.core.state import ModelState, RequestKind
from vramd_supervisor.domain.causes import Cause
from vramd_supervisor.domain.decisions import DecisionKind

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
