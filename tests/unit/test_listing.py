"""Ids belong to files: who had one first keeps it, whatever else comes, goes, or is called the same."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile, Problem
from vramd_supervisor.domain.config import Config, ModelConfig
from vramd_supervisor.files.shards import part_of
from vramd_supervisor.settings.listing import Found, Held, catalogue, name_files


def file(path: str, size: int = 1, modified_ns: int = 1) -> ModelFile:
    return ModelFile(path, size, architecture="llama", modified_ns=modified_ns)


def found(*files: ModelFile | str) -> list[Found]:
    known = [file(one) if isinstance(one, str) else one for one in files]
    return [Found(part_of(Path(one.path)).base, one) for one in known]


def held(ids: Mapping[str, ModelFile | str], kept: tuple[str, ...] = ()) -> dict[str, Held]:
    """What was known before, by id."""
    return {id_: Held(Model(id_, file(one) if isinstance(one, str) else one), id_ in kept) for id_, one in ids.items()}


def paths(models: Mapping[str, Model]) -> dict[str, str]:
    return {id_: model.source.path for id_, model in models.items() if isinstance(model.source, ModelFile)}


@pytest.mark.parametrize(
    ("before", "now", "ids"),
    [
        pytest.param(
            {"m": "/b/m.gguf"},
            ["/a/m.gguf", "/b/m.gguf"],
            {"/b/m.gguf": "m", "/a/m.gguf": "a/m"},
            id="a copy before it",
        ),
        pytest.param(
            {"m": "/x/snapshots/b/m.gguf"},
            ["/x/snapshots/a/m.gguf", "/x/snapshots/b/m.gguf"],
            {"/x/snapshots/b/m.gguf": "m", "/x/snapshots/a/m.gguf": "a/m"},
            id="a second revision",
        ),
        pytest.param(
            {"m": "/a/m-00001-of-00002.gguf"},
            ["/a/m.gguf", "/a/m-00001-of-00002.gguf"],
            {"/a/m-00001-of-00002.gguf": "m", "/a/m.gguf": "m.gguf"},
            id="merged beside its shards",
        ),
        pytest.param(
            {"m": "/a/m.gguf", "b/m": "/b/m.gguf"},
            ["/b/m.gguf"],
            {"/b/m.gguf": "b/m"},
            id="the holder is gone: nobody is renamed",
        ),
    ],
)
def test_who_had_an_id_keeps_it(before: dict[str, ModelFile | str], now: list[str], ids: dict[str, str]) -> None:
    assert name_files(found(*now), (), held(before)) == ids


def test_a_file_takes_its_id_along_to_another_folder() -> None:
    before = held({"b/m": file("/b/m.gguf", 5, 7), "m": "/a/m.gguf"})
    assert name_files(found(file("/c/m.gguf", 5, 7), "/a/m.gguf"), (), before) == {"/c/m.gguf": "b/m", "/a/m.gguf": "m"}


@pytest.mark.parametrize(("size", "modified_ns"), [(6, 7), (5, 8)])
def test_another_file_takes_over_no_id_that_is_in_use(size: int, modified_ns: int) -> None:
    before = {"m": file("/a/m.gguf", 5, 7)}
    now = found(file("/b/m.gguf", size, modified_ns))
    assert name_files(now, (), held(before, kept=("m",))) == {"/b/m.gguf": "b/m"}
    assert name_files(now, (), held(before)) == {"/b/m.gguf": "m"}


def test_a_renamed_file_is_another_model() -> None:
    before = held({"m": file("/a/m.gguf", 5, 7)}, kept=("m",))
    assert name_files(found(file("/a/new.gguf", 5, 7)), (), before) == {"/a/new.gguf": "new"}


@pytest.mark.parametrize("removed", ["/a/m.gguf", "/b/m.gguf"])
def test_what_comes_back_has_the_id_that_it_had(removed: str) -> None:
    all_ = ["/a/m.gguf", "/b/m.gguf"]
    ids = name_files(found(*all_))
    before = held({id_: path for path, id_ in ids.items()}, kept=tuple(ids.values()))
    assert name_files(found(*[path for path in all_ if path != removed]), (), before) == {
        path: id_ for path, id_ in ids.items() if path != removed
    }
    assert name_files(found(*reversed(all_)), (), before) == ids


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("task:code", "task_code"),
        ("cafe\u0301", "caf\u00e9"),
        ("red\x1b[31m\nline", "red\\x1b[31m\\nline"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_every_id_can_be_asked_for_and_shown(name: str, id_: str) -> None:
    assert name_files(found(f"/a/{name}.gguf")) == {f"/a/{name}.gguf": id_}


def test_two_spellings_of_one_name_are_two_ids() -> None:
    now = ["/a/caf\u00e9.gguf", "/a/cafe\u0301.gguf", "/b/task:x.gguf", "/b/task_x.gguf"]
    ids = name_files(found(*now))
    assert len(set(ids.values())) == 4
    assert ids["/a/caf\u00e9.gguf"] == "caf\u00e9"


def test_a_configured_model_keeps_the_file_that_it_has() -> None:
    config = Config(models={"m": ModelConfig(pinned=True)})
    now = found("/a/m.gguf", "/b/m.gguf")
    assert paths(catalogue(config, now, {})) == {"m": "/a/m.gguf", "b/m": "/b/m.gguf"}
    assert paths(catalogue(config, now, {}, held({"m": "/b/m.gguf"}))) == {"m": "/b/m.gguf", "a/m": "/a/m.gguf"}


@pytest.mark.parametrize(
    ("now", "ids"),
    [
        pytest.param([file("/b/m.gguf", 7)], {"m": "/b/m.gguf", "a/m": "/a/m.gguf"}, id="moved: it keeps its id"),
        pytest.param([], {"m": "/m.gguf", "a/m": "/a/m.gguf"}, id="gone: no other one takes its id"),
        pytest.param([file("/m.gguf", 8)], {"m": "/m.gguf", "a/m": "/a/m.gguf"}, id="another version of it"),
    ],
)
def test_a_configured_model_takes_over_no_file_of_another_id(now: list[ModelFile], ids: dict[str, str]) -> None:
    config = Config(models={"m": ModelConfig()})
    before = held({"m": file("/m.gguf", 7), "a/m": "/a/m.gguf"})
    assert paths(catalogue(config, found("/a/m.gguf", *now), {}, before)) == ids


def test_what_cannot_be_read_now_is_told_as_it_was_with_its_problem() -> None:
    problem = Problem(Reason.MODEL_FILE_INVALID, "cut off")
    broken = ModelFile("/a/m.gguf", 3, problem=problem, modified_ns=9)
    [model] = catalogue(Config(), found(broken), {}, held({"m": "/a/m.gguf"})).values()
    assert model.source == ModelFile("/a/m.gguf", 3, architecture="llama", problem=problem, modified_ns=9)


@pytest.mark.parametrize("path", [None, "m.gguf"])
def test_a_configured_model_whose_file_is_gone_is_told_as_it_was(path: str | None) -> None:
    config = Config(models={"m": ModelConfig(path=path)})
    gone = ModelFile("/a/m.gguf", 0, problem=Problem(Reason.MODEL_FILE_MISSING, "gone"))
    [model] = catalogue(config, [], {"m": gone} if path else {}, held({"m": "/a/m.gguf"})).values()
    assert isinstance(model.source, ModelFile)
    assert (model.source.path, model.source.architecture) == ("/a/m.gguf", "llama")
    assert model.source.problem
    assert model.source.problem.reason is Reason.MODEL_FILE_MISSING


def test_an_alias_is_no_files_name() -> None:
    """Whoever says it means the model that it stands for."""
    config = Config(models={"talker": ModelConfig(aliases=("gpt", "voice"))})
    models = catalogue(config, found("/a/talker.gguf", "/b/gpt.gguf"), {})
    assert paths(models) == {"talker": "/a/talker.gguf", "b/gpt": "/b/gpt.gguf"}
    assert models["talker"].aliases == ("gpt", "voice")
