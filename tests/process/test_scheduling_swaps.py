"""Models that take turns on a card too small for all: few swaps, nobody forgotten, nothing loaded twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import vramd
from support.supervisor_process import BOUND_S, Story, SupervisorProcess, busy, queued, simulated, until, virtual

CONFIGURATION = "\n".join(
    (
        virtual("single", "1GiB"),
        *(simulated(name, device="single", parallel=1, tokens_per_s=40, load_s=0) for name in "abc"),
        virtual("stage", "3GiB"),
        *(simulated(f"actor-{number}", device="stage", load_s=0) for number in range(4)),
        virtual("table", "1GiB"),
        *(simulated(name, device="table", load_s=0) for name in ("ping", "pong")),
        simulated("slow-1", card="", load_s=600),
        simulated("slow-2", card="", load_s=600),
        simulated("toggled", card="", load_s=0),
    )
)

pytestmark = pytest.mark.usefixtures("cleared")


def line_up(client: vramd.Client, models: str) -> list[vramd.Stream]:
    """Callers of these models, each of whom comes when all before him wait."""
    streams = []
    for place, model in enumerate(models):
        streams.append(client.generate(model, f"{place}", max_tokens=2))
        until_queued(client, model, models[: place + 1].count(model))
    return streams


def until_queued(client: vramd.Client, model: str, count: int) -> None:
    until(f"{count} wait for {model}", lambda: queued(client, model) == count)


def answered(streams: list[vramd.Stream]) -> int:
    return sum(len(stream.token_ids) == 2 for stream in streams if stream.finish.reason == "LENGTH")


def test_callers_of_three_models_in_turn_cost_one_load_of_each(client: vramd.Client, story: Story) -> None:
    with busy(client, "a") as running:
        streams = line_up(client, "abcabc")
        running.cancel()
        assert answered(streams) == 6
        assert story.began(*"abc", ready="c") == ["a", "b", "c"]
        assert story.evictions(*"abc", ready="c") == [("a", "b"), ("b", "c")]
        assert story.most_at_once(*"abc") == 1


def test_twenty_for_one_model_with_one_for_another_in_the_middle_cost_two_swaps_at_most(
    client: vramd.Client, story: Story
) -> None:
    with busy(client, "a") as running:
        streams = line_up(client, "a" * 10 + "b" + "a" * 10)
        running.cancel()
        assert answered(streams) == 21
        assert len(story.evictions("a", "b", ready="b")) <= 2


def test_models_that_wait_for_the_same_room_come_in_the_order_of_their_callers(
    client: vramd.Client, story: Story
) -> None:
    with busy(client, "a") as running:
        streams = line_up(client, "cb")
        running.cancel()
        assert answered(streams) == 2
        assert story.began(*"abc", ready="b") == ["a", "c", "b"]


def test_the_more_urgent_load_has_its_room_first_and_is_as_urgent_as_its_most_urgent_caller(
    client: vramd.Client, story: Story
) -> None:
    with busy(client, "a") as running:
        streams = [client.generate("b", "x", max_tokens=2, priority="batch")]
        until_queued(client, "b", 1)
        streams.append(client.generate("c", "x", max_tokens=2, priority="normal"))
        until_queued(client, "c", 1)
        streams.append(client.generate("b", "y", max_tokens=2, priority="interactive"))
        until_queued(client, "b", 2)
        running.cancel()
        assert answered(streams) == 3
        assert story.began(*"abc", ready="c") == ["a", "b", "c"]


def test_an_unload_ends_who_waits_for_that_model_and_nobody_else(client: vramd.Client, story: Story) -> None:
    with busy(client, "a") as running:
        for_b, for_c = line_up(client, "bc")
        with pytest.raises(vramd.NotLoaded):
            client.unload("b")
        with pytest.raises(vramd.Unloaded):
            next(for_b)
        assert next(running)
        running.cancel()
        assert answered([for_c]) == 1
        assert story.evictions(*"abc", ready="c") == [("a", "c")]
        assert story.began("b") == []


def test_more_models_than_fit_asked_by_many_clients_are_all_answered_and_only_room_sends_them_away(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    actors = [f"actor-{number}" for number in range(4)]

    def three_rounds(first: int) -> list[bool]:
        turns = [actors[(first + turn) % 4] for turn in range(3)]
        return [len(client.generate(actor, "x", max_tokens=3).text.split()) >= 3 for actor in turns]

    with shared.news() as story, ThreadPoolExecutor(4) as pool:
        assert all(all(told) for told in pool.map(three_rounds, range(4), timeout=3 * BOUND_S))
        story.until("one has gone", lambda _: story.details(vramd.Evicted))
        reasons = [gone.message for gone in story.details(vramd.Evicted)]
        assert [reason for reason in reasons if "1.00 GiB on stage" not in reason] == []
        assert story.most_at_once(*actors) <= 3
        rows = [row for change in story.details(vramd.LedgerChanged) for row in change.devices]
        assert [row for row in rows if row.reserved_bytes > row.budget_bytes] == []


def test_models_that_drive_each_other_out_again_and_again_are_told_of(client: vramd.Client) -> None:
    for model in ("ping", "pong", "ping", "pong", "ping"):
        assert len(client.embed(model, "x")) == 1
    told = until("it is told", lambda: [one for one in client.decisions("ping") if one.kind == "thrash"])
    assert len(told) == 1
    assert (told[0].model, told[0].for_whom) == ("ping", "pong")
    assert told[0].numbers["loads_per_minute"] > 0
    assert 0 <= told[0].numbers["useful_share"] <= 1
    assert "together" in told[0].message


def test_loads_of_different_models_go_on_at_the_same_time(client: vramd.Client, story: Story) -> None:
    with client.generate("slow-1", "x"), client.generate("slow-2", "x"):
        story.reached("slow-1", "LOADING")
        story.reached("slow-2", "LOADING")
        assert story.most_at_once("slow-1", "slow-2") == 2


def test_loads_and_unloads_of_one_model_all_at_once_all_end(shared: SupervisorProcess, client: vramd.Client) -> None:
    def toggle(number: int) -> None:
        try:
            if number % 2:
                client.unload("toggled")
            else:
                client.load("toggled")
        except (vramd.NotLoaded, vramd.Unloaded):
            pass  # each is the answer that another's unload gives

    with shared.news() as story, ThreadPoolExecutor(6) as pool:
        list(pool.map(toggle, range(18), timeout=BOUND_S))
        assert client.load("toggled").state == "READY"
        lives = [change.worker_id for change in story.changes("toggled", "LOADING")]
        assert len(lives) == len(set(lives))
