"""The test of the test: bugs planted into a copy of the core, each of which the random walk has to find."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BUGS = {
    "memory is given back on stop instead of on exit": (
        "lives.py",
        "    world.emit(Stop(incarnation.id))\n",
        "    world.emit(Stop(incarnation.id))\n    world.ledger.reserve(incarnation.id, {})\n",
        "really taken",
    ),
    "a busy model is a victim": (
        "holders.py",
        "owner.state is ModelState.READY and not incarnation.in_flight and not owner.queue",
        "owner.state is ModelState.READY",
        "a busy model was made a victim",
    ),
    "one cold model gets two processes": (
        "scheduler.py",
        "    if incarnation.pid:\n        load(",
        "    world.emit(Spawn(world.incarnate().id))\n    world.ledger.reserve(world._rows, {})\n"
        "    world.owners[world._rows] = entry\n    if incarnation.pid:\n        load(",
        "has two processes",
    ),
    "a crash forgets those who were being served": (
        "lives.py",
        "        world.refuse(request, _crashed(entry, incarnation, event.exit, streaming=streaming))\n",
        "        incarnation.in_flight.discard(request.id)\n",
        "is in 0 places",
    ),
    "an unload that waits for the exit is never answered": (
        "lives.py",
        "        world.emit(Complete(request_id, receipt))\n",
        "        pass\n",
        "somebody was never answered",
    ),
    "memory on its way back counts as free": (
        "room.py",
        "holders.own | gone, device)",
        "holders.own | holders.going | gone, device)",
        "would be promised of",
    ),
    "a reservation is written over without room": (
        "scheduler.py",
        "        world.announce(announcement)\n",
        "        world.announced[announcement.id] = announcement\n",
        "the rows are not",
    ),
}

WALK = """
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from unit.test_core_walk import Walk
run_state_machine_as_test(Walk, settings=settings(
    max_examples=300, stateful_step_count=40, deadline=None, derandomize=True, database=None,
    phases=[Phase.generate], suppress_health_check=list(HealthCheck), report_multiple_bugs=False))
"""


def walk(supervisor: Path) -> subprocess.CompletedProcess[str]:
    paths = [supervisor, ROOT / "proto", ROOT / "tests"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run(
        [sys.executable, "-c", WALK], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_walk_passes_on_a_copy_without_a_bug(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "supervisor/vramd_supervisor", tmp_path / "vramd_supervisor")
    result = walk(tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_the_walk_finds(bug: str, tmp_path: Path) -> None:
    file, right, wrong, words = BUGS[bug]
    shutil.copytree(ROOT / "supervisor/vramd_supervisor", tmp_path / "vramd_supervisor")
    source = tmp_path / "vramd_supervisor/core" / file
    text = source.read_text("utf-8")
    assert text.count(right) == 1, f"{file} has changed: plant the bug anew"
    source.write_text(text.replace(right, wrong), "utf-8")
    result = walk(tmp_path)
    assert result.returncode == 1, "the walk did not find it"
    assert words in result.stderr, result.stderr[-3000:]
