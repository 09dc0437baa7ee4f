"""The test of the test: bugs planted into a copy of the core, each of which the seeded stories have to find."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEEDS = 500
"""At most so many stories for one bug; most are found within the first ten."""


@dataclass(frozen=True)
class Bug:
    """Source lines of the core, what is made of them, and what the finder has to say about it."""

    file: str
    right: str
    wrong: str
    words: str


BUGS = {
    "memory is given back on stop instead of on exit": Bug(
        "model.py",
        "    state.emit(Stop(model.current.id))\n",
        "    state.emit(Stop(model.current.id))\n    state.ledger.book(model.current.id, {})\n",
        "really taken",
    ),
    "a release is dropped": Bug(
        "model.py",
        '    held = state.free_row(worker, f"the memory of {name} (pid {worker.pid}) is back")\n',
        "    held = state.ledger.rows[worker.id]\n",
        "are back, and promised",
    ),
    "memory on its way back counts as free": Bug(
        "room.py",
        " for device in devices}, index.reused)",
        " for device in devices}, index.reused + index.going)",
        "would be promised of",
    ),
    "two loads share the room that one eviction has made": Bug(
        "admission.py",
        "    state.promise(worker, plan.quote.needs,",
        '    state.promise(worker, {"host": 1},',
        "really taken",
    ),
    "a busy model is a victim": Bug(
        "state.py",
        "        and not current.in_flight\n        and not model.queue\n",
        "",
        "a busy model was made a victim",
    ),
    "a busy model is sent away before its time": Bug(
        "admission.py",
        "waiting.since_s + bound_s - end_s - drain_s",
        "waiting.since_s + bound_s - end_s - 2 * drain_s",
        "a busy model was made a victim before its time",
    ),
    "the least time of a model is not looked at": Bug(
        "admission.py",
        " + scheduling.minimum_residency_s for one in decision.drain]",
        " for one in decision.drain]",
        "a busy model goes within its least time",
    ),
    "nobody is waked when a busy model had its time": Bug(
        "admission.py",
        "            state.emit(SetTimer(PatienceEnded(when_s, waiting.turn)))\n",
        "",
        "nobody looks after",
    ),
    "a victim admits while it drains": Bug(
        "scheduler.py",
        "    elif model.state is ModelState.DRAINING and not model.current.in_flight:  # 3\n",
        "    elif model.state is ModelState.DRAINING and model.queue and model.current.in_flight:\n"
        "        _grant(state, model, model.current, model.queue.first())\n"
        "    elif model.state is ModelState.DRAINING and not model.current.in_flight:  # 3\n",
        "admits while ModelState.DRAINING",
    ),
    "a cancel of one who waits is forgotten": Bug(
        "requests.py",
        "        worker.answered = True\n    end(state, request)\n",
        "        worker.answered = True\n    if request.state is not RequestState.QUEUED:\n"
        "        end(state, request)\n",
        "somebody was never answered",
    ),
    "a crash forgets those who were being served": Bug(
        "model.py",
        "            interrupt(state, request, crashed(model, worker, event.exit, streaming=request.sent))\n",
        "            worker.in_flight.discard(request.id)\n",
        "is in 0 places",
    ),
    "an interrupted request does not count its processes": Bug(
        "requests.py", "    request.resumes += 1\n", "", "is begun again and again"
    ),
    "an interrupted request keeps its place": Bug(
        "requests.py",
        "    _leave_place(state, request, worker)\n    request.state,",
        "    request.state,",
        "0",  # the number of no process: it is interrupted once more when the one that it has left ends
    ),
    "an unload that waits for the exit is never answered": Bug(
        "model.py",
        "        state.emit(Complete(request_id, receipt))\n",
        "        pass\n",
        "somebody was never answered",
    ),
    "one cold model gets two processes": Bug(
        "admission.py",
        "    if worker.pid:\n        move(",
        "    state.emit(Spawn(state.new_worker().id))\n    state.ledger.book(state._ids, {})\n"
        "    state.workers[state._ids].owner = model\n    if worker.pid:\n        move(",
        "has two processes",
    ),
    "news of a dead process are taken for those of the next": Bug(
        "model.py",
        "if worker and worker.owner and worker.owner.current is worker else (None, None)\n",
        "if worker and worker.owner else (None, None)\n",
        "before its",
    ),
    "a reservation is written over without room": Bug(
        "reservations.py",
        "    state.ledger.reserve(reservation.id, {reservation.device: reservation.size_bytes})\n",
        "",
        "the rows are not",
    ),
    "a hold is forgotten": Bug("scheduler.py", "    model.holds[request.id] = request\n", "", "is in 0 places"),
    "a held model is a victim": Bug(
        "state.py",
        '    return "held by a client" if model.holds else "pinned" if is_pinned(model) else ""\n',
        '    return "pinned" if is_pinned(model) else ""\n',
        "a pinned or held model was made a victim",
    ),
    "a rescan ends what the catalogue does not list": Bug(
        "scheduler.py",
        "    if is_kept(model) or model.renewal or until_s == math.inf:\n        return\n",
        "    if not model.listed:\n        drain(state, model, causes.UNLOAD)\n        return\n"
        "    if is_kept(model) or model.renewal or until_s == math.inf:\n        return\n",
        "which may stay",
    ),
    "a new process that does not load ends the old one": Bug(
        "renewal.py",
        "                give_up_renewal(state, model, news.refusal)\n",
        "                _old_one_first(state, model, renewal, news.refusal.message)\n",
        "a new process that failed has ended",
    ),
    "batch is served before interactive": Bug(
        "queues.py", "return int(one.priority) * self", "return -int(one.priority) * self", "overtakes"
    ),
    "one more than may be there at once": Bug(
        "room.py",
        "len(there) - going + 1 - most",
        "len(there) - going - most",
        "may be",
    ),
    "what ran beside a suspect is blamed with it": Bug(
        "state.py",
        "    return not current.alone and len(",
        "    return len(",
        "begins beside a suspect",
    ),
    "a strike is never counted": Bug(
        "deaths.py",
        "    strike(history, Strike(state.now_s, how, words), state.limits, serves=model.current is not worker)\n",
        "    history.strikes.append(Strike(state.now_s, how, words))\n",
        "in its quarantine",
    ),
    "the load on probation may be tried twice": Bug(
        "restarts.py",
        "(len(history.strikes) < limits.strikes and not history.probation)",
        "len(history.strikes) % limits.strikes",
        "in its quarantine",
    ),
    "a model that died is loaded again at once": Bug(
        "scheduler.py",
        "    if when_s > state.now_s:  # 3\n",
        "    if when_s > state.now_s + 5.0:  # 3\n",
        "again too soon",
    ),
    "loads begin side by side although processes die": Bug(
        "room.py",
        "    if not state.breaker.is_open(state.now_s):\n",
        "    if state.now_s:\n",
        "although processes die",
    ),
    "an eviction leaves no record": Bug(
        "admission.py",
        "        state.decide(Decision.because(reason, DecisionKind.EVICT,",
        "        _ = (Decision.because(reason, DecisionKind.EVICT,",
        "without its record",
    ),
}

STORIES = f"""
from support.core_story import Story
for seed in range({SEEDS}):
    Story(seed).run()
"""


def tell_stories(supervisor: Path) -> subprocess.CompletedProcess[str]:
    paths = [supervisor, ROOT / "proto", ROOT / "tests"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", STORIES], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def plant(folder: Path, file: str, right: str, wrong: str) -> None:
    shutil.copytree(ROOT / "supervisor/vramd_supervisor", folder / "vramd_supervisor")
    source = folder / "vramd_supervisor/core" / file
    text = source.read_text("utf-8")
    assert text.count(right) == 1, f"{file} has changed: plant the bug anew"
    source.write_text(text.replace(right, wrong), "utf-8")


def test_a_copy_without_a_bug_passes(tmp_path: Path) -> None:
    plant(tmp_path, "core.py", "class Core:\n", "class Core:\n    is_the_copy = True\n\n")
    result = tell_stories(tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("name", sorted(BUGS))
def test_the_stories_find(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    plant(tmp_path, bug.file, bug.right, bug.wrong)
    result = tell_stories(tmp_path)
    assert result.returncode == 1, "no story has found it"
    said = result.stderr[result.stderr.rindex("AssertionError: ") :].splitlines()[0]
    assert bug.words in said, said
