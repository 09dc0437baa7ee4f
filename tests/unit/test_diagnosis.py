"""What is made of the facts about a machine, and which model is taken first."""

from dataclasses import replace

import pytest
from vramd_supervisor.offline.diagnosis import (
    CardFacts,
    EngineFacts,
    Facts,
    HostFacts,
    Line,
    ModelFacts,
    NvidiaFacts,
    Verdict,
    Way,
    diagnose,
    take_first,
)

MIB, GIB = 1 << 20, 1 << 30

FACTS = Facts(
    host=HostFacts("A CPU", 8, 16, 16, None, 32 * GIB, 20 * GIB),
    nvidia=NvidiaFacts(),
    engine=EngineFacts("0.3.36", "", ("cpu",)),
    versions={"Python": "3.12.1", "vramd": "0.1.0"},
    compiler="/usr/bin/c++",
    get_compiler="sudo apt-get install g++",
    supervisor="",
    free={"host": 16 * GIB, "gpu0": 6 * GIB},
    models=(ModelFacts("m", "/m.gguf", GIB, ways=(Way("host", {"host": 2 * GIB}),)),),
)


def judged(facts: Facts, what: str) -> Line:
    (found,) = (line for line in diagnose(facts) if line.what == what)
    return found


def test_nothing_is_wrong_with_a_good_machine() -> None:
    lines = diagnose(FACTS)
    assert [line for line in lines if line.verdict is not Verdict.OK or line.why or line.get] == []
    assert judged(FACTS, "threads").found == "6"
    assert judged(FACTS, "strategy").found == "heavy"


@pytest.mark.parametrize(
    ("available_bytes", "verdict"),
    [(4 * GIB, Verdict.OK), (4 * GIB - 1, Verdict.WARN), (GIB, Verdict.WARN), (GIB - 1, Verdict.BAD)],
)
def test_ram_that_is_low(available_bytes: int, verdict: Verdict) -> None:
    host = replace(FACTS.host, ram_available_bytes=available_bytes)
    assert judged(replace(FACTS, host=host), "RAM").verdict is verdict


def test_huge_pages_that_the_kernel_never_gives_have_their_cost_told() -> None:
    def line(setting: str, *, wanted: bool = True) -> Line:
        host = replace(FACTS.host, huge_pages=setting, wants_huge_pages=wanted)
        return judged(replace(FACTS, host=host), "huge pages")

    assert (line("madvise").verdict, line("madvise").found) == (Verdict.OK, "madvise: models in RAM get them")
    assert line("always", wanted=False).found == "always: every program gets them"
    never = line("never")
    assert never.verdict is Verdict.WARN
    assert "0.6 of the speed" in never.why
    assert never.get == "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"
    assert (line("never", wanted=False).verdict, line("madvise", wanted=False).found[:3]) == (Verdict.OK, "off")


@pytest.mark.parametrize(
    ("usable", "quota", "verdict"), [(16, None, Verdict.OK), (4, 4.5, Verdict.WARN), (1, 1.5, Verdict.WARN)]
)
def test_a_cpu_of_which_little_may_be_used(usable: int, quota: float | None, verdict: Verdict) -> None:
    host = replace(FACTS.host, usable_cores=usable, quota_cores=quota)
    found = judged(replace(FACTS, host=host), "CPU")
    assert found.verdict is verdict
    assert quota is None or f"a quota of {quota}" in found.found


@pytest.mark.parametrize(("foreign", "verdict"), [(0.4, Verdict.OK), (9.0, Verdict.OK), (12.2, Verdict.WARN)])
def test_a_cpu_that_others_use(foreign: float, verdict: Verdict) -> None:
    host = replace(FACTS.host, foreign_cores=foreign)
    found = judged(replace(FACTS, host=host), "CPU load")
    assert (found.verdict, found.found) == (verdict, f"programs that run now take {foreign} of 16 threads")
    assert found.why == ("models compute with 4 threads meanwhile" if verdict is Verdict.WARN else "")


def test_a_card_without_a_driver_says_where_to_get_one() -> None:
    facts = replace(FACTS, nvidia=NvidiaFacts("", 1, "get it there"))
    found = judged(facts, "GPU")
    assert (found.verdict, found.get) == (Verdict.BAD, "get it there")


def test_a_driver_that_is_too_old_for_the_wheels() -> None:
    nvidia = NvidiaFacts("470.82.01", 1, "get it there")
    card = CardFacts("gpu0", "GTX 1060", 6078 * MIB, 6000 * MIB)
    facts = replace(FACTS, nvidia=nvidia, cards=(card,))
    old = judged(facts, "NVIDIA driver")
    assert (old.verdict, old.get) == (Verdict.WARN, "get it there")
    assert judged(facts, "gpu0").verdict is Verdict.OK
    assert "GPU" not in [line.what for line in diagnose(facts)]
    new = replace(facts, nvidia=replace(nvidia, driver="525.60.13"))
    assert judged(new, "NVIDIA driver").verdict is Verdict.OK


def test_a_card_that_others_have_filled() -> None:
    card = CardFacts("gpu0", "RTX 4060", 8188 * MIB, 500 * MIB)
    assert judged(replace(FACTS, cards=(card,)), "gpu0").verdict is Verdict.WARN


def test_a_compiler_matters_most_where_llama_is_still_to_be_built() -> None:
    without = replace(FACTS, compiler="")
    assert judged(without, "C++ compiler").verdict is Verdict.WARN
    found = judged(replace(without, engine=EngineFacts("", "not there", ())), "C++ compiler")
    assert (found.verdict, found.get) == (Verdict.BAD, "sudo apt-get install g++")


def test_a_build_of_llama_that_is_not_tested_has_no_line_that_installs_it() -> None:
    facts = replace(FACTS, engine=EngineFacts("0.3.99", "an untested build; --untested-engine uses it", ("cpu",)))
    found = judged(facts, "llama-cpp-python")
    assert (found.verdict, found.get) == (Verdict.BAD, "")
    assert "--untested-engine" in found.why


def test_a_python_that_is_newer_than_all_that_was_tried() -> None:
    assert judged(replace(FACTS, versions={"Python": "3.15.0rc1"}), "Python").verdict is Verdict.WARN


def test_what_was_warned_of_is_a_line() -> None:
    assert judged(replace(FACTS, notes=("a warning",)), "note").found == "a warning"


def model(id_: str, size_gib: float, *, generates: bool = True, card: bool = True) -> ModelFacts:
    """Needs as much as it has; on a card some of the host too."""
    size_bytes = int(size_gib * GIB)
    ways = [Way("gpu0", {"gpu0": size_bytes, "host": GIB})] if card else []
    return ModelFacts(id_, f"/{id_}.gguf", size_bytes, generates, ways=[*ways, Way("host", {"host": size_bytes})])


@pytest.mark.parametrize(
    ("models", "first", "device", "comfortable"),
    [
        ([model("a", 2), model("b", 4), model("c", 3)], "b", "gpu0", True),
        ([model("a", 2), model("tight on the card, well on the host", 5.5)], "a", "gpu0", True),
        ([model("a", 5.5), model("b", 7)], "b", "host", True),
        ([model("vectors", 4, generates=False), model("text", 1)], "text", "gpu0", True),
        ([model("a", 9, card=False), model("b", 12, card=False)], "b", "host", True),
        ([model("a", 14, card=False), model("b", 15, card=False)], "b", "host", False),
        ([model("a", 14, card=False), model("b", 1, card=False)], "b", "host", True),
        ([model("a", 14, card=False), model("too big", 17, card=False)], "a", "host", False),
    ],
)
def test_the_model_to_take_first(models: list[ModelFacts], first: str, device: str, comfortable: bool) -> None:
    found = take_first(models, FACTS.free)
    assert found is not None
    assert (found.model, found.device, found.comfortable) == (first, device, comfortable)
    line = judged(replace(FACTS, models=models), "take first")
    assert line.verdict is (Verdict.OK if comfortable else Verdict.WARN)
    assert first in line.found


def test_a_model_needs_room_on_every_device_that_it_touches() -> None:
    assert take_first([model("a", 2)], {"gpu0": 6 * GIB, "host": GIB // 2}) is None


def test_no_model_fits() -> None:
    facts = replace(FACTS, models=(model("a", 17), model("b", 18)))
    found = judged(facts, "take first")
    assert found.verdict is Verdict.BAD
    assert "none of 2 fits: the least needs 17.00 GiB" in found.why


def test_a_supervisor_that_runs_has_models_of_its_own() -> None:
    beside = replace(FACTS, models=(), supervisor="127.0.0.1:5 (pid 9)")
    assert "`vramd models` lists them" in judged(beside, "found").found
    assert judged(replace(beside, supervisor=""), "take first").why == "none was found"


def test_all_models_are_damaged() -> None:
    facts = replace(FACTS, models=(ModelFacts("m", "/m.gguf", 5, problem="it is cut off"),))
    assert judged(facts, "m").why == "it is cut off"
    assert judged(facts, "take first").why == "none can be loaded"
