"""Who has to go when something must come, with real processes on a card that is a number of bytes."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import vramd
from support.supervisor_process import BOUND_S, CARD, Story, SupervisorProcess, simulated, until

GIB = 1 << 30


def card(size: str) -> str:
    return CARD.replace("8GiB", size)


def resident(client: vramd.Client) -> set[str]:
    return {model.model for model in client.resident()}


def assert_never_over_budget(story: Story) -> None:
    changes = story.details(vramd.LedgerChanged)
    assert changes
    assert [row for change in changes for row in change.devices if row.reserved_bytes > row.budget_bytes] == []


def test_the_least_recently_used_goes_not_the_oldest() -> None:
    models = "\n".join(simulated(name) for name in "abc")
    with SupervisorProcess(card("2GiB") + models) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        client.load("a")
        client.load("b")
        client.embed("a", "used again")
        client.load("c")
        assert story.evictions(*"abc", ready="c") == [("b", "c")]
        assert resident(client) == {"a", "c"}
        assert_never_over_budget(story)


def test_a_pinned_model_never_goes() -> None:
    models = simulated("a", pinned=True) + simulated("b") + simulated("c") + simulated("d", card="2GiB")
    with SupervisorProcess(card("2GiB") + models) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        for model in "abcb":
            client.load(model)
        with pytest.raises(vramd.MemoryExhausted) as refused:
            client.load("d")
        assert "a 1.00 GiB" in refused.value.metadata["heldBy"]
        story.reached("b", "READY", 2)
        assert story.evictions(*"abcd") == [("b", "c"), ("c", "b")]
        assert resident(client) == {"a", "b"}
        assert_never_over_budget(story)


def test_a_busy_model_goes_only_when_it_is_idle() -> None:
    models = simulated("busy", tokens_per_s=40) + simulated("next")
    with (
        SupervisorProcess(card("1GiB") + models) as supervisor,
        supervisor.story() as story,
        ThreadPoolExecutor() as pool,
    ):
        client = supervisor.client()
        with client.generate("busy", "x", max_tokens=2000) as stream:
            next(stream)
            coming = pool.submit(client.load, "next")
            story.reached("next", "QUEUED")
            before = len(stream.token_ids)
            while len(stream.token_ids) < before + 30:
                next(stream)
            assert story.changes("busy", "DRAINING") == []
        assert coming.result(BOUND_S).state == "READY"
        assert story.evictions("busy", "next", ready="next") == [("busy", "next")]
        assert_never_over_budget(story)


def test_as_many_go_as_are_needed_and_no_more() -> None:
    models = "\n".join(simulated(name) for name in "abcd") + simulated("large", card="2GiB")
    with SupervisorProcess(card("4GiB") + models) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        for model in "abcd":
            client.load(model)
        client.load("large")
        assert story.evictions(*"abcd", "large", ready="large") == [("a", "large"), ("b", "large")]
        assert resident(client) == {"c", "d", "large"}
        assert_never_over_budget(story)


def test_a_crowd_on_a_small_card_is_served_and_the_ledger_ends_where_status_says() -> None:
    models = "\n".join(simulated(name, card=size) for name, size in zip("abc", ("1GiB", "2GiB", "1GiB"), strict=True))
    with SupervisorProcess(card("2GiB") + models) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        streams = [client.generate(model, f"{turn}", max_tokens=3) for turn in range(3) for model in "abc"]
        assert [len(stream.text.split()) >= 3 for stream in streams] == [True] * 9
        until("a spare", lambda: len(supervisor.workers()) == len(client.resident()) + 1)

        def as_shown() -> dict[str, int] | None:
            # The new spare may be measured in between.
            shown = {device.id: device.reserved_bytes for device in client.devices()}
            return shown if shown == ledger(story) else None

        last = until("the ledger as shown", as_shown)
        assert 0 < last["card"] <= 2 * GIB
        assert last["host"] > 60 << 20
        assert_never_over_budget(story)


def ledger(story: Story) -> dict[str, int]:
    changes = story.details(vramd.LedgerChanged)
    return {row.id: row.reserved_bytes for row in changes[-1].devices} if changes else {}
