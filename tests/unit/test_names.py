"""Which model a caller means: an id as it is, or what stands for one model only; else ids that are near."""

import pytest
from vramd_supervisor.core.names import find
from vramd_supervisor.core.queues import PriorityQueue
from vramd_supervisor.core.state import ModelRuntime, ModelState
from vramd_supervisor.domain.catalog import Model, ModelFile, Simulation
from vramd_supervisor.domain.errors import Refusal

FILES = {
    "talker": "/models/talker.gguf",
    "m3/companion": "/models/m3/companion.gguf",
    "backup/companion": "/models/backup/companion.gguf",
    "caf\u00e9": "/models/cafe\u0301.gguf",
    "big": "/models/deep/big-00001-of-00002.gguf",
    "Coder": "/models/Coder.gguf",
    "x/only": "/models/x/only.gguf",
    "Twice": "/models/a/Twice.gguf",
    "twice": "/models/b/twice.gguf",
}


def entries() -> dict[str, ModelRuntime]:
    known = {id_: ModelRuntime(Model(id_, ModelFile(path, 1)), PriorityQueue(1.0)) for id_, path in FILES.items()}
    simulation = Simulation({}, 0.0, 1.0, (), False)
    known["slow"] = ModelRuntime(Model("slow", simulation, aliases=("voice", "Stimme/gro\u00df")), PriorityQueue(1.0))
    return known


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("talker", "talker"),
        ("voice", "slow"),
        ("VOICE.gguf", "slow"),
        ("stimme/gross", "slow"),
        ("talker.gguf", "talker"),
        ("Talker", "talker"),
        ("TALKER.GGUF", "talker"),
        ("cafe\u0301", "caf\u00e9"),
        ("CAFE\u0301.gguf", "caf\u00e9"),
        ("coder", "Coder"),
        ("/models/talker.gguf", "talker"),
        ("./models/talker.gguf", "talker"),
        ("models\\m3\\companion", "m3/companion"),
        ("models/m3/companion.gguf", "m3/companion"),
        ("deep/big-00001-of-00002.gguf", "big"),
        ("only", "x/only"),
        ("Twice", "Twice"),
        ("twice", "twice"),
        ("SLOW", "slow"),
    ],
)
def test_a_model_is_found_by_what_stands_for_it_alone(name: str, id_: str) -> None:
    found = find(entries(), name)
    assert isinstance(found, ModelRuntime)
    assert found.id == id_


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("companion", "did you mean backup/companion, m3/companion?"),
        ("companion.gguf", "did you mean backup/companion, m3/companion?"),
        ("TWICE", "did you mean Twice, twice?"),
        ("talk", "did you mean talker?"),
        ("talkre", "did you mean talker?"),
        ("m3/compnion", "did you mean backup/companion, m3/companion?"),
        ("zzz", "`vramd models` lists what there is, `vramd rescan` looks for new files"),
        ("", "`vramd models` lists what there is"),
        ("/", "`vramd models` lists what there is"),
    ],
)
def test_what_may_be_several_or_none_names_what_is_near(name: str, near: str) -> None:
    found = find(entries(), name)
    assert isinstance(found, Refusal)
    assert near in found.message


def test_what_is_no_longer_listed_is_found_as_long_as_it_is_there() -> None:
    known = entries()
    known["talker"].listed = False
    assert isinstance(find(known, "Talker"), Refusal)
    known["talker"].state = ModelState.READY
    assert find(known, "Talker") is known["talker"]


def test_a_long_name_is_said_in_part() -> None:
    found = find(entries(), "x" * 100_000)
    assert isinstance(found, Refusal)
    assert len(found.message) < 400
