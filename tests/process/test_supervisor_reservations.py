"""Memory that another program announces, with real processes on a card that is a number of bytes."""

import asyncio

import pytest
import vramd
from support.supervisor_process import CARD, Story, SupervisorProcess, simulated

GIB = 1 << 30
SMALL_CARD = CARD.replace("8GiB", "2GiB")
MODELS = simulated("a") + simulated("b")


def reserved(client: vramd.Client) -> int:
    return next(device.reserved_bytes for device in client.devices() if device.id == "card")


def assert_never_over_budget(story: Story) -> None:
    changes = story.details(vramd.LedgerChanged)
    assert changes
    assert [row for change in changes for row in change.devices if row.reserved_bytes > row.budget_bytes] == []


def test_room_is_made_and_given_back() -> None:
    with SupervisorProcess(SMALL_CARD + MODELS) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        client.load("a")
        client.load("b")
        reservation = client.reserve("1GiB", device="card", ttl_s=600, label="game")
        assert (reservation.size_bytes, reservation.device, reservation.label) == (GIB, "card", "game")
        (evicted,) = story.until("an eviction", lambda _: story.details(vramd.Evicted))
        assert (evicted.model, evicted.for_model, evicted.for_reservation) == ("a", None, reservation.id)
        assert evicted.cause == "evicted_for_reservation"
        assert [model.model for model in client.resident()] == ["b"]
        assert reserved(client) == 2 * GIB
        client.unload("b")
        assert reserved(client) == GIB, "shown beside the models"
        assert client.release(reservation)
        assert not client.release(reservation), "twice is harmless"
        assert reserved(client) == 0
        client.load("a")
        assert_never_over_budget(story)


def test_it_ends_after_its_time() -> None:
    with SupervisorProcess(SMALL_CARD + MODELS) as supervisor, supervisor.story() as story:
        reservation = supervisor.client().reserve(2 * GIB, device="card", ttl_s=0.2)
        told = f"reservation {reservation.id} has had its time"
        story.until(told, lambda _: told in {change.message for change in story.details(vramd.LedgerChanged)})
        assert reserved(supervisor.client()) == 0


def test_a_model_that_works_is_waited_for_as_long_as_the_caller_waits() -> None:
    slow = simulated("slow", card="2GiB", tokens_per_s=1)
    with SupervisorProcess(SMALL_CARD + slow) as supervisor:
        client = supervisor.client()
        with client.generate("slow", "x") as stream:
            next(stream)
            with pytest.raises(vramd.DeadlinePassed):
                client.reserve("1GiB", device="card", timeout_s=0.3)
        assert client.reserve("1GiB", device="card").waited_s >= 0
        assert client.resident() == ()


def test_from_an_event_loop() -> None:
    async def main(supervisor: SupervisorProcess) -> bool:
        async with vramd.AsyncClient(supervisor.folder.path) as client:
            return await client.release(await client.reserve("1GiB", device="card"))

    with SupervisorProcess(SMALL_CARD) as supervisor:
        assert asyncio.run(main(supervisor.ready()))
