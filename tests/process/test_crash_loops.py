"""What a model costs whose processes die again and again: few processes, and its callers hear why."""

import concurrent.futures
import subprocess
import sys

import psutil
import pytest
import vramd
from support.supervisor_process import BOUND_S, Story, SupervisorProcess, simulated, until

CONFIGURATION = "\n".join(
    (
        "[scheduling]\nstop_s = 0.3",
        simulated("fragile", card="", manners=["exit-in-load"]),
        simulated("other", card="", tokens_per_s=50),
        simulated("held", card=""),
        simulated("pinned", card="", pinned=True),
        simulated("poisonable", card="", tokens_per_s=50, manners=["exit-on-poison"]),
        simulated("joined", card="", load_s=1.0),
    )
)


def kill(client: vramd.Client, model: str) -> None:
    pid = client.load(model).pid
    assert pid is not None
    psutil.Process(pid).kill()


def test_fifty_callers_of_a_model_that_dies_cost_three_processes_and_others_go_on(
    shared: SupervisorProcess, client: vramd.Client, story: Story
) -> None:
    def call(_: int) -> vramd.VramdError:
        with pytest.raises(vramd.VramdError) as failed:
            list(client.generate("fragile", "x"))
        return failed.value

    with client.generate("other", "x", max_tokens=100) as other:
        next(other)
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            told = list(pool.map(call, range(50)))
        assert other.finish.reason == "LENGTH"
        assert len(other.token_ids) == 100
    assert {(one.reason, one.retry_after_s) for one in told} == {("MODEL_QUARANTINED", None)}
    assert isinstance(told[0], vramd.Quarantined)
    assert (told[0].metadata["strikes"], told[0].metadata["exit"]) == ("3", "exited with code 3")
    story.reached("fragile", "QUARANTINED")
    assert len(story.changes("fragile", "LOADING")) == 3


def test_a_quarantine_can_be_seen_and_ended(shared: SupervisorProcess, client: vramd.Client) -> None:
    with pytest.raises(vramd.Quarantined):
        client.load("fragile")
    seen = client.model("fragile")
    assert seen.deaths
    assert seen.deaths.quarantined_s
    assert (seen.state, seen.deaths.strikes, seen.deaths.limit, seen.deaths.exit) == ("QUARANTINED", 3, 3, "died")
    assert 0 < seen.deaths.quarantined_s <= 900
    assert any(one.kind == "quarantine" and one.cause == "quarantined" for one in client.decisions("fragile"))

    def shell(*command: str) -> str:
        arguments = [sys.executable, "-m", "vramd", *command, "--runtime-dir", str(shared.folder.path)]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=BOUND_S, check=True).stdout

    assert "fragile: 3 strikes of 3, the last process exited with code 3; not loaded for another" in shell("ps")
    assert shell("reset", "fragile") == "fragile is UNLOADED; the next call loads it\n"
    assert client.model("fragile").deaths is None
    with shared.news() as story:
        with pytest.raises(vramd.Quarantined):
            client.load("fragile")
        story.reached("fragile", "QUARANTINED")
        assert len(story.changes("fragile", "LOADING")) == 3


def test_a_held_model_that_dies_when_it_is_ready_comes_back_and_does_not_spin(
    client: vramd.Client, story: Story
) -> None:
    with client.hold("held") as hold:
        for times in (1, 2, 3):
            story.reached("held", "READY", times)
            kill(client, "held")
        with pytest.raises(vramd.Quarantined):
            for _ in hold:
                pass
    story.reached("held", "QUARANTINED")
    assert len(story.changes("held", "LOADING")) == 3
    assert len(story.changes("held", "BACKOFF")) == 2


def test_a_pinned_model_comes_back_by_itself(client: vramd.Client, story: Story) -> None:
    client.load("pinned")
    story.reached("pinned", "READY")
    kill(client, "pinned")
    pause = story.reached("pinned", "BACKOFF")
    assert pause.cause == "pause"
    story.reached("pinned", "READY", 2)
    assert client.model("pinned").state == "READY"


def test_a_hundred_loads_join_one(client: vramd.Client, story: Story) -> None:
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        loaded = list(pool.map(lambda _: client.load("joined"), range(100)))
    assert len({one.pid for one in loaded}) == 1
    story.reached("joined", "READY")
    assert len(story.changes("joined", "LOADING")) == 1


def test_after_the_quarantine_one_load_is_tried() -> None:
    configuration = "[server]\nquarantine_s = 1.0\n" + simulated("fragile", card="", manners=["exit-in-load"])
    with SupervisorProcess(configuration) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        with pytest.raises(vramd.Quarantined):
            client.load("fragile")
        ended = story.reached("fragile", "UNLOADED", 4)
        assert ended.cause == "quarantine_over"
        with pytest.raises(vramd.Quarantined):
            client.load("fragile")
        until("it is told", lambda: len(story.changes("fragile", "QUARANTINED")) == 2)
        assert len(story.changes("fragile", "LOADING")) == 4


def test_a_request_under_which_processes_die_is_refused_and_the_model_serves_others(
    client: vramd.Client, story: Story
) -> None:
    with client.generate("poisonable", "harmless", max_tokens=60) as beside:
        next(beside)
        with pytest.raises(vramd.Quarantined) as failed:
            list(client.generate("poisonable", "poison"))
        assert failed.value.reason == "REQUEST_QUARANTINED"
        assert beside.finish.reason == "LENGTH"
    with pytest.raises(vramd.Quarantined):
        list(client.generate("poisonable", "poison"))
    assert list(client.generate("poisonable", "anything else", max_tokens=3))
    story.reached("poisonable", "READY", 3)
    assert len(story.changes("poisonable", "LOADING")) == 3
