"""How long models stay, and which may be there at the same time: keep-alive, pins, holds, groups, limits, preload."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import grpc
import psutil
import pytest
import vramd
from support.supervisor_process import BOUND_S, Story, SupervisorProcess, busy, simulated, virtual
from support.wire import Caller
from vramd_proto.v1 import model_pb2, supervisor_pb2

LEAST_S = 6.0
"""Longer than what is to end by itself takes on a busy machine."""
KEEP_ALIVE_S = 3.0
"""Longer than it takes to ask again."""

CONFIGURATION = "\n".join(
    (
        f"[scheduling]\nstarvation_bound_s = 0.2\ndrain_s = 0.1\nminimum_residency_s = {LEAST_S}",
        virtual("single", "1GiB"),
        simulated("kept", device="single", keep_alive_s=0, load_s=0),
        simulated("next", device="single", load_s=0),
        simulated("busy", device="single", tokens_per_s=20, load_s=0),
        simulated("brief", card="", keep_alive_s=KEEP_ALIVE_S, tokens_per_s=40, load_s=0),
        simulated("alto", card="", group="voice", tokens_per_s=40, keep_alive_s=-1, load_s=0),
        simulated("bass", card="", group="voice", load_s=0),
        simulated("drum", card="", group="rhythm", load_s=0),
        simulated("first", card="", preload=True, load_s=0),
        simulated("second", card="", preload=True, load_s=0),
    )
)


@pytest.fixture
def client(shared: SupervisorProcess) -> vramd.Client:
    """While no model is loaded."""
    shared.clear()
    return shared.client()


def ready(client: vramd.Client) -> set[str]:
    return {one.model for one in client.resident() if one.state == "READY"}


def test_of_those_that_are_to_be_there_from_the_start_the_first_one_comes(shared: SupervisorProcess) -> None:
    with shared.story() as story:
        story.reached("first", "READY")
        assert story.changes("second", "QUEUED") == []


def test_each_use_begins_the_time_to_stay_anew_and_work_is_no_idleness(client: vramd.Client, story: Story) -> None:
    assert len(client.embed("brief", "x")) == 1
    tokens = round(40 * KEEP_ALIVE_S) + 10  # they take longer than the model may be idle
    assert client.generate("brief", "x", max_tokens=tokens).finish.reason == "LENGTH"
    left_s = story.moment("brief", "DRAINING") - story.moment("brief", "READY")
    assert left_s >= tokens / 40 + KEEP_ALIVE_S - 0.05
    story.reached("brief", "UNLOADED")
    assert len(story.changes("brief", "DRAINING")) == 1


def test_a_changed_time_to_stay_counts_from_now_on(client: vramd.Client, story: Story) -> None:
    client.load("alto")
    client.update("alto", keep_alive_s=0)
    story.reached("alto", "UNLOADED")
    client.update("alto", keep_alive_s=-1)


def test_a_pinned_model_is_never_idle_for_too_long(client: vramd.Client, story: Story) -> None:
    client.update("kept", pinned=True)
    client.load("kept")
    assert len(client.embed("kept", "x")) == 1
    assert ready(client) == {"kept"}
    assert story.changes("kept", "DRAINING") == []
    client.update("kept", pinned=False)
    story.reached("kept", "UNLOADED")


Held: TypeAlias = "grpc._CallIterator[supervisor_pb2.HoldModelResponse]"


def hold(caller: Caller, model: str) -> Held:
    """Waits until the model is warm."""
    held = caller.supervisor.HoldModel(supervisor_pb2.HoldModelRequest(model=model))
    until_warm(held)
    return held


def until_warm(held: Held) -> list[model_pb2.ModelState.ValueType]:
    """What is told up to the next time that the model is warm."""
    states = []
    for news in held:
        states.append(news.state)
        if news.state == model_pb2.MODEL_STATE_READY:
            break
    return states


def test_a_held_model_neither_leaves_nor_goes_for_others_until_its_holder_lets_go(
    shared: SupervisorProcess, client: vramd.Client, story: Story
) -> None:
    held = hold(shared.caller(), "kept")
    assert len(client.embed("kept", "x")) == 1
    with pytest.raises(vramd.MemoryExhausted) as refused:
        client.load("next")
    assert "(held by a client)" in refused.value.metadata["heldBy"]
    assert ready(client) == {"kept"}
    assert story.changes("kept", "DRAINING") == []
    held.cancel()
    story.reached("kept", "UNLOADED")
    assert client.load("next").state == "READY"


def test_a_holder_that_vanishes_holds_no_longer(shared: SupervisorProcess, client: vramd.Client, story: Story) -> None:
    caller = shared.caller()
    hold(caller, "kept")
    caller.channel.close()
    story.reached("kept", "UNLOADED")


def test_a_held_model_whose_process_dies_comes_back(shared: SupervisorProcess, client: vramd.Client) -> None:
    held = hold(shared.caller(), "kept")
    before = client.model("kept").resident
    assert before is not None
    assert before.pid is not None
    psutil.Process(before.pid).kill()
    told = until_warm(held)
    assert len(told) > 1, "it was told twice that the first life is warm"
    after = client.model("kept").resident
    assert after is not None
    assert after.worker_id > before.worker_id
    held.cancel()


def test_an_unload_ends_a_hold(shared: SupervisorProcess, client: vramd.Client) -> None:
    held = hold(shared.caller(), "kept")
    client.unload("kept")
    with pytest.raises(grpc.RpcError, match="was unloaded"):
        list(held)
    assert client.model("kept").state == "UNLOADED"


def test_of_a_group_one_is_there_and_others_stay(client: vramd.Client, story: Story) -> None:
    for model in ("alto", "drum", "bass"):
        client.load(model)
    assert story.evictions("alto", "bass", "drum", ready="bass") == [("alto", "bass")]
    assert ready(client) == {"drum", "bass"}
    assert story.most_at_once("alto", "bass") == 1


def test_one_of_a_group_that_is_busy_may_end_what_it_has_begun(shared: SupervisorProcess, client: vramd.Client) -> None:
    client.load("alto")
    with shared.news() as story, ThreadPoolExecutor() as pool:
        with client.generate("alto", "x", max_tokens=20) as answer:
            next(answer)
            coming = pool.submit(client.load, "bass")
            story.reached("bass", "QUEUED")
            assert len(answer.text.split()) >= 20
        assert coming.result(BOUND_S).state == "READY"
        assert story.evictions("alto", ready="bass") == [("alto", "bass")]


def test_a_model_in_use_is_there_for_its_least_time_whatever_waits(client: vramd.Client, story: Story) -> None:
    with ThreadPoolExecutor() as pool, busy(client, "busy") as answer:
        coming = pool.submit(client.load, "next")
        stayed_s = story.moment("busy", "DRAINING") - story.moment("busy", "READY")
        assert stayed_s >= LEAST_S - 0.05
        assert coming.result(BOUND_S).state == "READY"
        with pytest.raises(vramd.Unloaded):
            list(answer)


def test_a_model_is_in_one_group_only() -> None:
    configuration = simulated("a", card="", load_s=0).replace("load_s", 'group = ["voice", "rhythm"]\nload_s')
    with SupervisorProcess(configuration) as supervisor:
        assert supervisor.exit_code() != 0
        assert "group" in supervisor.printed


LIMITED = "\n".join(
    (
        "[scheduling]\nkeep_resident = 1\nat_most_resident = 2\npreload = 'all'\nminimum_residency_s = 0",
        virtual("single", "1GiB"),
        *(simulated(name, card="", tokens_per_s=40, load_s=0) for name in "abc"),
        simulated("fits", device="single", preload=True, load_s=0),
        simulated("fits-no-more", device="single", preload=True, load_s=0),
    )
)


@pytest.fixture(scope="module")
def limited() -> Iterator[SupervisorProcess]:
    with SupervisorProcess(LIMITED) as supervisor:
        yield supervisor.ready()


def test_all_that_are_to_be_there_from_the_start_come_as_far_as_there_is_room(limited: SupervisorProcess) -> None:
    with limited.story() as story:
        story.reached("fits", "READY")
        story.reached("fits-no-more", "UNLOADED")
        assert story.evictions("fits") == []


def test_beyond_the_limit_the_least_recently_used_goes_and_never_are_there_more(limited: SupervisorProcess) -> None:
    limited.clear()
    client = limited.client()
    with limited.news() as story:
        for model in "abc":
            client.load(model)
        assert story.evictions(*"abc", ready="c") == [("a", "c")]
        for model in "ab":
            assert len(client.embed(model, "x")) == 1
        story.reached("b", "READY", 2)
        assert story.began(*"abc") == [*"abcab"]
        assert story.most_at_once(*"abc") == 2


def test_at_the_limit_the_busy_one_is_passed_over(limited: SupervisorProcess) -> None:
    limited.clear()
    client = limited.client()
    with limited.news() as story, busy(client, "a") as answer:
        client.load("b")
        client.load("c")
        assert story.evictions(*"abc", ready="c") == [("b", "c")]
        assert next(answer)


def test_the_last_one_stays_however_idle_until_another_has_come(limited: SupervisorProcess) -> None:
    limited.clear()
    client = limited.client()
    with limited.news() as story:
        client.load("a", keep_alive_s=0)
        assert len(client.embed("a", "x", keep_alive_s=0)) == 1
        assert ready(client) == {"a"}
        client.load("b")
        story.reached("a", "UNLOADED")
        assert ready(client) == {"b"}
