"""A drive that does not answer hides what is on it until it does; everything else is found as if it were not there."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.gguf_bytes import put
from support.supervisor_process import until
from vramd_common.reasons import Reason
from vramd_supervisor.domain.catalog import Model, ModelFile
from vramd_supervisor.domain.config import Config, ModelConfig, ServerConfig
from vramd_supervisor.files import discovery
from vramd_supervisor.files.discovery import Discovery, hugging_face_folder, lm_studio_folders
from vramd_supervisor.settings.listing import Held, catalogue
from vramd_supervisor.threads.concurrent_calls import ConcurrentCalls
from vramd_supervisor.threads.serial_calls import NoAnswerError

BOUND_S = 30.0
PATIENCE_S = 0.1
"""Of one look; what is late on a busy machine, and not because its drive is gone, is there at the next one."""


class Drive:
    """A folder, all below which answers only while the drive is there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.there = threading.Event()
        self.there.set()
        self.asked: list[str] = []
        for owner, name in ((Path, "stat"), (os, "scandir"), (os.path, "lexists"), (discovery, "read_header")):
            monkeypatch.setattr(owner, name, self._on_it(getattr(owner, name)))

    def _on_it(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def bound(path: Any, *arguments: Any, **named: Any) -> Any:
            if str(self.folder) in (str(path), *map(str, Path(path).parents), os.path.realpath(path)):
                self.asked.append(str(path))
                assert self.there.wait(BOUND_S)
            return call(path, *arguments, **named)

        return bound


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    folder = tmp_path / "drive"
    folder.mkdir()
    drive = Drive(folder, monkeypatch)
    yield drive
    drive.there.set()


class Looks:
    def __init__(self, config: Config, base: Path, home: Path | None = None) -> None:
        self.answered = threading.Event()
        self.config = config
        self.discovery = Discovery(config, base, {}, home or base, self.answered.set, PATIENCE_S)
        self.models: dict[str, Model] = {}

    def look(self) -> dict[str, Reason | None]:
        """The problem of each model, by id."""
        sources = {id_: model.source for id_, model in self.models.items()}
        looked = self.discovery.look({id_: file for id_, file in sources.items() if isinstance(file, ModelFile)})
        held = {id_: Held(model) for id_, model in self.models.items()}
        self.models = catalogue(self.config, *looked, held)
        found: dict[str, Reason | None] = {}
        for id_, model in self.models.items():
            assert isinstance(model.source, ModelFile)
            found[id_] = model.source.problem.reason if model.source.problem else None
        return found

    def until(self, wanted: Mapping[str, Reason | None]) -> None:
        """Looks again whenever something has answered, until that is found."""
        while self.look() != wanted:
            assert self.answered.wait(BOUND_S), f"never found {wanted}"
            self.answered.clear()

    def with_near(self) -> dict[str, Reason | None]:
        """Looks again until what is on no drive is found."""
        while (found := self.look()).get("near", Reason.FILE_UNANSWERED) is not None:
            assert self.answered.wait(BOUND_S), f"found only {found}"
            self.answered.clear()
        return found


def a_root(here: Path, drive: Path) -> Config:
    put(drive / "far.gguf")
    return Config(ServerConfig(models=(str(drive), str(here))))


def a_link_to_a_folder(here: Path, drive: Path) -> Config:
    put(drive / "far.gguf")
    (here / "shared").symlink_to(drive)
    return Config(ServerConfig(models=(str(here),)))


def a_configured_file(here: Path, drive: Path) -> Config:
    path = str(put(drive / "other.gguf"))
    return Config(ServerConfig(models=(str(here),)), models={"far": ModelConfig(path=path)})


@pytest.mark.skipif(os.name == "nt", reason="makes links")
@pytest.mark.parametrize("layout", [a_root, a_link_to_a_folder, a_configured_file])
def test_what_is_elsewhere_is_found_and_the_rest_when_it_answers(
    layout: Callable[[Path, Path], Config], drive: Drive, tmp_path: Path
) -> None:
    put(tmp_path / "here" / "near.gguf")
    looks = Looks(layout(tmp_path / "here", drive.folder), tmp_path)
    drive.there.clear()
    drive.asked.clear()
    first = looks.with_near()
    assert first.pop("far", Reason.FILE_UNANSWERED) is Reason.FILE_UNANSWERED
    assert first == {"near": None}
    until("the drive is asked", lambda: drive.asked)  # a thread may come to it later than it was given up
    asked = len(drive.asked)
    looks.with_near()
    assert len(drive.asked) == asked, "what does not answer is not asked again"
    assert not looks.discovery.has_changed()
    assert not looks.answered.is_set()
    drive.there.set()
    looks.until({"near": None, "far": None})


@pytest.mark.skipif(os.name == "nt", reason="makes links")
@pytest.mark.parametrize("layout", [a_root, a_link_to_a_folder])
def test_a_drive_that_dies_keeps_its_models_as_they_were(
    layout: Callable[[Path, Path], Config], drive: Drive, tmp_path: Path
) -> None:
    put(tmp_path / "here" / "near.gguf")
    looks = Looks(layout(tmp_path / "here", drive.folder), tmp_path)
    looks.until({"near": None, "far": None})
    drive.there.clear()
    looks.until({"near": None, "far": Reason.FILE_UNANSWERED})
    drive.there.set()
    looks.until({"near": None, "far": None})


@pytest.mark.parametrize("cache", [*lm_studio_folders(Path())[:1], hugging_face_folder({}, Path())])
def test_a_home_that_does_not_answer_hides_the_caches_in_it_only(cache: Path, drive: Drive, tmp_path: Path) -> None:
    put(drive.folder / cache / "far.gguf")
    put(tmp_path / "here" / "near.gguf")
    server = ServerConfig(models=(str(tmp_path / "here"),), lm_studio=True, hugging_face=True)
    looks = Looks(Config(server), tmp_path, drive.folder)
    drive.there.clear()
    assert looks.with_near() == {"near": None}
    drive.there.set()
    looks.until({"near": None, "far": None})


@pytest.mark.skipif(os.name == "nt", reason="makes links")
def test_a_file_that_leads_to_a_dead_drive_costs_none_beside_it(drive: Drive, tmp_path: Path) -> None:
    put(drive.folder / "far.gguf")
    put(tmp_path / "here" / "near.gguf")
    (tmp_path / "here" / "far.gguf").symlink_to(drive.folder / "far.gguf")
    drive.folder = drive.folder / "far.gguf"
    looks = Looks(Config(ServerConfig(models=(str(tmp_path / "here"),))), tmp_path)
    drive.there.clear()
    looks.until({"near": None, "far": Reason.FILE_UNANSWERED})
    drive.there.set()
    looks.until({"near": None, "far": None})


def test_calls_are_made_side_by_side_and_each_is_given_up_by_itself() -> None:
    goes_on, late = threading.Event(), threading.Event()
    calls: ConcurrentCalls[int] = ConcurrentCalls(PATIENCE_S, 2, late.set)

    def hangs() -> int:
        assert goes_on.wait(BOUND_S)
        return 7

    def answer(name: str, got: int | NoAnswerError) -> int:
        """The answer to a call that was made, however late: it counts, and no other call is made."""
        while isinstance(got, NoAnswerError):
            assert late.wait(BOUND_S)
            got = calls.run({name: lambda: 0})[name]
        return got

    answers = calls.run({"a": hangs, "b": lambda: 1, "c": hangs, "d": lambda: 2})
    assert all(isinstance(answers[name], NoAnswerError) for name in ("a", "c"))
    assert [answer(name, answers[name]) for name in ("b", "d")] == [1, 2]
    goes_on.set()
    assert [answer(name, answers[name]) for name in ("a", "c")] == [7, 7]
    answers = calls.run({"a": lambda: 8, "c": lambda: 9})
    assert [answer(name, answers[name]) for name in ("a", "c")] == [8, 9]


def test_calls_beside_one_that_fails_are_not_made_twice() -> None:
    goes_on, late = threading.Event(), threading.Event()
    calls: ConcurrentCalls[int] = ConcurrentCalls(BOUND_S, 2, late.set)
    made: list[int] = []

    def slow() -> int:
        made.append(1)
        assert goes_on.wait(BOUND_S)
        return 7

    def fails() -> int:
        raise OSError("it cannot be followed")

    with pytest.raises(OSError, match="cannot be followed"):
        calls.run({"slow": slow, "fails": fails})
    assert isinstance(calls.run({"slow": slow})["slow"], NoAnswerError)
    goes_on.set()
    assert late.wait(BOUND_S)
    assert calls.run({"slow": slow}) == {"slow": 7}
    assert len(made) == 1


def test_calls_without_threads_are_refused_and_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls: ConcurrentCalls[int] = ConcurrentCalls(BOUND_S, 2)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more)
        assert isinstance(calls.run({"a": lambda: 1})["a"], NoAnswerError)
    assert calls.run({"a": lambda: 1}) == {"a": 1}
