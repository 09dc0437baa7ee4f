"""Why things were done: what a real supervisor writes down, and that it is still there for the next one."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import vramd
from support.supervisor_process import BOUND_S, CARD, SupervisorProcess, simulated

SMALL = CARD.replace("8GiB", "2GiB")
MODELS = (
    simulated("one", tokens_per_s=20)
    + simulated("two")
    + simulated("pinned", pinned=True)
    + simulated("large", card="16GiB")
)


def of_kind(client: vramd.Client, model: str, kind: str) -> vramd.Decision:
    """The last decision of a kind about a model."""
    decided = client.decisions(model)
    assert {decision.model for decision in decided} == {model}
    found = [decision for decision in decided if decision.kind == kind]
    assert found, f"no {kind} among {[(decision.kind, decision.message) for decision in decided]}"
    return found[0]


def test_an_eviction_names_victim_cause_numbers_and_who_was_spared() -> None:
    with SupervisorProcess(SMALL + MODELS) as supervisor:
        client = supervisor.client()
        before_s = time.time()
        for model in ("pinned", "one", "two"):
            client.load(model)
        evicted = of_kind(client, "one", "evict")
        assert (evicted.model, evicted.for_whom) == ("one", "two")
        assert evicted.worker_id > 0
        assert before_s <= evicted.time_s <= time.time()
        assert "card" in evicted.message
        assert evicted.numbers
        assert all(name.endswith(("_bytes", "_s")) or amount == int(amount) for name, amount in evicted.numbers.items())
        assert any(name.endswith("_bytes") and amount > 0 for name, amount in evicted.numbers.items())
        assert [one for one in evicted.rejected if "pinned" in one.what and one.why]
        loaded = of_kind(client, "two", "load")
        assert loaded.id != evicted.id
        assert loaded.message
        assert any(name.endswith("_bytes") and amount >= 1 << 30 for name, amount in loaded.numbers.items())


def test_a_refusal_is_written_down_as_the_caller_was_told() -> None:
    with SupervisorProcess(SMALL + MODELS) as supervisor:
        client = supervisor.client()
        with pytest.raises(vramd.TooLarge):
            client.load("large")
        refused = of_kind(client, "large", "refuse")
        assert "16.00 GiB" in refused.message
        assert any(name.endswith("_bytes") for name in refused.numbers)


def test_decisions_outlive_the_supervisor(tmp_path: Path) -> None:
    kept = {"VRAMD_STATE_DIR": str(tmp_path / "state")}
    with SupervisorProcess(SMALL + MODELS, environment=kept) as supervisor:
        client = supervisor.client()
        for model in ("pinned", "one", "two"):
            client.load(model)
        before = client.decisions()
        assert supervisor.end() == 0
    with SupervisorProcess(SMALL + MODELS, environment=kept) as supervisor:
        client = supervisor.client()
        assert before
        ends, kept_ones = client.decisions()[: -len(before)], client.decisions()[-len(before) :]
        assert kept_ones == before
        assert {(end.kind, end.cause) for end in ends} == {("unload", "shutdown")}
        assert sorted(end.model for end in ends) == ["pinned", "two"]
        client.load("one")
        newest = client.decisions()[0]
        assert newest.model == "one"
        assert newest.id > max(decision.id for decision in before)
    assert [file.name for file in (tmp_path / "state").glob("decisions*")] == ["decisions.sqlite3"]


def test_a_crash_is_written_down_as_it_was() -> None:
    with SupervisorProcess(SMALL + MODELS) as supervisor:
        client = supervisor.client()
        pid = client.load("one").pid
        assert pid
        with supervisor.news() as story:
            psutil.Process(pid).kill()
            story.reached("one", "UNLOADED")
        assert "ended while nothing ran on it: killed by SIGKILL" in of_kind(client, "one", "unload").message
        with client.generate("one", "x", max_tokens=2000, on_crash="fail") as answer:
            next(answer)
            (resident,) = client.resident()
            assert resident.pid
            psutil.Process(resident.pid).kill()
            with pytest.raises(vramd.WorkerCrashed):
                list(answer)
        assert "ended in the middle of an answer" in of_kind(client, "one", "unload").message


def test_a_supervisor_with_a_runtime_folder_of_its_own_has_its_own_decisions(tmp_path: Path) -> None:
    shared = {
        "VRAMD_STATE_DIR": "",
        "XDG_STATE_HOME": str(tmp_path),
        "LOCALAPPDATA": str(tmp_path),
        "HOME": str(tmp_path),
    }
    with (
        SupervisorProcess(SMALL + MODELS, environment=shared) as one,
        SupervisorProcess(SMALL + MODELS, environment=shared) as other,
    ):
        one.client().load("two")
        assert of_kind(one.client(), "two", "load").message
        assert other.client().decisions() == ()
        assert (one.folder.path / "decisions.sqlite3").exists()
    assert not list(tmp_path.rglob("decisions*"))


def test_what_was_decided_in_the_last_moment_is_written_too(tmp_path: Path) -> None:
    kept = {"VRAMD_STATE_DIR": str(tmp_path / "state")}
    with SupervisorProcess(SMALL + MODELS, environment=kept) as supervisor:
        client = supervisor.client()
        with pytest.raises(vramd.TooLarge):
            client.load("large")
        assert supervisor.end() == 0
    with SupervisorProcess(SMALL + MODELS, environment=kept) as supervisor:
        assert of_kind(supervisor.client(), "large", "refuse").message


def test_nobody_knows_the_model_and_nothing_was_decided() -> None:
    with SupervisorProcess(SMALL + MODELS) as supervisor:
        client = supervisor.client()
        assert client.decisions("one") == ()
        with pytest.raises(vramd.NotFound):
            client.decisions("oen")


def test_an_answer_tells_where_its_time_went() -> None:
    with SupervisorProcess(SMALL + MODELS) as supervisor:
        client = supervisor.client()
        first = client.chat("one", "Hi", max_tokens=5).timeline
        assert first is not None
        assert (first.model, first.worker_id) == ("one", client.resident()[0].worker_id)
        assert first.loaded_s is not None
        assert 0.1 <= first.loaded_s < BOUND_S
        assert first.decode_s is not None
        assert first.drained_s is None
        second = client.generate("one", "x", max_tokens=5).timeline
        assert second is not None
        assert (second.spawned_s, second.loaded_s, second.drained_s) == (None, None, None)
        assert second.prompt_s is not None


def test_a_request_that_waited_for_others_to_finish_says_so() -> None:
    models = simulated("busy", card="2GiB", tokens_per_s=40) + simulated("next", card="2GiB")
    with SupervisorProcess(SMALL + models) as supervisor, ThreadPoolExecutor() as pool, supervisor.story() as story:
        client = supervisor.client()
        with client.generate("busy", "x", max_tokens=2000) as stream:
            next(stream)
            coming = client.generate("next", "x", max_tokens=2)
            told = pool.submit(lambda: coming.timeline)
            story.reached("next", "QUEUED")
            assert next(stream)
        timeline = told.result(BOUND_S)
        assert timeline is not None
        assert timeline.model == "next"
        assert timeline.drained_s
