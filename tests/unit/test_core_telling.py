"""What it takes to tell many callers what they wait for, with the pure core."""

from collections.abc import Iterator

import pytest
from support.core_scenes import world_of
from vramd_supervisor.core.actions import Load, Report
from vramd_supervisor.core.events import LoadProgressed
from vramd_supervisor.core.queues import PriorityQueue
from vramd_supervisor.core.state import Request


@pytest.mark.parametrize("what", ["a call ends", "a caller leaves", "another comes", "its load goes on", "it moves"])
def test_telling_all_their_places_takes_one_walk_however_many_wait(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are counted, not seconds: eight times the callers may take eight times the steps, and no more."""
    steps = [_steps(what, waiting, monkeypatch) for waiting in (32, 256)]
    assert 0 < steps[1] <= 8.5 * steps[0]


def _steps(what: str, waiting: int, monkeypatch: pytest.MonkeyPatch) -> int:
    world = world_of(queue_per_model=1000, queue_total=1000)
    first = world.request("small")
    while what in {"a call ends", "a caller leaves", "another comes"} and first not in world.granted:
        world.run_errand()
    for _ in range(waiting):
        last = world.request("small", progress=True)
    while what == "its load goes on" and not isinstance(world.errands[0], Load):
        world.run_errand()
    counted = 0
    walk = PriorityQueue.__iter__

    def count(line: PriorityQueue[Request]) -> Iterator[Request]:
        nonlocal counted
        for one in walk(line):
            counted += 1
            yield one

    with monkeypatch.context() as patch:
        patch.setattr(PriorityQueue, "__iter__", count)
        match what:
            case "a call ends":
                world.caller(first, "end")
            case "a caller leaves":
                world.caller(last, "cancel")
            case "another comes":
                world.request("small", progress=True)
            case "its load goes on":
                (worker,) = world.alive
                world.tell(LoadProgressed(world.now_s, worker, 0.5))
            case _:
                world.run_errand()
        assert len([action for action in world.actions if isinstance(action, Report)]) >= waiting - 2
    return counted
