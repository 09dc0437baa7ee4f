"""What a call asks of a load, against what there is: granted or refused once, and never process after process."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from support.core_world import CoreWorld
from support.model_shapes import LLAMA_8B
from vramd_common.load_settings import ANYTHING, LoadOptions, Settings
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Complete, FindPlans, Refuse, Spawn
from vramd_supervisor.core.events import PlansFound, PlansRefused, Requested
from vramd_supervisor.core.state import RequestKind
from vramd_supervisor.domain.catalog import Model, ModelFile, Simulation
from vramd_supervisor.domain.config import Config, ServerConfig
from vramd_supervisor.domain.device_view import DeviceKind, DeviceView
from vramd_supervisor.domain.errors import Refusal
from vramd_supervisor.domain.quote import DeviceBytes, Plan
from vramd_supervisor.quoting.closed_form import quote
from vramd_supervisor.quoting.drive import drive
from vramd_supervisor.quoting.placement import LoadPlans, decide, differences, placements

MIB, GIB = 1 << 20, 1 << 30
SMALL = replace(LLAMA_8B, embedding=384, feed_forward=1536, heads=12, key_length=32, value_length=32)
MODELS = {
    "decoder": ModelFile("/decoder.gguf", 4700 * MIB, "llama", trained_context_tokens=131072, shape=LLAMA_8B),
    "encoder": ModelFile(
        "/encoder.gguf", 43 * MIB, "bert", trained_context_tokens=512, shape=replace(SMALL, causal=False)
    ),
    "mean": ModelFile("/mean.gguf", 43 * MIB, "llama", trained_context_tokens=4096, shape=replace(SMALL, pooling=1)),
    "last": ModelFile("/last.gguf", 43 * MIB, "qwen3", trained_context_tokens=4096, shape=replace(SMALL, pooling=3)),
    "learned positions": ModelFile("/gpt2.gguf", 43 * MIB, "gpt2", trained_context_tokens=1024, shape=SMALL),
    "says nothing": ModelFile("/strange.gguf", 43 * MIB, "strange"),
}
MACHINES: dict[str, tuple[tuple[DeviceView, ...], Mapping[str, int]]] = {
    "no card": ((DeviceView("host", DeviceKind.HOST),), {"host": 64 * GIB}),
    "a card": (
        (DeviceView("gpu0", DeviceKind.NVIDIA), DeviceView("host", DeviceKind.HOST)),
        {"gpu0": 24 * GIB, "host": 64 * GIB},
    ),
    "two small cards": (
        (
            DeviceView("gpu0", DeviceKind.NVIDIA),
            DeviceView("gpu1", DeviceKind.NVIDIA),
            DeviceView("host", DeviceKind.HOST),
        ),
        {"gpu0": 4 * GIB, "gpu1": 5 * GIB, "host": 64 * GIB},
    ),
    "a scarce host": ((DeviceView("host", DeviceKind.HOST),), {"host": 5500 * MIB}),
}
ASKED: Mapping[str, tuple[Any, ...]] = {
    "context_tokens": (100, 512, 1000, 4096, 8192, 1 << 20),
    "threads": (1, 64),
    "device": ("auto", "host", "gpu0"),
    "gpu_layers": (-1, 0, 7, 33, 99),
    "batch_tokens": (32, 512, 1 << 20),
    "kv_type": ("f16", "q8_0"),
    "parallel": (1, 9),
    "ubatch_tokens": (16, 128, 4096),
    "flash_attention": ("auto", "on", "off"),
    "swa_full": (True, False),
    "outputs": ("auto", "all", "4", "5000"),
    "kv_split": (True, False),
    "least_context_tokens": (256,),
    "degrade": (True, False),
    "gpu_only": (True,),
    "keep_alive_s": (5.0,),
}


def wishes() -> Iterator[LoadOptions]:
    """Each option alone with each value, and some draws of several at once."""
    for name, values in ASKED.items():
        for value in values:
            yield LoadOptions(**{name: value})
    dice = random.Random(1)
    for _ in range(30):
        names = dice.sample(sorted(ASKED), dice.randint(2, 6))
        yield LoadOptions(**{name: dice.choice(ASKED[name]) for name in names})


WISHES = tuple(wishes())


def ways(model: Model, options: LoadOptions, machine: str) -> LoadPlans | Refusal:
    devices, available = MACHINES[machine]
    file = model.source
    assert isinstance(file, ModelFile)
    return drive(placements(model, options, devices, 2, available), lambda settings: quote(file, settings, 50 * MIB))


class OneModel(CoreWorld):
    """The core with one model of a file, placed as on a machine; its processes are counted."""

    def __init__(self, name: str, machine: str) -> None:
        self.model = Model(name, MODELS[name])
        self.machine = machine
        self.lives = 0
        super().__init__(Config(server=ServerConfig(spare=False)), spare=False, models={name: self.model})

    def run_errand(self, index: int = 0) -> None:
        errand = self.errands[index]
        if isinstance(errand, Spawn):
            self.lives += 1
        if not isinstance(errand, FindPlans):
            super().run_errand(index)
            return
        self.errands.pop(index)
        found = ways(errand.model, errand.options, self.machine)
        if isinstance(found, Refusal):
            self.tell(PlansRefused(self.now_s, errand.model.id, errand.turn, found))
        else:
            # This world has bytes of its own, and whether there is room is not the question.
            light = {"host": DeviceBytes(weights_bytes=1)}
            plans = [Plan(plan.settings, replace(plan.quote, devices=light), plan.degraded) for plan in found.plans]
            self.tell(PlansFound(self.now_s, errand.model.id, errand.turn, plans))

    def load(self, options: LoadOptions, *, reload: bool) -> str:
        """What becomes of a load: nothing, or the reason why not; and no more than one process begins for it."""
        request, lives = self._accept(), self.lives
        answers = self.tell(
            Requested(self.now_s, request, self.model.id, RequestKind.LOAD, 600.0, options, None, False, reload)
        )
        while self.errands:
            assert self.lives <= lives + 1, f"{options} on {self.machine}: process after process"
            self.run_errand()
            answers += self.actions
        [said] = [one for one in answers if isinstance(one, Complete | Refuse) and one.request == request]
        return said.refusal.reason.name if isinstance(said, Refuse) else ""


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", MODELS)
def test_what_was_loaded_for_a_wish_is_what_the_wish_asks_for(name: str, machine: str) -> None:
    for wish in WISHES:
        world = OneModel(name, machine)
        refused = world.load(wish, reload=False)
        assert refused in ("", "DEVICE_UNUSABLE"), wish
        assert world.lives == (not refused)
        if refused:
            continue
        for reload in (False, True):
            assert world.load(wish, reload=reload) == "", wish
            assert world.load(ANYTHING, reload=reload) == ""
        assert world.lives == 1, wish


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", MODELS)
def test_a_reload_costs_one_process_at_most_and_then_the_model_is_as_asked(name: str, machine: str) -> None:
    for wish in WISHES:
        world = OneModel(name, machine)
        assert world.load(ANYTHING, reload=False) == ""
        refused = world.load(wish, reload=True)
        assert refused in ("", "DEVICE_UNUSABLE"), wish
        if refused:
            continue
        assert world.lives <= 2
        before = world.lives
        assert world.load(wish, reload=True) == ""
        assert world.load(wish, reload=False) == ""
        assert world.lives == before, wish


def test_a_reload_that_comes_out_otherwise_again_is_refused_and_not_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever is wrong with the rule that compares: it does not cost process after process."""
    monkeypatch.setattr("vramd_supervisor.core.scheduler.differences", lambda *_: "it is never right")
    for first in (False, True):
        world = OneModel("decoder", "no card")
        if first:
            world.load(ANYTHING, reload=False)
        assert world.load(LoadOptions(context_tokens=512), reload=True) == Reason.MODEL_LOADED_DIFFERENTLY.name


def test_what_a_model_decides_by_itself_is_no_difference() -> None:
    encoder = Model("m", MODELS["encoder"])
    loaded = decide(MODELS["encoder"], ANYTHING, 2, "host")
    for nothing in (
        LoadOptions(outputs="auto"),
        LoadOptions(outputs="4"),
        LoadOptions(ubatch_tokens=128),
        LoadOptions(batch_tokens=64),
        LoadOptions(context_tokens=4096),
        LoadOptions(device="gpu0", gpu_layers=0),
        LoadOptions(gpu_layers=20),
    ):
        assert differences(encoder, loaded, nothing) == "", nothing
    assert differences(encoder, loaded, LoadOptions(context_tokens=256)) == "context_tokens is 512, asked for 256"
    assert differences(encoder, loaded, LoadOptions(device="gpu0")) == "device is host, asked for gpu0"


def test_what_is_asked_for_otherwise_is_a_difference() -> None:
    decoder, loaded = Model("m", MODELS["decoder"]), decide(MODELS["decoder"], ANYTHING, 2, "gpu0")
    for asked, difference in (
        (LoadOptions(context_tokens=4096, outputs="auto"), "context_tokens is 8192, asked for 4096"),
        (LoadOptions(device="gpu0", gpu_layers=0), "device is gpu0, asked for host, gpu_layers is -1, asked for 0"),
        (LoadOptions(gpu_layers=7), "gpu_layers is -1, asked for 7"),
        (LoadOptions(ubatch_tokens=4096, batch_tokens=4096), "batch_tokens is 512, asked for 4096"),
        (LoadOptions(kv_type="q8_0"), "kv_type is f16, asked for q8_0"),
        (LoadOptions(parallel=1, outputs="9"), "parallel is 8, asked for 1"),
    ):
        assert differences(decoder, loaded, asked).startswith(difference), asked
    assert differences(decoder, loaded, LoadOptions(gpu_layers=99)) == "", "more layers than there are is all of them"
    simulated = Model("s", Simulation({"card": 3}, 1.0, 40.0, (), False))
    there = Settings(4096, 2, "card", -1, 512, "f16", 4)
    assert differences(simulated, there, LoadOptions(outputs="auto", device="auto", context_tokens=4096)) == ""
    assert differences(simulated, there, LoadOptions(context_tokens=512)) == "context_tokens is 4096, asked for 512"
