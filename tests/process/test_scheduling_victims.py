"""Who has to go when something must come, and who must not. Each test has a card and models of its own."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import vramd
from support.supervisor_process import BOUND_S, Story, SupervisorProcess, busy, simulated, until, virtual

CONFIGURATION = "\n".join(
    (
        "[scheduling]\nstop_s = 0.5",
        virtual("roomy", "3GiB"),
        *(simulated(name, device="roomy", load_s=0) for name in ("beside-1", "beside-2", "beside-3")),
        virtual("mixed", "14GiB"),
        simulated("small", "1GiB", device="mixed", load_s=0),
        simulated("big", "10GiB", device="mixed", tokens_per_s=40, load_s=0),
        simulated("on-host", card="", load_s=0),
        simulated("giant", "14GiB", device="mixed", load_s=0),
        virtual("pair", "2GiB"),
        simulated("older-busy", device="pair", tokens_per_s=20, load_s=0),
        simulated("younger-idle", device="pair", keep_alive_s=600, load_s=0),
        simulated("third", device="pair", load_s=0),
        virtual("sized", "4GiB"),
        *(
            simulated(name, size, device="sized", load_s=0)
            for name, size in (("s1", "1GiB"), ("s2", "2GiB"), ("s3", "1GiB"))
        ),
        simulated("s-next", "2GiB", device="sized", load_s=0),
        virtual("left", "1GiB"),
        virtual("right", "1GiB"),
        simulated("left-1", device="left", load_s=0),
        simulated("left-2", device="left", load_s=600),
        simulated("right-1", device="right", load_s=0),
        simulated("right-2", device="right", load_s=0),
        virtual("altar", "2GiB"),
        simulated("precious", device="altar", load_s=0),
        simulated("lamb", device="altar", expendable=True, load_s=0),
        simulated("wolf", device="altar", load_s=0),
        virtual("single", "1GiB"),
        simulated("s-busy", device="single", tokens_per_s=20, load_s=0),
        simulated("s-rude", device="single", manners=["ignore-sigterm"], load_s=0),
        simulated("s-cold", device="single", load_s=0.5),
        simulated("s-other", device="single", load_s=0),
        simulated("s-another", device="single", load_s=0),
    )
)

pytestmark = pytest.mark.usefixtures("cleared")


def ready(client: vramd.Client) -> set[str]:
    return {one.model for one in client.resident() if one.state == "READY"}


@pytest.mark.parametrize(
    ("loaded", "evicted"),
    [
        pytest.param("beside-1 beside-2 beside-3", {}, id="what fits beside the others sends nobody away"),
        pytest.param("s1 s2 s3 s-next", {"s2": "s-next"}, id="the oldest is spared where a later one suffices"),
        pytest.param("left-1 right-1 right-2", {"right-1": "right-2"}, id="one that holds nothing of the card stays"),
        pytest.param("precious lamb wolf", {"lamb": "wolf"}, id="an expendable model goes first, although used last"),
    ],
)
def test_of_models_loaded_in_turn(client: vramd.Client, story: Story, loaded: str, evicted: dict[str, str]) -> None:
    models = loaded.split()
    for model in models:
        client.load(model)
    assert story.evictions(*models, ready=models[-1]) == list(evicted.items())
    assert ready(client) == set(models) - set(evicted)


def test_a_large_one_waits_for_the_busy_one_and_what_is_elsewhere_is_never_touched(
    client: vramd.Client, story: Story
) -> None:
    with ThreadPoolExecutor() as pool:
        elsewhere = client.load("on-host").pid
        client.load("small")
        with client.generate("big", "x", max_tokens=30) as answer:
            next(answer)
            coming = pool.submit(client.load, "giant")
            story.reached("giant", "QUEUED")
            assert len(answer.text.split()) >= 30
        assert coming.result(BOUND_S).state == "READY"
        assert sorted(story.evictions("small", "big", "on-host", ready="giant")) == [
            ("big", "giant"),
            ("small", "giant"),
        ]
        assert client.load("on-host").pid == elsewhere
        assert ready(client) == {"on-host", "giant"}


def test_the_idle_one_goes_although_the_busy_one_is_older_and_would_stay_shorter(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    client.load("older-busy", keep_alive_s=5)
    with shared.news() as story, busy(client, "older-busy") as answer:
        client.load("younger-idle")
        client.load("third")
        assert story.evictions("older-busy", "younger-idle", ready="third") == [("younger-idle", "third")]
        assert next(answer)


def test_swaps_on_two_cards_do_not_wait_for_each_other(shared: SupervisorProcess, client: vramd.Client) -> None:
    client.load("left-1")
    client.load("right-1")
    with shared.news() as story, client.generate("left-2", "x"):
        story.reached("left-2", "LOADING")
        client.load("right-2")
        assert client.model("left-2").state == "LOADING"
        assert sorted(story.evictions("left-1", "right-1", ready="right-2")) == [
            ("left-1", "left-2"),
            ("right-1", "right-2"),
        ]


def test_two_that_need_the_same_room_have_it_one_after_the_other(client: vramd.Client, story: Story) -> None:
    with busy(client, "s-busy") as answer:
        streams = []
        for model in ("s-other", "s-another"):
            streams.append(client.generate(model, "x", max_tokens=3))
            story.reached(model, "QUEUED")
        answer.cancel()
        assert [len(stream.text.split()) >= 3 for stream in streams] == [True, True]
        assert story.evictions("s-busy", "s-other", ready="s-another") == [
            ("s-busy", "s-other"),
            ("s-other", "s-another"),
        ]
        assert story.most_at_once("s-busy", "s-other", "s-another") == 1


def test_where_all_are_busy_a_caller_waits_as_long_as_it_may_and_nobody_goes(
    client: vramd.Client, story: Story
) -> None:
    with busy(client, "s-busy") as answer:
        with pytest.raises(vramd.DeadlinePassed):
            client.embed("s-other", "x", timeout_s=5)
        story.reached("s-other", "QUEUED")
        assert story.evictions("s-busy") == []
        assert next(answer)
        assert client.load("s-busy").queued == 0


def test_a_model_whose_caller_left_before_its_grant_may_go(client: vramd.Client, story: Story) -> None:
    with client.generate("s-cold", "x"):
        story.reached("s-cold", "LOADING")
    until("nobody waits for it", lambda: (found := client.model("s-cold").resident) and not found.queued)
    assert len(client.embed("s-another", "x")) == 1
    assert story.evictions("s-cold", ready="s-another") == [("s-cold", "s-another")]
    assert len(story.changes("s-cold", "READY")) == 1


def test_memory_counts_as_taken_until_it_is_back(client: vramd.Client, story: Story) -> None:
    client.load("s-rude")
    client.load("s-other")
    assert story.evictions("s-rude", ready="s-other") == [("s-rude", "s-other")]
    told = [event.detail for event in story.events]
    back = next(place for place, one in enumerate(told) if isinstance(one, vramd.Receipt) and one.model == "s-rude")
    begun = story.changes("s-other", "LOADING")[-1]
    assert back < told.index(begun)
    rows = [row for one in story.details(vramd.LedgerChanged) for row in one.devices if row.id == "single"]
    assert max(row.reserved_bytes for row in rows) == 1 << 30


def test_who_asks_for_a_victim_while_its_process_ends_waits_for_the_next_and_the_load_is_not_put_off(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    client.load("s-rude")
    with shared.news() as story, ThreadPoolExecutor() as pool:
        coming = pool.submit(client.embed, "s-other", "x")
        story.reached("s-rude", "STOPPING")
        assert len(client.embed("s-rude", "x")) == 1
        assert len(coming.result(BOUND_S)) == 1
        told = story.evictions("s-rude", "s-other", ready="s-rude")
        assert told == [("s-rude", "s-other"), ("s-other", "s-rude")]


def test_a_model_whose_pin_is_taken_off_goes_for_who_was_refused(
    shared: SupervisorProcess, client: vramd.Client
) -> None:
    client.load("right-1")
    client.update("right-1", pinned=True)
    with shared.news() as story:
        with pytest.raises(vramd.MemoryExhausted) as refused:
            client.load("right-2")
        assert refused.value.metadata["heldBy"].startswith("right-1 ")
        assert refused.value.metadata["heldBy"].endswith("(pinned)")
        client.update("right-1", pinned=False)
        client.load("right-2")
        assert story.evictions("right-1", ready="right-2") == [("right-1", "right-2")]
