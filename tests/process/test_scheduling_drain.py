"""Nobody waits for ever: a busy model yields within the bound, admits nothing new while it goes, and ends typed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import vramd
from support.supervisor_process import BOUND_S, Story, SupervisorProcess, busy, queued, simulated, until, virtual

STARVATION_BOUND_S = 5.0
DRAIN_S = 4.4
"""Longer than what is to end by itself takes on a busy machine."""
STOP_S = 0.1
SLACK_S = 20.0
"""A machine may be slow; without a bound these would wait for ever."""

CONFIGURATION = "\n".join(
    (
        f"[scheduling]\nstarvation_bound_s = {STARVATION_BOUND_S}\ndrain_s = {DRAIN_S}",
        f"stop_s = {STOP_S}\nminimum_residency_s = 0",
        virtual("crowded", "1GiB"),
        simulated("popular", device="crowded", tokens_per_s=40, load_s=0),
        simulated("wanted", device="crowded", load_s=0),
        virtual("single", "1GiB"),
        simulated("victim", device="single", parallel=1, tokens_per_s=40, load_s=0),
        simulated("next", device="single", tokens_per_s=40, load_s=0),
        simulated("cold", device="single", load_s=0.6, tokens_per_s=40),
        simulated("heavy", device="single", load_s=5),
        simulated("clock", card="", tokens_per_s=40, load_s=0),
    )
)

pytestmark = pytest.mark.usefixtures("cleared")


def let_pass(client: vramd.Client, seconds: float) -> None:
    """An answer is the clock: no sooner than at its pace has it so many words."""
    assert client.generate("clock", "x", max_tokens=round(40 * seconds)).finish.reason == "LENGTH"


def ask_until(over: threading.Event, client: vramd.Client, model: str) -> list[str]:
    """Asks again and again; how each answer ended."""
    ends: list[str] = []
    while not over.is_set():
        try:
            ends.append(client.generate(model, "x", max_tokens=80).finish.reason)
        except vramd.VramdError as error:
            ends.append(error.reason)
    return ends


def test_a_model_that_eight_clients_keep_busy_yields_within_the_bound(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    client.load("popular")
    over = threading.Event()
    with shared.news() as story, ThreadPoolExecutor(8) as pool:
        crowd = [pool.submit(ask_until, over, client, "popular") for _ in range(8)]
        try:
            until("a crowd", lambda: queued(client, "popular"))
            assert len(client.embed("wanted", "x", timeout_s=BOUND_S)) == 1
        finally:
            over.set()
        waited_s = story.moment("wanted", "LOADING") - story.moment("wanted", "QUEUED")
        assert waited_s <= STARVATION_BOUND_S + SLACK_S
        first = next(one for one in story.details(vramd.Evicted) if one.model == "popular")
        assert (first.for_model, "has waited for" in first.message) == ("wanted", True)
        assert first.cause == "evicted_for_model"
        ends = {end for one in crowd for end in one.result(BOUND_S)}
        assert "LENGTH" in ends
        assert ends <= {"LENGTH", "MODEL_UNLOADED"}


def test_a_victim_admits_nothing_new_and_who_asks_is_served_by_its_next_life(
    client: vramd.Client, story: Story
) -> None:
    with ThreadPoolExecutor() as pool, busy(client, "victim") as running:
        first_life = client.load("victim").worker_id
        waiting = pool.submit(client.embed, "next", "x")
        drains = story.reached("victim", "DRAINING")
        late = client.generate("victim", "y", max_tokens=2)
        story.waits("victim", 1, behind=drains)
        assert len(waiting.result(BOUND_S)) == 1
        assert late.timeline is not None
        assert late.timeline.worker_id > first_life
        with pytest.raises(vramd.Unloaded):
            list(running)
        assert running.received
        story.reached("victim", "READY", 2)
        assert story.began("victim", "next") == ["victim", "next", "victim"]
        assert story.evictions("victim", "next") == [("victim", "next"), ("next", "victim")]


def test_an_answer_that_ends_while_its_model_drains_is_whole(client: vramd.Client, story: Story) -> None:
    # It is sent away after the bound less the time to drain, and done before that is over.
    with ThreadPoolExecutor() as pool:
        with client.generate("victim", "x", max_tokens=36) as answer:
            next(answer)
            coming = pool.submit(client.load, "next")
            story.reached("victim", "DRAINING")
            assert len(answer.text.split()) >= 36
        assert coming.result(BOUND_S).state == "READY"


def test_a_model_serves_those_it_came_for_before_it_goes(client: vramd.Client, story: Story) -> None:
    with ThreadPoolExecutor() as pool:
        first = client.generate("cold", "x", max_tokens=10)
        story.reached("cold", "LOADING")
        coming = pool.submit(client.embed, "next", "x")
        story.reached("next", "QUEUED")
        assert len(first.text.split()) >= 10
        assert len(coming.result(BOUND_S)) == 1
        assert story.evictions("cold", ready="next") == [("cold", "next")]
        assert story.began("cold", "next") == ["cold", "next"]


def test_nobody_is_sent_away_for_who_has_left(client: vramd.Client, story: Story) -> None:
    with busy(client, "victim") as running:
        # Not as urgent as usual, so that there is time to leave before the bound less the time to drain.
        with client.generate("next", "x", priority="normal"):
            story.reached("next", "QUEUED")
        until("nobody waits", lambda: queued(client, "next") == 0)
        let_pass(client, 2 * STARVATION_BOUND_S - DRAIN_S - STOP_S + 0.4)
        assert next(running)
        assert story.changes("victim", "DRAINING") == []


def test_who_has_waited_long_enough_is_served_before_the_more_urgent(client: vramd.Client) -> None:
    with busy(client, "victim") as running:
        old = client.generate("victim", "old", max_tokens=2000, priority="normal")
        until("it waits", lambda: queued(client, "victim") == 1)
        let_pass(client, STARVATION_BOUND_S + 0.2)
        with old, client.generate("victim", "urgent", max_tokens=2, priority="interactive") as urgent:
            until("both wait", lambda: queued(client, "victim") == 2)
            running.cancel()
            assert next(old)
            assert urgent.received == ""
            assert queued(client, "victim") == 1
            old.cancel()
            assert next(urgent)


def test_a_client_without_patience_is_served_in_the_end_and_the_load_was_begun_once(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    client.load("victim")
    failures = 0
    with shared.news() as story:
        while True:
            try:
                assert len(client.embed("heavy", "x", timeout_s=0.4)) == 1
                break
            except vramd.DeadlinePassed:
                failures += 1
                assert failures < BOUND_S / 0.4
        assert failures > 1
        assert story.evictions("victim", "heavy", ready="heavy") == [("victim", "heavy")]
        assert story.began("heavy") == ["heavy"]
