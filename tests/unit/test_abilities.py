"""What a model cannot do is refused before anything is loaded for it, and before anybody has to go."""

from dataclasses import replace

import pytest
from support.core_world import MODELS, CoreWorld
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import FindPlans, Grant, Refuse, Stop
from vramd_supervisor.core.events import Requested
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.domain.catalog import Model, ModelFile, Shape
from vramd_supervisor.quoting.abilities import Ability, lack

FILES = {
    "text": ModelFile("/text.gguf", 1, "llama", has_chat_template=True),
    "plain": ModelFile("/plain.gguf", 1, "llama"),
    "encoder": ModelFile("/encoder.gguf", 1, "bert", shape=Shape(causal=False)),
    "last token": ModelFile("/last.gguf", 1, "qwen3", has_chat_template=True, shape=Shape(pooling=3)),
}


@pytest.mark.parametrize(
    ("name", "cannot"),
    [
        ("text", {Ability.VECTORS: Reason.EMBEDDING_UNSUPPORTED}),
        ("plain", {Ability.VECTORS: Reason.EMBEDDING_UNSUPPORTED, Ability.CHAT: Reason.CHAT_TEMPLATE_UNUSABLE}),
        ("encoder", {Ability.TEXT: Reason.GENERATION_UNSUPPORTED, Ability.CHAT: Reason.GENERATION_UNSUPPORTED}),
        ("last token", {Ability.TEXT: Reason.GENERATION_UNSUPPORTED, Ability.CHAT: Reason.GENERATION_UNSUPPORTED}),
    ],
)
def test_the_header_tells_what_a_model_cannot_do(name: str, cannot: dict[Ability, Reason]) -> None:
    model = Model(name, FILES[name])
    for ability in Ability:
        refused = lack(model, ability)
        assert (refused.reason if refused else None) is cannot.get(ability)
        if refused:
            assert refused.metadata == {"model": name}
            assert name in refused.message
    assert not any(lack(MODELS["small"], ability) for ability in Ability), "of a simulated model nothing is known"


@pytest.mark.parametrize(("name", "needs"), [("text", Ability.VECTORS), ("encoder", Ability.TEXT)])
def test_nothing_is_loaded_and_nobody_evicted_for_a_call_that_cannot_be_answered(name: str, needs: Ability) -> None:
    world = CoreWorld(spare=False, models={**MODELS, "wrong": Model("wrong", FILES[name])})
    there = world.request("large")
    while world.errands:
        world.run_errand()
    world.caller(there, "end")
    said = world.tell(Requested(world.now_s, world._accept(), "wrong", RequestKind.RUN, 60.0, needs=needs))
    assert [type(one) for one in said if isinstance(one, Refuse)] == [Refuse]
    assert not any(isinstance(errand, FindPlans | Stop) for errand in world.errands)
    assert [one.current is not None for one in world.core.state.models.values()].count(True) == 1
    world.tell(Requested(world.now_s, world._accept(), "wrong", RequestKind.RUN, 60.0, LoadOptions()))
    assert any(isinstance(errand, FindPlans) for errand in world.errands), (
        "who needs nothing in particular has it loaded"
    )


def test_a_model_that_is_loaded_says_itself_what_it_cannot_do() -> None:
    """Its file may be another by now."""
    world = CoreWorld(spare=False)
    world.request("small", RequestKind.LOAD)
    while world.errands:
        world.run_errand()
    entry = world.core.state.models["small"]
    entry.spec = replace(entry.spec, source=FILES["plain"])
    said = world.tell(Requested(world.now_s, world._accept(), "small", RequestKind.RUN, 60.0, needs=Ability.VECTORS))
    assert any(isinstance(one, Grant) for one in said)
