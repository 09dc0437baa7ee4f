"""A load belongs to the supervisor: many callers share it, none of them aborts it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import vramd
from support.supervisor_process import BOUND_S, CARD, SupervisorProcess, busy, queued, simulated, until


def test_twenty_requests_for_a_cold_model_start_one_process() -> None:
    with SupervisorProcess(simulated("cold", card="", load_s=0.5)) as supervisor, supervisor.story() as story:
        clients = [supervisor.client() for _ in range(4)]
        streams = [clients[number % 4].generate("cold", f"{number}", max_tokens=2) for number in range(20)]
        assert [len(stream.token_ids) for stream in streams if stream.finish.reason == "LENGTH"] == [2] * 20
        story.reached("cold", "READY")
        assert {change.worker_id for change in story.changes("cold", "LOADING")} == {1}
        assert len(story.changes("cold", "LOADING")) == 1


def test_a_client_that_leaves_does_not_abort_the_load() -> None:
    with SupervisorProcess(simulated("cold", card="", load_s=1)) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        with client.generate("cold", "x"):
            story.reached("cold", "LOADING")
            loading = client.model("cold").resident
        assert loading is not None
        assert client.load("cold").pid == loading.pid
        story.reached("cold", "READY")
        assert len(story.changes("cold", "LOADING")) == 1


def test_two_impatient_callers_and_a_patient_one_see_one_process() -> None:
    with SupervisorProcess(simulated("cold", card="", load_s=4)) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        for _ in range(2):
            with pytest.raises(vramd.DeadlinePassed):
                client.embed("cold", "x", timeout_s=0.2)
        assert client.embed("cold", "x").dimensions == 8
        story.reached("cold", "READY")
        assert len(story.changes("cold", "QUEUED")) == 1
        assert len(story.changes("cold", "LOADING")) == 1


def test_a_load_tells_its_steps_to_everybody_who_waits() -> None:
    models = simulated("busy", card="8GiB", tokens_per_s=20) + simulated("cold", load_s=1)
    with SupervisorProcess(CARD + models) as supervisor, ThreadPoolExecutor() as pool:
        told: list[list[vramd.LoadProgress]] = [[], []]
        client = supervisor.client()
        # The load has its room only when both wait for it.
        with busy(client, "busy"):
            calls = [pool.submit(supervisor.client().load, "cold", on_progress=steps.append) for steps in told]
            until("both wait", lambda: queued(client, "cold") == 2)
        ready = [call.result(BOUND_S) for call in calls]
        assert ready[0].pid == ready[1].pid is not None
        for steps in told:
            shares = [step.progress for step in steps if step.progress is not None]
            assert len(shares) > 3
            assert shares == sorted(shares)
            assert steps[-1].state == "READY"
