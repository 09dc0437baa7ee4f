"""A further look into the folders: what is away is told as it was, what is gone is gone, what changed is read anew."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.gguf_bytes import llama, projector, put
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile
from vramd_supervisor.domain.config import Config, ModelConfig, ServerConfig
from vramd_supervisor.files import discovery
from vramd_supervisor.files.discovery import Discovery
from vramd_supervisor.files.gguf_header import read_header
from vramd_supervisor.files.gguf_values import Header
from vramd_supervisor.files.walk import Folder, Walk, is_away
from vramd_supervisor.settings.listing import Held, catalogue

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files, or lets few make them")


class Looks:
    """One look after another, each told what the one before has found."""

    def __init__(self, *roots: Path, models: dict[str, ModelConfig] | None = None) -> None:
        self.config = Config(ServerConfig(models=tuple(map(str, roots))), models=models or {})
        self.discovery = Discovery(self.config, roots[0].parent, {}, Path("/nowhere"))
        self.models: dict[str, Model] = {}

    def look(self) -> dict[str, Reason | None]:
        """The problem of each model, by id."""
        looked = self.discovery.look({id_: self.file(id_) for id_ in self.models})
        held = {id_: Held(model) for id_, model in self.models.items()}
        self.models = catalogue(self.config, *looked, held)
        files = {id_: self.file(id_) for id_ in self.models}
        return {id_: file.problem.reason if file.problem else None for id_, file in files.items()}

    def file(self, id_: str) -> ModelFile:
        source = self.models[id_].source
        assert isinstance(source, ModelFile)
        return source


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("away"))


def empty_in_its_place(folder: Path) -> None:
    renamed(folder)
    folder.mkdir()


def link_to_nowhere(folder: Path) -> None:
    renamed(folder)
    folder.symlink_to(folder.with_name("nowhere"))


def file_in_its_place(folder: Path) -> None:
    renamed(folder)
    folder.write_text("")


AWAY = [renamed, empty_in_its_place, link_to_nowhere, file_in_its_place]


@POSIX
@pytest.mark.parametrize("away", AWAY, ids=lambda how: how.__name__)
def test_a_folder_that_is_away_changes_nothing(tmp_path: Path, away: Callable[[Path], None]) -> None:
    """Twice looked at, then back."""
    root = tmp_path / "models"
    put(root / "sub" / "found.gguf")
    put(tmp_path / "other" / "stays.gguf")
    put(root / "mine.gguf")
    looks = Looks(root, tmp_path / "other", models={"mine": ModelConfig(), "own": ModelConfig(path="models/mine.gguf")})
    everything = dict.fromkeys(("found", "stays", "mine", "own"))
    assert looks.look() == everything
    before = {id_: looks.file(id_) for id_ in everything}
    away(root)
    for _ in range(2):
        found = looks.look()
        assert found.keys() == everything.keys()
        assert {id_ for id_, reason in found.items() if reason} == {"found", "mine", "own"}
        told = {id_: looks.file(id_) for id_ in everything}
        assert all((told[id_].path, told[id_].shape) == (file.path, file.shape) for id_, file in before.items())
    assert not looks.discovery.has_changed()
    if root.is_dir():
        root.rmdir()
    root.unlink(missing_ok=True)
    root.with_name("away").rename(root)
    assert looks.discovery.has_changed()
    assert looks.look() == everything


@pytest.mark.parametrize("folder", ["models", "models/sub"])
def test_a_folder_that_gives_errors_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    put(tmp_path / "models" / "sub" / "m.gguf")
    looks = Looks(tmp_path / "models")
    looks.look()
    right = os.scandir

    def fail(path: Path) -> object:
        if path == tmp_path / folder:
            raise OSError(5, "Input/output error")
        return right(path)

    monkeypatch.setattr(os, "scandir", fail)
    assert looks.look() == {"m": Reason.MODEL_FILE_MISSING}
    monkeypatch.undo()
    assert looks.look() == {"m": None}


@POSIX
def test_a_folder_inside_that_leads_nowhere_is_away(tmp_path: Path) -> None:
    put(tmp_path / "drive" / "m.gguf")
    root = tmp_path / "models"
    put(root / "here.gguf")
    (root / "drive").symlink_to(tmp_path / "drive")
    looks = Looks(root)
    assert looks.look() == {"here": None, "m": None}
    renamed(tmp_path / "drive")
    assert looks.look() == {"here": None, "m": Reason.MODEL_FILE_MISSING}


def test_a_drive_that_is_taken_out_is_away_even_where_its_folder_goes_with_it() -> None:
    root, drive = Folder((1, 1), empty=False, root=True, mounted=False), Folder((2, 1), False, False, mounted=True)
    plain = Folder((1, 5), False, False, False)
    before = {Path("/m"): root, Path("/m/usb"): drive, Path("/m/sub"): plain}
    assert is_away(Path("/m/usb/m.gguf"), before, Walk(folders={Path("/m"): root}))
    assert not is_away(Path("/m/sub/m.gguf"), before, Walk(folders={Path("/m"): root}))
    assert not is_away(Path("/m/sub/m.gguf"), before, Walk(folders={Path("/m"): root, Path("/m/sub"): plain}))


@pytest.mark.parametrize("removed", ["sub/m.gguf", "sub"])
def test_what_is_gone_from_a_folder_that_can_be_read_is_gone(tmp_path: Path, removed: str) -> None:
    put(tmp_path / "models" / "sub" / "m.gguf")
    put(tmp_path / "models" / "other.gguf")
    looks = Looks(tmp_path / "models")
    assert looks.look() == {"m": None, "other": None}
    (tmp_path / "models" / "sub" / "m.gguf").unlink()
    if removed == "sub":
        (tmp_path / "models" / "sub").rmdir()
    assert looks.look() == {"other": None}


def test_the_last_file_of_a_folder_is_gone_too(tmp_path: Path) -> None:
    path = put(tmp_path / "models" / "m.gguf")
    looks = Looks(tmp_path / "models")
    looks.look()
    path.unlink()
    assert looks.look() == {}


def test_only_what_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        put(tmp_path / "models" / f"{name}.gguf")
    put(tmp_path / "models" / "mmproj-one.gguf", projector())
    read: list[str] = []

    def read_and_note(path: Path) -> Header:
        read.append(path.stem)
        return read_header(path)

    monkeypatch.setattr(discovery, "read_header", read_and_note)
    looks = Looks(tmp_path / "models")
    looks.look()
    assert sorted(read) == ["mmproj-one", "one", "three", "two"]
    read.clear()
    put(tmp_path / "models" / "two.gguf", llama(3))
    put(tmp_path / "models" / "new.gguf")
    looks.look()
    assert sorted(read) == ["new", "two"]
    assert looks.file("two").shape.layers == 3
    assert looks.file("one").projector_path


def cut_off(path: Path) -> Callable[[], object]:
    path.write_bytes(llama()[:-100])
    return lambda: put(path)


def no_shard(path: Path) -> Callable[[], object]:
    path.unlink()
    shard = path.with_name("m-00001-of-00002.gguf")
    put(shard)
    return lambda: shard.rename(path)


def no_folder(path: Path) -> Callable[[], object]:
    path.unlink()
    path.parent.rmdir()
    return lambda: put(path)


@pytest.mark.parametrize("broken", [cut_off, no_shard, no_folder], ids=lambda how: how.__name__)
@pytest.mark.parametrize("configured", [None, ModelConfig(), ModelConfig(path="m.gguf")], ids=("found", "name", "path"))
def test_a_problem_at_the_first_look_is_seen_to_be_over(
    tmp_path: Path, broken: Callable[[Path], Callable[[], object]], configured: ModelConfig | None
) -> None:
    path = put(tmp_path / "models" / "m.gguf")
    mend = broken(path)
    looks = Looks(tmp_path / "models", models={"m": configured} if configured else None)
    assert looks.look().get("m", Reason.MODEL_NOT_FOUND)
    assert not looks.discovery.has_changed()
    mend()
    assert looks.discovery.has_changed()
    assert looks.look()["m"] is None
    assert not looks.discovery.has_changed()


def test_a_growing_file_is_read_when_it_is_whole(tmp_path: Path) -> None:
    whole = llama()
    path = put(tmp_path / "models" / "m.gguf", whole[:100])
    looks = Looks(tmp_path / "models")
    for size in (100, 200, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert looks.look() == {"m": Reason.MODEL_FILE_INVALID}
    path.write_bytes(whole)
    assert looks.look() == {"m": None}
