"""The runtime folder: where it is, that one supervisor has it at a time, and that it is made again if it is removed."""

import asyncio
import json
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from vramd_common.rendezvous import Address, default_runtime_dir
from vramd_supervisor.files.memory_book import MemoryBook
from vramd_supervisor.instance import AlreadyRunningError, Instance, keep

pytestmark = pytest.mark.unprivileged


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VRAMD_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("VRAMD_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's place for such folders")
@pytest.mark.parametrize("missing", ["run", "deep/er/run", ""])
def test_a_place_that_is_not_there_yet_is_made_for_both_sides(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / missing
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    chosen = default_runtime_dir()
    instance = Instance(chosen)
    try:
        assert default_runtime_dir() == chosen == place / "vramd"
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    finally:
        instance.leave()


def test_how_workers_are_called_is_for_the_owner_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    instance = Instance(tmp_path)
    file = instance.folder.workers_file
    assert not file.exists()
    instance.tell_worker(7, "unix:/a", "one")
    instance.tell_worker(8, "unix:/b", "two")
    assert json.loads(file.read_text("utf-8")) == {"7": ["unix:/a", "one"], "8": ["unix:/b", "two"]}
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    instance.leave()
    assert not file.exists()


def advice(folder: Path) -> str:
    instance = Instance(folder)
    try:
        with pytest.raises(AlreadyRunningError) as caught:
            Instance(folder)
        instance.announce(Address("localhost:1", 4711, "1"))
        with pytest.raises(AlreadyRunningError, match="pid 4711 at localhost:1"):
            Instance(folder)
        return str(caught.value)
    finally:
        instance.leave()


def test_the_advice_ends_the_supervisor_that_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f'`vramd shutdown --runtime-dir "{tmp_path / "a b"}"` ends it' in advice(tmp_path / "a b")
    monkeypatch.setenv("VRAMD_RUNTIME_DIR", str(tmp_path / "mine"))
    assert "`vramd shutdown` ends it" in advice(tmp_path / "mine")
    assert f'--runtime-dir "{tmp_path / "other"}"` ends it' in advice(tmp_path / "other")


def test_a_file_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match="file"):
            Instance(folder)


BOUND_S = 30.0
ADDRESS = Address("127.0.0.1:1", 7, "0")
CERTIFICATE = b"of this start\n"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody remove what is locked")


@pytest.fixture
def instance() -> Iterator[Instance]:
    # The path of a test's own folder is too long for sockets.
    with tempfile.TemporaryDirectory(prefix="vk", ignore_cleanup_errors=True) as folder:
        one = Instance(Path(folder) / "run")
        one.announce(ADDRESS, CERTIFICATE)
        yield one


def private(path: Path) -> bool:
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


@posix
def test_only_its_own_files_are_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, state = tmp_path / "run", tmp_path / "state"
    own = ["lock", "logs/supervisor.old.log", "logs/models/a.log", "skeletons/0.gguf", "decisions.sqlite3.unusable-1"]
    foreign = ["site/index.html", "program", "logs/theirs.txt"]
    for name in (*own, *foreign):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        file.chmod(0o755)
    for path in (folder / "site", folder / "logs", folder / "skeletons", state):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    monkeypatch.setenv("VRAMD_STATE_DIR", str(state))
    instance = Instance(folder)
    MemoryBook(state / "memory.sqlite3").lessons()
    instance.leave()
    assert [name for name in (*own, "logs", "skeletons") if not private(folder / name)] == []
    assert [name for name in (*foreign, "site") if stat.S_IMODE((folder / name).stat().st_mode) != 0o755] == []
    assert stat.S_IMODE(state.stat().st_mode) == 0o755


@pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's place for such folders")
def test_its_own_state_folder_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VRAMD_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "vramd").mkdir()
    (tmp_path / "vramd").chmod(0o755)
    Instance(tmp_path / "run").leave()
    assert private(tmp_path / "vramd")


@posix
@pytest.mark.parametrize("removed", [".", "token", "token-use", "supervisor.json", "certificate.pem", "logs", "lock"])
def test_what_is_removed_is_made_anew(instance: Instance, removed: str) -> None:
    folder = instance.folder
    assert not instance.keep()
    gone = folder.path / removed
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert instance.keep()
    assert not instance.keep()
    assert Address.read(folder.address_file) == ADDRESS
    assert folder.certificate_file.read_bytes() == CERTIFICATE
    assert {file: file.read_text("utf-8") for file in folder.token_files} == {
        file: token + "\n" for file, token in instance.tokens.items()
    }
    assert len({*instance.tokens.values()}) == 2
    assert (folder.logs / "models").is_dir()
    assert private(folder.path)
    assert all(map(private, folder.token_files))
    with pytest.raises(AlreadyRunningError, match=r"pid 7 at 127\.0\.0\.1:1"):
        Instance(folder.path)
    instance.leave()
    Instance(folder.path).leave()


@posix
def test_a_new_process_finds_a_folder_for_its_socket_at_once(instance: Instance) -> None:
    shutil.rmtree(instance.folder.path)
    assert Path(instance.socket_dir()).is_dir()
    assert private(Path(instance.socket_dir()))
    assert private(instance.folder.path)
    assert instance.keep()
    instance.leave()


@posix
def test_one_who_has_lost_the_folder_says_so_and_leaves_it_to_the_other(
    instance: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(instance.folder.path)
    other = Instance(instance.folder.path)
    other.announce(Address("127.0.0.1:2", 8, "0"))
    left: list[bool] = []
    asyncio.run(asyncio.wait_for(keep(instance, lambda: left.append(True), 0.0), BOUND_S))
    assert left == [True]
    assert "pid 8 at 127.0.0.1:2" in caplog.text
    instance.leave()
    found = Address.read(instance.folder.address_file)
    assert found
    assert found.pid == 8
    assert other.folder.token_file.read_text("utf-8") == other.tokens[other.folder.token_file] + "\n"
    other.leave()


@posix
def test_a_folder_that_cannot_be_made_anew_is_told_once(
    instance: Instance, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(instance.folder.path)
    instance.folder.path.write_text("a file in its place", "utf-8")
    looked = 0

    async def main() -> None:
        def counted() -> bool:
            nonlocal looked
            looked += 1
            if looked == 4:
                instance.folder.path.unlink()
            if looked == 6:
                task.cancel()
            return real()

        real = instance.keep
        monkeypatch.setattr(instance, "keep", counted)
        task = asyncio.ensure_future(keep(instance, lambda: None, 0.0))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, BOUND_S)

    asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    instance.leave()
