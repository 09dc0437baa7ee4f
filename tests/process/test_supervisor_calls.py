"""Requests: when the first word comes, who is served next, how long a model stays, who gets how many threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import vramd
from support.supervisor_process import BOUND_S, SupervisorProcess, simulated, until

CONFIGURATION = "\n".join(
    (
        "[server]\nyield_cores = false",  # the machine may be busy, and threads are counted
        "[scheduling]\nstop_s = 0.3",
        simulated("blocked", card="", manners=["block-after-first-token"]),
        simulated("one", card="", parallel=1, tokens_per_s=20),
        simulated("a", card=""),
        simulated("left", card="", tokens_per_s=20, threads=64),
        simulated("right", card="", tokens_per_s=20, threads=64),
    )
)


def test_the_first_word_leaves_before_the_second_token_exists(shared: SupervisorProcess) -> None:
    with shared.client().chat("blocked", "x", timeout_s=BOUND_S) as stream:
        assert next(stream)
        assert len(stream.token_ids) == 1


def test_a_caller_that_leaves_gives_its_place_to_the_next(client: vramd.Client) -> None:
    with client.generate("one", "x", max_tokens=2000) as endless:
        next(endless)
        with client.generate("one", "y", max_tokens=2) as waiting:
            until("the second waits", lambda: client.load("one").queued == 1)
            endless.cancel()
            assert waiting.finish is not None
            assert len(waiting.token_ids) == 2


def test_a_client_that_vanishes_gives_its_place_to_the_next(shared: SupervisorProcess, client: vramd.Client) -> None:
    with vramd.Client(shared.folder.path) as vanishing:
        next(vanishing.generate("one", "x", max_tokens=2000))
    assert len(client.embed("one", ["x", "y"], timeout_s=BOUND_S)) == 2
    until("nobody is left", lambda: client.load("one").in_flight == 0)


def test_to_load_what_is_loaded_waits_for_nobody(client: vramd.Client) -> None:
    with client.generate("one", "x", max_tokens=2000) as endless:
        next(endless)
        with client.generate("one", "y", max_tokens=2):
            seen = until("the second waits", lambda: found if (found := client.load("one")).queued else None)
            assert (seen.in_flight, seen.queued) == (1, 1)


def test_a_deadline_ends_a_request_that_waits(client: vramd.Client) -> None:
    with client.generate("one", "x", max_tokens=2000) as endless:
        next(endless)
        with pytest.raises(vramd.DeadlinePassed):
            client.embed("one", "y", timeout_s=0.3)
        until("nobody waits", lambda: client.load("one").queued == 0)
        assert next(endless)


def test_a_model_that_shall_not_stay_leaves_at_once(shared: SupervisorProcess, client: vramd.Client) -> None:
    with shared.story() as story:
        worker_id = client.load("a", keep_alive_s=-1).worker_id
        client.embed("a", "x", keep_alive_s=0)
        story.until("it has left", lambda _: worker_id in {c.worker_id for c in story.changes("a", "STOPPING")})
        story.until("its memory is back", lambda _: worker_id in {r.worker_id for r in story.details(vramd.Receipt)})


def test_a_model_stays_as_long_as_it_shall(shared: SupervisorProcess, client: vramd.Client) -> None:
    with shared.story() as story:
        worker_id = client.load("a", keep_alive_s=0.4).worker_id
        client.embed("a", "x")
        story.until("it has left", lambda _: worker_id in {c.worker_id for c in story.changes("a", "DRAINING")})
        moments = {
            event.detail.after: event.time_s
            for event in story.events
            if isinstance(event.detail, vramd.ModelChanged) and event.detail.worker_id == worker_id
        }
        assert 0.39 <= moments["DRAINING"] - moments["READY"] < BOUND_S


def test_two_models_that_generate_share_the_cores(shared: SupervisorProcess, client: vramd.Client) -> None:
    cores = client.status().supervisor.usable_cores
    if cores < 2:
        pytest.skip("one core is shared by nobody")
    until("nothing of earlier tests takes cores", lambda: client.status().supervisor.running == 0)
    with ThreadPoolExecutor() as pool, client.logs("left", follow=True) as told:
        own = (line for line in told if line.startswith("simulated: "))

        def lines(count: int) -> list[str]:
            return pool.submit(lambda: [next(own) for _ in range(count)]).result(BOUND_S)

        with client.generate("left", "x", max_tokens=2000) as left:
            next(left)
            with client.generate("right", "x", max_tokens=2000) as right:
                next(right)
                seen = lines(2)
            seen += lines(1)
        half = (cores + 1) // 2
        assert seen == [f"simulated: {threads} threads" for threads in (cores, half, cores)]
        its = f"simulated: {cores - half} threads"
        said = until("its threads are logged", lambda: found if its in (found := list(client.logs("right"))) else None)
        assert said[0].startswith("right: loads a simulated model: context 4096, loads for 0.1 s, 20 tokens per second")
        assert "right: is loaded, context 4096 tokens" in said
