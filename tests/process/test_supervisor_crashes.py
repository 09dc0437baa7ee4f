"""A worker that dies, hangs, floods or leaves children behind harms its own requests only."""

import psutil
import pytest
import vramd
from support.supervisor_process import SupervisorProcess, simulated, until

MIB = 1 << 20

CONFIGURATION = "\n".join(
    (
        # A process that is asked to go may be held up: none here has to be killed.
        "[scheduling]\nstop_s = 10",
        simulated("dying", card="", tokens_per_s=20),
        simulated("living", card="", tokens_per_s=50),
        simulated("flood", card="", manners=["flood-stderr"]),
        simulated("garbage", card="", manners=["garbage-on-stdout"]),
        simulated("leaking", card="", manners=["leak"]),
        simulated("limited", card="", manners=["leak"], tokens_per_s=20, memory_limit="200MiB"),
        simulated("poisoned", card="", manners=["exit-in-prompt"]),
        simulated("brittle", card="", manners=["exit-in-decode"], tokens_per_s=2),
        simulated("hang-in-decode", card="", manners=["hang-in-decode"]),
        simulated("lamb", card="", manners=["exit-in-load"], expendable=True),
    )
)


def process_of(client: vramd.Client, model: str) -> psutil.Process:
    pid = client.load(model).pid
    assert pid is not None
    return psutil.Process(pid)


def test_a_load_that_crashed_is_not_tried_again_for_an_expendable_model(shared: SupervisorProcess) -> None:
    with shared.story() as story:
        with pytest.raises(vramd.WorkerCrashed) as failed:
            shared.client().embed("lamb", "x")
        assert failed.value.retry_after_s is None
        story.reached("lamb", "UNLOADED")
        assert len(story.changes("lamb", "LOADING")) == 1


@pytest.mark.unprivileged
def test_a_killed_worker_fails_its_own_stream_only_if_that_shall_not_go_on(client: vramd.Client) -> None:
    with (
        client.generate("living", "x", max_tokens=50) as living,
        client.generate("dying", "x", max_tokens=500, on_crash="fail") as dying,
    ):
        next(living)
        next(dying)
        before = process_of(client, "dying")
        before.kill()
        with pytest.raises(vramd.WorkerCrashed) as failed:
            list(dying)
        assert failed.value.reason == "WORKER_CRASHED_MID_STREAM"
        assert failed.value.metadata["exit"] == "killed by SIGKILL"
        assert failed.value.metadata["tokensSent"] == str(len(dying.token_ids))
        assert f"pid {before.pid}" in str(failed.value)
        assert dying.received
        assert client.embed("dying", "again").dimensions == 8
        assert process_of(client, "dying").pid != before.pid
        assert living.finish is not None
        assert len(living.token_ids) == 50


@pytest.mark.parametrize(
    ("model", "reason"), [("poisoned", "REQUEST_QUARANTINED"), ("brittle", "WORKER_CRASHED_MID_STREAM")]
)
def test_a_call_under_which_processes_died_is_not_made_again_by_the_client(
    shared: SupervisorProcess, client: vramd.Client, model: str, reason: str
) -> None:
    with shared.story() as story:
        with pytest.raises(vramd.VramdError, match=r"2 processes .* died while they worked on this request") as failed:
            list(client.chat(model, "x"))
        assert (failed.value.reason, failed.value.retry_after_s) == (reason, None)
        story.reached(model, "UNLOADED", 2)
        assert len(story.changes(model, "LOADING")) == 2, "the supervisor has tried once more"


def test_a_process_that_grows_far_beyond_its_load_is_ended_once_it_is_idle(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    with shared.story() as story:
        assert list(client.generate("leaking", "x", max_tokens=5))
        story.until("it is gone", lambda _: story.changes("leaking", "UNLOADED"))
    (record,) = [one for one in client.decisions("leaking") if one.kind == "give_back"]
    assert record.numbers["host_bytes"] > record.numbers["promised_bytes"] + (256 << 20)
    assert list(client.generate("leaking", "x", max_tokens=5)), "and is loaded anew for whoever comes next"


def test_beyond_its_memory_limit_a_process_is_ended_while_it_works(client: vramd.Client) -> None:
    with pytest.raises(vramd.Unloaded, match=r"its memory_limit is 200\.0 MiB"):
        list(client.generate("limited", "x", max_tokens=2000, on_crash="fail"))
    records = [one for one in client.decisions("limited") if one.kind == "give_back"]
    assert records[0].numbers["host_bytes"] > 200 * MIB


def test_a_flood_on_stderr_neither_stops_the_answer_nor_fills_memory_or_disk(shared: SupervisorProcess) -> None:
    client, supervisor = shared.client(), psutil.Process(shared.pid)
    client.load("living")
    before_bytes = supervisor.memory_info().rss
    with client.generate("flood", "x", max_tokens=400) as stream:
        assert stream.finish is not None
        assert len(stream.token_ids) == 400
    client.unload("flood")
    assert supervisor.memory_info().rss - before_bytes < 40 * MIB

    def on_disk_bytes() -> int:
        return sum(file.stat().st_size for file in (shared.folder.logs / "models").glob("flood*"))

    until("it is written", lambda: on_disk_bytes() > 4 * MIB)
    assert on_disk_bytes() < 9 * MIB
    assert list(client.logs("flood", lines=1)) == [("flood " * 170).rstrip() + " "]


def test_garbage_on_stdout_is_escaped_and_harmless(client: vramd.Client) -> None:
    assert client.embed("garbage", "x").dimensions == 8

    def logged() -> list[str]:
        lines = list(client.logs("garbage"))
        return lines if any("\\x00\\x01" in line for line in lines) else []

    lines = until("it is in the log", logged)
    assert [line for line in lines if not line.replace("\t", "").isprintable()] == []


def test_a_load_that_hangs_is_ended_and_not_asked_for_again() -> None:
    hanging = simulated("hanging", card="", manners=["hang-in-load", "ignore-sigterm"])
    with SupervisorProcess(f"[server]\nload_deadline_s = 5\n[scheduling]\nstop_s = 0.3\n{hanging}") as supervisor:
        client = supervisor.client()
        with supervisor.story() as story:
            with pytest.raises(vramd.LoadTimedOut):
                client.load("hanging")
            (receipt,) = story.until(
                "it is gone", lambda _: [r for r in story.details(vramd.Receipt) if r.model == "hanging"]
            )
            assert receipt.exit == "forced"
            assert len(story.changes("hanging", "LOADING")) == 1


def test_an_engine_that_hangs_can_be_unloaded(client: vramd.Client) -> None:
    with client.generate("hang-in-decode", "x", on_crash="fail", every_token=True) as stream:
        for _ in range(3):
            next(stream)
        assert client.unload("hang-in-decode", force=True).exit == "ended"
        with pytest.raises(vramd.Unloaded):
            list(stream)


def test_a_spare_that_is_killed_is_replaced_by_the_next_load() -> None:
    with SupervisorProcess(simulated("a", card="")) as supervisor:
        supervisor.heard("an idle worker takes")
        (spare,) = supervisor.workers()
        spare.kill()
        supervisor.heard("WARNING worker 1: killed by SIGKILL")
        assert supervisor.client().load("a").state == "READY"
