"""A folder is watched on a thread of its own: it tells of changes, not too often, and fails nobody."""

import logging
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from vramd_supervisor.files import watch
from vramd_supervisor.files.watch import Watch, counts

BOUND_S = 20.0


class Told:
    """What a watch tells."""

    def __init__(self) -> None:
        self._news: queue.Queue[None] = queue.Queue()

    def __call__(self) -> None:
        self._news.put(None)

    def wait(self) -> None:
        self._news.get(timeout=BOUND_S)


class Script:
    """Stands for the system: gives what a test puts in, an exception to be raised, or None for the end of a watch."""

    def __init__(self) -> None:
        self.news: queue.Queue[bool | Exception | None] = queue.Queue()
        self.begun: queue.Queue[Path] = queue.Queue()

    def __call__(self, folder: Path, over: threading.Event) -> Iterator[bool]:
        self.begun.put(folder)
        while not over.is_set():
            match self.news.get(timeout=BOUND_S):
                case None:
                    return
                case bool() as something:
                    yield something
                case error:
                    raise error


def end(one: Watch, system: Script | None = None) -> None:
    """Whatever its thread is at: also if it waits for news of the system, which none may do beyond its test."""
    one.leave()
    if system:
        system.news.put(None)
        one._thread.join(BOUND_S)
        assert not one._thread.is_alive()
    one.join()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    for name in ("PAUSE_S", "LONGEST_PAUSE_S", "LOOK_S", "AGAIN_S"):
        monkeypatch.setattr(watch, name, 0.01)
    return Told()


def test_what_the_system_tells_is_told(tmp_path: Path, told: Told) -> None:
    pytest.importorskip("watchfiles")
    one = Watch(tmp_path, told)
    one.begin()
    told.wait()  # what may have come before it began
    for change in (
        (tmp_path / "sub").mkdir,
        lambda: (tmp_path / "sub" / "m.gguf").write_bytes(b"GGUF"),
        (tmp_path / "sub" / "m.gguf").unlink,
    ):
        change()
        told.wait()
    end(one)


def test_a_folder_that_comes_and_goes_is_watched_when_it_is_there(tmp_path: Path, told: Told) -> None:
    system, folder = Script(), tmp_path / "models"
    one = Watch(folder, told, system)
    one.begin()
    assert system.begun.empty()
    folder.mkdir()
    for _ in range(2):
        assert system.begun.get(timeout=BOUND_S) == folder
        system.news.put(False)
        told.wait()
        folder.rename(tmp_path / "away")
        system.news.put(False)
        told.wait()
        (tmp_path / "away").rename(folder)
    end(one, system)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("too many open files")])
def test_a_system_that_refuses_is_told_once_and_asked_again(
    tmp_path: Path, told: Told, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    system = Script()
    one = Watch(tmp_path, told, system)
    with caplog.at_level(logging.WARNING):
        one.begin()
        for _ in range(3):
            system.begun.get(timeout=BOUND_S)
            system.news.put(error)
        system.begun.get(timeout=BOUND_S)
        system.news.put(False)
        told.wait()
    end(one, system)
    assert [str(error) in message for message in caplog.messages] == [True]
    assert "vramd rescan" in caplog.text


def test_a_missing_library_and_no_more_threads_are_told(
    tmp_path: Path, told: Told, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = Script()
    system.news.put(ImportError("No module named 'watchfiles'"))
    one = Watch(tmp_path, told, system)
    one.begin()
    one._thread.join(BOUND_S)
    assert "No module named 'watchfiles'" in caplog.text
    end(one)

    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_more)
    other = Watch(tmp_path, told, system)
    other.begin()
    assert "can't start new thread" in caplog.text
    end(other)


def test_changes_without_end_are_told_ever_more_seldom(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PAUSE_S", 1.0)
    monkeypatch.setattr(watch, "LONGEST_PAUSE_S", 10.0)
    system = Script()
    one = Watch(tmp_path, told, system)
    pauses: list[float] = []
    monkeypatch.setattr(one._over, "wait", pauses.append)
    for something in (True, True, True, True, True, False, True, None):
        system.news.put(something)
    one.begin()
    system.begun.get(timeout=BOUND_S)
    system.begun.get(timeout=BOUND_S)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 1.0]
    system.news.put(ImportError())
    end(one, system)


@pytest.mark.parametrize(
    ("change", "name", "does"),
    [
        ("modified", "m.gguf", True),
        ("modified", "M.GGUF", True),
        ("modified", "sha256-abc.incomplete", False),
        ("modified", "notes.txt", False),
        ("added", "folder", True),
        ("deleted", "v1.5", True),
        ("added", "m-00001-of-00002.gguf", True),
    ],
)
def test_what_counts(change: str, name: str, does: bool) -> None:
    assert counts(change, f"/models/{name}") is does


def test_an_end_does_not_wait_for_a_watch_that_hangs(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "END_S", 0.01)
    hangs, begun = threading.Event(), threading.Event()

    def hang(folder: Path, over: threading.Event) -> Iterator[bool]:
        begun.set()
        hangs.wait(BOUND_S)
        yield False

    one = Watch(tmp_path, told, hang)
    one.begin()
    assert begun.wait(BOUND_S)
    end(one)
    assert one._thread.is_alive()
    hangs.set()
    one._thread.join(BOUND_S)
