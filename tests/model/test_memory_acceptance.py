"""Real llama.cpp on a card that really runs out: what is promised is what is taken, and nothing is ever refused."""

import random
from pathlib import Path

import pytest
import vramd
from support.carded_supervisor import MIB, Carded, carded
from support.gguf_models import Shape, random_llama
from support.supervisor_process import until

pytest.importorskip("llama_cpp")

TIGHT = '[devices.gpu0]\nheadroom = "16MiB"\n'


@pytest.fixture(scope="module")
def models(folder: Path) -> Path:
    shape = Shape(embedding=256, layers=4, heads=4, kv_heads=2, feed_forward=704, vocabulary=2048, context=2048)
    for name in ("one", "two", "three"):
        random_llama(folder / f"{name}.gguf", shape, seed=len(name))
    return folder


def engine_bytes(plan: vramd.Plan, device: str) -> int:
    [need] = [need for need in plan.quote.devices if need.id == device]
    return need.weights_bytes + need.context_bytes + need.compute_bytes


def taken(world: Carded, model: str) -> int:
    """What the card's books say of a model's process, beside the driver's context."""
    [resident] = [one for one in world.client.resident() if one.model == model]
    return world.card.taken_bytes(resident.pid) - world.card.context_bytes


@pytest.mark.parametrize("as_cuda", [True, False], ids=["nvidia", "other backend"])
def test_what_a_plan_says_is_what_the_card_gives(tmp_path: Path, plug_ins: Path, models: Path, as_cuda: bool) -> None:
    device = "gpu0" if as_cuda else "vgpu0"
    with carded(tmp_path, plug_ins, 2048, models=models, as_cuda=as_cuda) as world:
        for settings in ({}, {"kv_type": "q8_0"}, {"gpu_layers": 2}, {"ubatch": 128, "outputs": "all", "context": 512}):
            plan = world.client.plan("one", device=device, **settings)
            assert (plan.fits, plan.quote.source) == (True, "dry_run")
            resident = world.client.load("one", device=device, **settings)
            assert resident.quote is not None
            assert resident.quote.devices == plan.quote.devices
            assert taken(world, "one") == engine_bytes(plan, device)
            assert world.client.generate("one", "hello", max_tokens=4).finish.reason != "CANCELLED"
            world.client.unload("one")
            until("the card is empty", lambda: not world.card.processes() or not as_cuda)
        assert world.card.refused() == []


def test_a_card_for_one_model_swaps(tmp_path: Path, plug_ins: Path, models: Path) -> None:
    with carded(tmp_path, plug_ins, 700, TIGHT, models=models) as world, world.supervisor.story() as story:
        for name in ("one", "two", "one"):
            assert world.client.generate(name, "hello", max_tokens=4).text
            assert world.resident() == [name]
        story.reached("one", "READY", 2)
        evicted = [event.model for event in story.details(vramd.Evicted)]
        assert evicted == ["one", "two"]
        assert world.card.refused() == []


def test_an_under_quoted_load_is_given_back_and_planned_anew(tmp_path: Path, plug_ins: Path, models: Path) -> None:
    """A driver that takes 600 MiB for each process, of which nobody knows before the first load."""
    configuration = '[devices.gpu0]\nheadroom = "16MiB"\nbudget = "1130MiB"\n'
    world_of = carded(tmp_path, plug_ins, 3000, configuration, models=models, context_mib=600)
    with world_of as world, world.supervisor.story() as story:
        first = world.client.load("one")
        [before] = [use.reserved_bytes for use in first.devices if use.id == "gpu0"]
        assert before >= 600 * MIB, "what it was measured to take is booked"
        second = world.client.load("two")
        story.reached("two", "READY")
        [stopped] = story.changes("two", "STOPPING")
        assert stopped.cause == "took_too_much"
        assert "than was quoted" in stopped.message
        assert len(story.changes("two", "LOADING")) == 2
        assert world.resident() == ["two"]
        assert [event.model for event in story.details(vramd.Evicted)] == ["one"]
        [after] = [use.reserved_bytes for use in second.devices if use.id == "gpu0"]
        assert after >= world.card.taken_bytes(second.pid)
        assert world.card.refused() == []


def test_a_game_that_grows_makes_room_before_anything_fails(tmp_path: Path, plug_ins: Path, models: Path) -> None:
    configuration = '[devices.gpu0]\nheadroom = "256MiB"\n'
    with carded(tmp_path, plug_ins, 1500, configuration, models=models) as world, world.supervisor.story() as story:
        resident = world.client.load("one")
        world.card.external(1500 * MIB - world.card.taken_bytes(resident.pid) - 100 * MIB)
        evicted = story.until("an eviction for the game", lambda _: story.details(vramd.Evicted))
        assert [event.model for event in evicted] == ["one"]
        story.reached("one", "UNLOADED")
        assert world.card.refused() == []
        levels = [event.after for event in story.details(vramd.PressureChanged) if event.device == "gpu0"]
        assert "EVICT" in levels


@pytest.mark.parametrize("moves", [40, pytest.param(200, marks=pytest.mark.long)])
def test_loads_of_every_order_never_run_out(tmp_path: Path, plug_ins: Path, models: Path, moves: int) -> None:
    """Random loads, unloads and evictions, some with other settings, some while one answers."""
    chance = random.Random(4)
    with carded(tmp_path, plug_ins, 900, TIGHT, models=models) as world:
        for _ in range(moves):
            name = chance.choice(["one", "two", "three"])
            move = chance.random()
            if move < 0.5:
                if name not in world.resident():
                    world.client.load(name, context=chance.choice([512, 1024, 2048]))
            elif move < 0.7:
                if name in world.resident():
                    world.client.unload(name, force=True)
            else:
                assert world.client.generate(name, "hello", max_tokens=2).finish.reason != "CANCELLED"
            books = {device.id: device for device in world.client.devices()}
            assert books["gpu0"].reserved_bytes <= books["gpu0"].budget_bytes
            assert world.card.taken_bytes() <= books["gpu0"].reserved_bytes
        assert world.card.refused() == []
