"""To unload a model is to end its process: what the receipt says, and what callers of the model hear."""

import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import vramd
from support.supervisor_process import BOUND_S, CARD, SupervisorProcess, simulated

MIB = 1 << 20
DRAIN_S = 0.6
STOP_S = 10.0
"""None but a rude one needs it: a process that is asked to go may be held up."""

CONFIGURATION = "\n".join(
    (
        f"[scheduling]\ndrain_s = {DRAIN_S}\nstop_s = {STOP_S}",
        CARD,
        simulated("real", card="", host="200MiB", allocate=True),
        simulated("both", card="1GiB", host="100MiB", allocate=True),
        simulated("unreal", host=""),
        simulated("slow", tokens_per_s=20),
        simulated("slow-load", load_s=600),
    )
)


def test_the_receipt_says_what_was_promised_and_what_was_really_there(client: vramd.Client) -> None:
    loaded = client.load("real")
    assert loaded.pid is not None
    receipt = client.unload("real")
    assert not psutil.pid_exists(loaded.pid)
    assert (receipt.model, receipt.worker_id, receipt.pid) == ("real", loaded.worker_id, loaded.pid)
    assert receipt.exit == "ended"
    assert 0 < receipt.exit_s < STOP_S
    assert 0 <= receipt.release_s < 0.5
    assert receipt.expected_bytes == 200 * MIB
    assert receipt.observed_bytes is not None
    assert abs(receipt.observed_bytes - 200 * MIB) <= 10 * MIB
    assert "just before the stop" in receipt.reason


def test_a_device_that_is_only_a_number_gives_nothing_to_observe(client: vramd.Client) -> None:
    client.load("unreal")
    receipt = client.unload("unreal")
    assert receipt.observed_bytes is None
    assert "virtual" in receipt.reason
    assert [(device.id, device.expected_bytes, device.observed_bytes) for device in receipt.devices] == [
        ("card", 1 << 30, None)
    ]


def test_what_is_observed_is_told_by_device(client: vramd.Client) -> None:
    client.load("both")
    receipt = client.unload("both")
    by_device = {device.id: device for device in receipt.devices}
    assert by_device["card"].observed_bytes is None
    assert by_device["host"].observed_bytes == receipt.observed_bytes
    assert receipt.observed_bytes is not None
    assert abs(receipt.observed_bytes - 100 * MIB) <= 10 * MIB
    assert receipt.expected_bytes == (1 << 30) + 100 * MIB


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    configuration = "[scheduling]\nstop_s = 0.8\n" + simulated("rude", card="", manners=["ignore-sigterm"])
    with SupervisorProcess(configuration) as supervisor:
        client = supervisor.client()
        client.load("rude")
        receipt = client.unload("rude")
        assert (receipt.exit, receipt.message) == ("forced", "ended by force")
        assert 0.8 <= receipt.exit_s < 0.8 + 5


def test_a_busy_model_may_end_what_it_has_begun(client: vramd.Client) -> None:
    with client.generate("slow", "x", max_tokens=6) as stream:
        next(stream)
        receipt = client.unload("slow")
        assert receipt.exit == "ended"
        assert stream.finish is not None
        assert len(stream.token_ids) == 6


def test_what_takes_longer_than_the_drain_is_broken_off(client: vramd.Client) -> None:
    with client.generate("slow", "x", max_tokens=500, on_crash="fail") as stream:
        next(stream)
        began_s = time.monotonic()
        client.unload("slow")
        assert time.monotonic() - began_s >= DRAIN_S
        with pytest.raises(vramd.Unloaded):
            list(stream)
        assert stream.received


def test_force_waits_for_nobody() -> None:
    configuration = "[scheduling]\ndrain_s = 600\n" + simulated("slow", card="", tokens_per_s=1)
    with SupervisorProcess(configuration) as supervisor:
        client = supervisor.client()
        with client.generate("slow", "x", on_crash="fail") as stream:
            next(stream)
            client.unload("slow", force=True, timeout_s=BOUND_S)
            with pytest.raises(vramd.Unloaded):
                list(stream)


def test_an_unload_ends_a_load(shared: SupervisorProcess, client: vramd.Client) -> None:
    with shared.story() as story, ThreadPoolExecutor() as pool:
        loading = pool.submit(client.load, "slow-load")
        story.reached("slow-load", "LOADING")
        receipt = client.unload("slow-load")
        assert receipt.model == "slow-load"
        with pytest.raises(vramd.Unloaded):
            loading.result(BOUND_S)
        story.reached("slow-load", "UNLOADED")
        assert [change.after for change in story.details(vramd.ModelChanged) if change.model == "slow-load"][-2:] == [
            "STOPPING",
            "UNLOADED",
        ]


def test_who_asks_while_a_model_goes_gets_it_anew(shared: SupervisorProcess, client: vramd.Client) -> None:
    with shared.story() as story, ThreadPoolExecutor() as pool, client.generate("slow", "x", max_tokens=6) as stream:
        next(stream)
        before = client.load("slow").worker_id
        going = pool.submit(client.unload, "slow")
        story.until("it drains", lambda _: before in {c.worker_id for c in story.changes("slow", "DRAINING")})
        assert client.embed("slow", "x").dimensions == 8
        assert going.result(BOUND_S).worker_id == before
        assert client.load("slow").worker_id > before
        assert stream.finish is not None
