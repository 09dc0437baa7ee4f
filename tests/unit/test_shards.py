"""Which files are one model, through links and under odd names, and which projector is whose."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.gguf_bytes import Plain, Row, gguf, llama
from vramd_supervisor.domain.catalog import ModelFile
from vramd_supervisor.domain.config import Config, ServerConfig
from vramd_supervisor.files.discovery import Discovery, read_model
from vramd_supervisor.files.projectors import attach, is_called_projector
from vramd_supervisor.settings.listing import catalogue

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows lets few make links")


def shards(folder: Path, name: str, count: int, marks: str = "") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        head: dict[str, Plain] = {"split.no": number, "split.count": count, "split.tensors.count": count}
        if number == 0:
            head |= {"general.architecture": "llama", "llama.block_count": count, "general.name": marks}
        paths.append(folder / f"{name}-{number + 1:05}-of-{count:05}.gguf")
        paths[-1].write_bytes(gguf(head, [Row(f"blk.{number}.ffn_up.weight", (64,))]))
    return paths


def found(root: Path) -> dict[str, ModelFile]:
    config = Config(ServerConfig(models=(str(root),)))
    models = catalogue(config, *Discovery(config, root, {}, root).look({}))
    return {id_: model.source for id_, model in models.items() if isinstance(model.source, ModelFile)}


def problems(root: Path) -> dict[str, str]:
    return {id_: file.problem.text if file.problem else "" for id_, file in found(root).items()}


# Links.


def relative(path: Path, real: Path) -> None:
    path.symlink_to(os.path.relpath(real, path.parent))


def absolute(path: Path, real: Path) -> None:
    path.symlink_to(real)


def hard(path: Path, real: Path) -> None:
    path.hardlink_to(real)


LINKS = pytest.mark.parametrize("link", [relative, absolute, hard], ids=lambda how: how.__name__)
Link = Callable[[Path, Path], None]


@LINKS
def test_shards_that_links_lead_to_another_folder_are_one_model(tmp_path: Path, link: Link) -> None:
    first, *others = shards(tmp_path / "disk1", "big", 3)
    (tmp_path / "disk2").mkdir()
    for path in others:
        path.rename(tmp_path / "disk2" / path.name)
        link(path, tmp_path / "disk2" / path.name)
    [(id_, file)] = found(tmp_path).items()
    assert (id_, file.path, file.problem) == ("big", str(first), None)


@LINKS
def test_two_revisions_that_share_a_shard_are_two_models(tmp_path: Path, link: Link) -> None:
    hub = tmp_path / "models--org--big"
    blobs = [*shards(hub / "blobs", "a", 2), shards(tmp_path / "other", "a", 2, "changed")[0]]
    blobs = [path.rename(hub / "blobs" / f"sha{number}") for number, path in enumerate(blobs)]
    for revision, kept in (("abc", (0, 1)), ("def", (2, 1))):
        (hub / "snapshots" / revision).mkdir(parents=True)
        for number, blob in enumerate(kept, 1):
            link(hub / "snapshots" / revision / f"big-{number:05}-of-00002.gguf", blobs[blob])
    assert problems(hub) == {"big": "", "def/big": ""}


@LINKS
def test_a_shard_in_two_quantisations(tmp_path: Path, link: Link) -> None:
    shards(tmp_path / "q4", "big", 2)
    shards(tmp_path / "q5", "big", 2, "other")[1].unlink()
    link(tmp_path / "q5" / "big-00002-of-00002.gguf", tmp_path / "q4" / "big-00002-of-00002.gguf")
    assert problems(tmp_path) == {"big": "", "q5/big": ""}


@LINKS
def test_a_whole_set_linked_twice_is_one_model_under_its_own_name(tmp_path: Path, link: Link) -> None:
    paths = shards(tmp_path / "z", "big", 2)
    (tmp_path / "a").mkdir()
    for path in paths:
        link(tmp_path / "a" / path.name, path)
    (tmp_path / "first.gguf").symlink_to(paths[0])
    wanted = tmp_path / ("a" if link is hard else "z") / paths[0].name
    assert [(file.path, file.problem) for file in found(tmp_path).values()] == [(str(wanted), None)]


def test_shards_over_two_folders_without_links_are_missing(tmp_path: Path) -> None:
    paths = shards(tmp_path / "a", "big", 2)
    (tmp_path / "b").mkdir()
    paths[1].rename(tmp_path / "b" / paths[1].name)
    assert all("are missing" in text for text in problems(tmp_path).values())


# Names that llama.cpp does not take.


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (
            ("UP-00001-of-00002.GGUF", "UP-00002-of-00002.GGUF"),
            "rename UP-00001-of-00002.GGUF to UP-00001-of-00002.gguf",
        ),
        (("m-00001-of-00002.gguf", "m-00002-of-00002.GGUF"), "rename m-00002-of-00002.GGUF to m-00002-of-00002.gguf"),
        (("m-00001-OF-00002.gguf", "m-00002-OF-00002.gguf"), "rename m-00001-OF-00002.gguf to m-00001-of-00002.gguf"),
        (("m-00002-of-00002.gguf", "m-00001-of-00002.gguf"), "m-00001-of-00002.gguf is shard 2 of 2"),
        (("m-00001-of-00003.gguf", "m-00002-of-00003.gguf"), "missing: m-00003-of-00003.gguf"),
        (("m-00001-of-00002.gguf", "n-00002-of-00002.gguf"), "missing: m-00002-of-00002.gguf"),
        (
            ("m.gguf", "n.gguf"),
            "m.gguf is shard 1 of 2; llama.cpp takes it beside the others, called NAME-00001-of-00002",
        ),
    ],
)
def test_shards_under_other_names_are_a_problem(tmp_path: Path, names: tuple[str, str], problem: str) -> None:
    paths = shards(tmp_path / "right", "big", 2)
    for path, name in zip(paths, names, strict=True):
        path.rename(tmp_path / name)
    first = found(tmp_path)[min(found(tmp_path))]
    assert first.problem
    assert problem in first.problem.text
    again = read_model(tmp_path / names[0]).problem
    assert again, "what is read for a plan says so too"


def test_shards_that_were_joined_are_a_problem(tmp_path: Path) -> None:
    paths = shards(tmp_path / "parts", "big", 2)
    (tmp_path / "big.gguf").write_bytes(b"".join(path.read_bytes() for path in paths))
    shutil.rmtree(tmp_path / "parts")
    assert "shard 1 of 2" in problems(tmp_path)["big"]


def test_shards_of_more_than_there_are_and_of_other_models_are_a_problem(tmp_path: Path) -> None:
    few = shards(tmp_path, "few", 3)
    (tmp_path / "few-00003-of-00003.gguf").unlink()
    for number, path in enumerate(few[:2], 1):
        path.rename(tmp_path / f"few-{number:05}-of-00002.gguf")
    for number in (1, 2):
        (tmp_path / f"whole-{number:05}-of-00002.gguf").write_bytes(llama(number))
    said = problems(tmp_path)
    assert "few-00001-of-00002.gguf is shard 1 of 3" in said["few"]
    assert "its header tells of no shards" in said["whole"]


def test_tensors_that_no_shard_has_are_a_problem(tmp_path: Path) -> None:
    shards(tmp_path, "big", 2)
    head: dict[str, Plain] = {
        "general.architecture": "llama",
        "split.no": 0,
        "split.count": 2,
        "split.tensors.count": 9,
    }
    (tmp_path / "big-00001-of-00002.gguf").write_bytes(gguf(head, [Row("blk.0.ffn_up.weight", (64,))]))
    assert problems(tmp_path) == {"big": "its shards have 2 tensors, the first one tells of 9"}


# Projectors.


@pytest.mark.parametrize(
    ("models", "projectors", "wanted"),
    [
        (["talker"], ["mmproj-other"], {}),
        (["talker"], ["mmproj-F16"], {"talker": "mmproj-F16"}),
        (["one", "two"], ["mmproj-F16"], {}),
        (
            ["one-Q4_K_M", "one-IQ2_XXS", "one-f16"],
            ["mmproj-model-f16"],
            dict.fromkeys(["one-Q4_K_M", "one-IQ2_XXS", "one-f16"], "mmproj-model-f16"),
        ),
        (
            ["gemma-3-4b-it-Q4_K_M", "talker"],
            ["mmproj-gemma-3-4b-it-f16"],
            {"gemma-3-4b-it-Q4_K_M": "mmproj-gemma-3-4b-it-f16"},
        ),
        (
            ["llava-v1.5-7b-Q4_K", "llava-v1.5-13b-Q4_K"],
            ["llava-v1.5-7b-mmproj-model-f16"],
            {"llava-v1.5-7b-Q4_K": "llava-v1.5-7b-mmproj-model-f16"},
        ),
        (["a-4b", "a-12b"], ["mmproj-a-4b", "mmproj-a-12b"], {"a-4b": "mmproj-a-4b", "a-12b": "mmproj-a-12b"}),
        (["a-4b-it"], ["mmproj-a", "mmproj-a-4b"], {"a-4b-it": "mmproj-a-4b"}),
        (["a-4b"], ["mmproj-a-F32", "mmproj-a-BF16"], {"a-4b": "mmproj-a-BF16"}),
        (["a-40b"], ["mmproj-a-4"], {}),
        (["model-Q8_0"], ["mmproj-model-f16"], {"model-Q8_0": "mmproj-model-f16"}),
    ],
)
def test_a_projector_belongs_to_the_model_whose_name_it_shares(
    models: list[str], projectors: list[str], wanted: dict[str, str]
) -> None:
    assert attach({name: name for name in models}, {name: name for name in projectors}) == wanted


@pytest.mark.parametrize("name", ["mmproj-F16", "x-mmproj-f16", "MMPROJ_model", "mmproj"])
def test_a_projector_is_known_by_its_name(name: str) -> None:
    assert is_called_projector(name)


@pytest.mark.parametrize("name", ["m", "commproj", "mm-proj"])
def test_other_names_are_no_projectors(name: str) -> None:
    assert not is_called_projector(name)
