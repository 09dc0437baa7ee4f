"""Looking for models in folders, naming them, and bringing the configuration and what was found together."""

import errno
import logging
import os
import sys
from pathlib import Path

import pytest
from support.gguf_bytes import Row, gguf, llama, llama_rows, projector, put
from vramd_common.load_settings import LoadOptions
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile, Simulation
from vramd_supervisor.domain.config import Config, ModelConfig, ServerConfig, Size
from vramd_supervisor.files.discovery import Discovery, caches_of_others, hugging_face_folder, lm_studio_folders
from vramd_supervisor.files.shards import part_of
from vramd_supervisor.settings.listing import Found, catalogue, name_files

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files, or lets few make them")


def reason(file: ModelFile) -> Reason | None:
    return file.problem.reason if file.problem else None


def paths(found: dict[str, ModelFile]) -> dict[str, str]:
    return {id_: file.path for id_, file in found.items()}


def listed(config: Config, base: Path) -> dict[str, Model]:
    return catalogue(config, *Discovery(config, base, {}, base).look({}))


def discover(folders: list[Path]) -> dict[str, ModelFile]:
    config = Config(ServerConfig(models=tuple(map(str, folders))))
    return {id_: file_of(model) for id_, model in listed(config, Path("/nowhere")).items()}


def file_of(model: Model) -> ModelFile:
    assert isinstance(model.source, ModelFile)
    return model.source


def test_models_are_found_in_all_subfolders(tmp_path: Path) -> None:
    one, two = put(tmp_path / "one.gguf"), put(tmp_path / "a" / "b" / "Two.v1.Q4_K_M.GGUF")
    put(tmp_path / "notes.txt")
    put(tmp_path / "part.gguf.download")
    put(tmp_path / "._one.gguf")
    found = discover([tmp_path])
    assert paths(found) == {"one": str(one), "Two.v1.Q4_K_M": str(two)}
    assert not any(map(reason, found.values()))
    assert found["one"].size_bytes == len(llama())


def test_a_folder_named_twice_or_inside_another_counts_once(tmp_path: Path) -> None:
    put(tmp_path / "a" / "m.gguf")
    assert list(discover([tmp_path, tmp_path, tmp_path / "a"])) == ["m"]


def test_a_folder_that_cannot_be_read_is_reported_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "m.gguf")
    with caplog.at_level(logging.WARNING):
        assert list(discover([tmp_path / "none", tmp_path])) == ["m"]
    assert str(tmp_path / "none") in caplog.text


def test_a_damaged_file_is_listed_with_its_problem(tmp_path: Path) -> None:
    put(tmp_path / "bad.gguf", b"GGUF" + b"\xff" * 60)
    put(tmp_path / "good.gguf")
    found = discover([tmp_path])
    assert reason(found["bad"]) is Reason.MODEL_FILE_INVALID
    assert found["bad"].size_bytes == 64
    assert reason(found["good"]) is None


def shards(folder: Path, name: str, count: int) -> list[Path]:
    head: dict[str, str | int] = {"general.architecture": "llama", "llama.block_count": count}
    rows = [[Row(f"blk.{number}.ffn_up.weight", (64,))] for number in range(count)]
    parts: list[dict[str, str | int]] = [
        {"split.no": number, "split.count": count, "split.tensors.count": count} for number in range(count)
    ]
    return [
        put(
            folder / f"{name}-{number + 1:05}-of-{count:05}.gguf",
            gguf(head | part if number == 0 else part, rows[number]),
        )
        for number, part in enumerate(parts)
    ]


def test_shards_are_one_model(tmp_path: Path) -> None:
    parts = shards(tmp_path, "big", 3)
    found = discover([tmp_path])
    assert paths(found) == {"big": str(parts[0])}
    assert found["big"].size_bytes == sum(part.stat().st_size for part in parts)
    assert found["big"].shape.layer_bytes == (256, 256, 256)


def test_missing_shards_are_named(tmp_path: Path) -> None:
    parts = shards(tmp_path, "big", 3)
    parts[1].unlink()
    problem = discover([tmp_path])["big"].problem
    assert problem
    assert problem.reason is Reason.MODEL_FILE_INVALID
    assert "big-00002-of-00003.gguf" in problem.text
    assert "big-00001" not in problem.text


def test_a_damaged_shard_damages_the_model(tmp_path: Path) -> None:
    parts = shards(tmp_path, "big", 2)
    parts[1].write_bytes(parts[1].read_bytes()[:-20])
    assert reason(discover([tmp_path])["big"]) is Reason.MODEL_FILE_INVALID


def test_a_projector_is_attached_to_the_models_beside_it(tmp_path: Path) -> None:
    put(tmp_path / "a" / "one-Q4_K_M.gguf")
    put(tmp_path / "a" / "one-Q8_0.gguf")
    put(tmp_path / "b" / "three.gguf")
    eyes = put(tmp_path / "a" / "mmproj-F16.gguf", projector())
    put(tmp_path / "a" / "mmproj-F32.gguf", projector())
    found = discover([tmp_path])
    assert {id_: file.projector_path for id_, file in found.items()} == {
        "one-Q4_K_M": str(eyes),
        "one-Q8_0": str(eyes),
        "three": "",
    }


def test_a_projector_under_another_name_is_known_by_its_header(tmp_path: Path) -> None:
    put(tmp_path / "one.gguf")
    eyes = put(tmp_path / "vision-tower.gguf", projector())
    found = discover([tmp_path])
    assert {id_: file.projector_path for id_, file in found.items()} == {"one": str(eyes)}


@pytest.mark.skipif(sys.platform != "linux", reason="a name that is no UTF-8 is in them")
@pytest.mark.parametrize("name", [b"mmproj.gguf", b"one.mmproj.gguf", b"mmproj-\xff.gguf"])
def test_a_damaged_projector_is_nobodys(tmp_path: Path, name: bytes) -> None:
    put(tmp_path / "one.gguf")
    put(tmp_path / os.fsdecode(name), b"GGUF, damaged")
    assert {id_: file.projector_path for id_, file in discover([tmp_path]).items()} == {"one": ""}


def test_of_equal_names_the_first_stays_and_the_others_get_their_folders(tmp_path: Path) -> None:
    for folder in ("x/q4", "y/q4", "z"):
        put(tmp_path / folder / "m.gguf")
    put(tmp_path / "z" / "other.gguf")
    assert {
        id_: Path(path).parent.relative_to(tmp_path).as_posix() for id_, path in paths(discover([tmp_path])).items()
    } == {"m": "z", "q4/m": "x/q4", "other": "z", "y/q4/m": "y/q4"}


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (("/a/m.gguf", "/a/m.GGUF"), ["m", "m.GGUF"]),
        (("/a/m.gguf", "/a/m-00001-of-00002.gguf"), ["m", "m-00001-of-00002"]),
        (("/a/m.gguf", "/a/m.Gguf", "/a/m.GGUF"), ["m", "m.Gguf", "m.GGUF"]),
        (("/a/m.gguf", "/b/m.gguf", "/b/a/m.gguf", "/c/b/a/m.gguf"), ["m", "b/m", "a/m", "b/a/m"]),
        (("/m.gguf", "/a/m.gguf", "/m.GGUF"), ["m", "a/m", "m.GGUF"]),
    ],
)
def test_every_file_has_an_id_of_its_own(files: tuple[str, ...], ids: list[str]) -> None:
    found = name_files([Found(part_of(Path(path)).base, ModelFile(path, 1)) for path in files])
    assert found == dict(zip(files, ids, strict=True))


@POSIX
def test_a_link_and_its_file_count_once_under_the_files_name(tmp_path: Path) -> None:
    real = put(tmp_path / "z" / "real.gguf")
    (tmp_path / "a.gguf").symlink_to(real)
    os.link(real, tmp_path / "z" / "second.gguf")
    assert paths(discover([tmp_path])) == {"real": str(real)}


@POSIX
def test_a_link_to_a_file_elsewhere_is_followed(tmp_path: Path) -> None:
    real = put(tmp_path / "store" / "sha256-abc")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.gguf").symlink_to(real)
    assert paths(discover([tmp_path / "models"])) == {"m": str(tmp_path / "models" / "m.gguf")}


@POSIX
def test_links_in_a_circle_do_not_hang(tmp_path: Path) -> None:
    put(tmp_path / "a" / "m.gguf")
    for name in ("up", "again", "once more"):  # without care each doubles the ways to walk
        (tmp_path / "a" / name).symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert list(discover([tmp_path])) == ["m"]


@POSIX
@POSIX
@pytest.mark.parametrize("name", ["folder", "file.gguf"])
def test_a_link_that_the_system_cannot_follow_hides_nothing_else(tmp_path: Path, name: str) -> None:
    put(tmp_path / "m.gguf")
    (tmp_path / name).symlink_to("x" * 300)
    found = discover([tmp_path])
    assert found.pop("m").problem is None
    assert all(map(reason, found.values()))


@POSIX
def test_shards_that_cannot_be_asked_for_are_missing(tmp_path: Path) -> None:
    shards(tmp_path, "big", 2)[1].unlink()
    (tmp_path / "big-00002-of-00002.gguf").symlink_to("x" * 300)
    named = Config(models={"m": ModelConfig(path=str(tmp_path / "big-00001-of-00002.gguf"))})
    assert reason(file_of(listed(named, tmp_path)["m"])) is Reason.MODEL_FILE_INVALID


def test_what_is_no_file_is_listed_and_never_blocks(tmp_path: Path) -> None:
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "fifo.gguf")
    (tmp_path / "zero.gguf").symlink_to("/dev/zero")
    (tmp_path / "gone.gguf").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.gguf").mkdir()
    put(tmp_path / "repository.gguf" / "inner.gguf")
    assert {id_: reason(file) for id_, file in discover([tmp_path]).items()} == {
        "empty": Reason.MODEL_PATH_INVALID,
        "fifo": Reason.MODEL_PATH_INVALID,
        "gone": Reason.MODEL_FILE_MISSING,
        "inner": None,
        "zero": Reason.MODEL_PATH_INVALID,
    }


@POSIX
def test_a_name_that_is_no_utf_8_is_a_problem_that_can_be_sent(tmp_path: Path) -> None:
    try:
        put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.gguf")))
    except OSError:
        pytest.skip("this file system takes no such names")
    [(id_, file)] = discover([tmp_path]).items()
    assert reason(file) is Reason.MODEL_PATH_INVALID
    assert id_.encode() and file.path.encode() and file.problem and file.problem.text.encode()


@POSIX
def test_a_model_of_the_hugging_face_cache_has_its_snapshots_name(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    blob = put(hub / "models--org--m" / "blobs" / "5f3a")
    for revision in ("abc", "def"):
        snapshot = hub / "models--org--m" / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "m-q4.gguf").symlink_to(blob)
    assert list(discover([hub])) == ["m-q4"]


def test_the_caches_of_others_are_looked_into_only_when_asked(tmp_path: Path) -> None:
    studio, hub = lm_studio_folders(tmp_path), hugging_face_folder({}, tmp_path)
    models = ("/models",)
    assert caches_of_others(Config(ServerConfig(models=models)), {}, tmp_path) == []
    both = Config(ServerConfig(models=models, lm_studio=True, hugging_face=True))
    assert caches_of_others(both, {}, tmp_path) == [*studio, hub]


def test_a_cache_that_is_not_there_is_no_news_and_a_folder_that_is_not_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(ServerConfig(models=(str(tmp_path / "own"),), lm_studio=True, hugging_face=True))
    assert not Discovery(config, tmp_path, {}, tmp_path).look({}).found
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot look for models in {tmp_path / 'own'}: {os.strerror(errno.ENOENT)}"
    ]


def test_where_hugging_face_keeps_its_cache(tmp_path: Path) -> None:
    assert hugging_face_folder({}, tmp_path) == tmp_path / ".cache" / "huggingface" / "hub"
    assert hugging_face_folder({"XDG_CACHE_HOME": "/c"}, tmp_path) == Path("/c/huggingface/hub")
    assert hugging_face_folder({"HF_HOME": "/h", "XDG_CACHE_HOME": "/c"}, tmp_path) == Path("/h/hub")
    assert hugging_face_folder({"HF_HUB_CACHE": "/x", "HF_HOME": "/h"}, tmp_path) == Path("/x")


def test_the_catalogue_has_simulated_models(tmp_path: Path) -> None:
    settings = ModelConfig(
        engine="simulated", memory={"host": Size(9)}, load_s=2.0, pinned=True, load=LoadOptions(parallel=3)
    )
    model = listed(Config(models={"slow": settings}), tmp_path)["slow"]
    assert model.source == Simulation({"host": 9}, 2.0, 50.0, (), False)
    assert model.pinned
    assert model.options.parallel == 3


def test_a_configured_path_renames_what_was_found(tmp_path: Path) -> None:
    put(tmp_path / "models" / "sub" / "talker-q4.gguf")
    put(tmp_path / "models" / "other.gguf")
    server = ServerConfig(models=(str(tmp_path / "models"),))
    for path in ("models/sub/talker-q4.gguf", "sub/talker-q4.gguf", str(tmp_path / "models/sub/talker-q4.gguf")):
        models = listed(
            Config(server, models={"talker": ModelConfig(path=path, load=LoadOptions(context_tokens=4096))}), tmp_path
        )
        assert sorted(models) == ["other", "talker"]
        assert file_of(models["talker"]).path == str(tmp_path / "models" / "sub" / "talker-q4.gguf")
        assert models["talker"].options.context_tokens == 4096


def test_the_configurations_folder_comes_before_the_models_folders(tmp_path: Path) -> None:
    beside, inside = put(tmp_path / "m.gguf"), put(tmp_path / "models" / "m.gguf")
    models = listed(
        Config(ServerConfig(models=(str(inside.parent),)), models={"mine": ModelConfig(path="m.gguf")}), tmp_path
    )
    assert {id_: file_of(model).path for id_, model in models.items()} == {"m": str(inside), "mine": str(beside)}


def test_any_shard_names_the_model(tmp_path: Path) -> None:
    parts = shards(tmp_path, "big", 2)
    models = listed(Config(models={"mine": ModelConfig(path=parts[1].name)}), tmp_path)
    assert file_of(models["mine"]).path == str(parts[0])
    assert reason(file_of(models["mine"])) is None


def test_settings_for_a_model_that_is_found_by_its_name(tmp_path: Path) -> None:
    put(tmp_path / "m.gguf")
    config = Config(
        ServerConfig(models=(str(tmp_path),)), models={"m": ModelConfig(pinned=True, load=LoadOptions(batch_tokens=64))}
    )
    models = listed(config, tmp_path)
    assert list(models) == ["m"]
    assert models["m"].pinned
    assert models["m"].options.batch_tokens == 64
    assert reason(file_of(models["m"])) is None


def test_configured_models_that_are_not_there_are_listed(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    config = Config(
        models={
            "nowhere": ModelConfig(path="none.gguf"),
            "unknown": ModelConfig(),
            "folder": ModelConfig(path="folder.gguf"),
            "text": ModelConfig(path=put(tmp_path / "t.txt", b"hello").name),
        }
    )
    assert {id_: reason(file_of(model)) for id_, model in listed(config, tmp_path).items()} == {
        "nowhere": Reason.MODEL_FILE_MISSING,
        "unknown": Reason.MODEL_FILE_MISSING,
        "folder": Reason.MODEL_PATH_INVALID,
        "text": Reason.MODEL_FILE_INVALID,
    }


def test_a_found_model_whose_name_is_taken_keeps_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "models" / "a.gguf")
    put(tmp_path / "models" / "b.gguf")
    config = Config(ServerConfig(models=(str(tmp_path / "models"),)), models={"a": ModelConfig(path="models/b.gguf")})
    models = listed(config, tmp_path)
    assert {id_: Path(file_of(model).path).name for id_, model in models.items()} == {
        "a": "b.gguf",
        "models/a": "a.gguf",
    }


def test_two_settings_of_one_file(tmp_path: Path) -> None:
    put(tmp_path / "m.gguf", gguf({"general.architecture": "llama"}, llama_rows(1)))
    config = Config(
        models={
            "short": ModelConfig(path="m.gguf", load=LoadOptions(context_tokens=512)),
            "long": ModelConfig(path="m.gguf"),
        }
    )
    assert sorted(listed(config, tmp_path)) == ["long", "short"]
