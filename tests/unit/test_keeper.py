"""A runtime folder that somebody removes is made anew, and belongs to one supervisor at a time."""

import asyncio
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from vramd_common.rendezvous import Address
from vramd_supervisor.instance import AlreadyRunningError, Instance, keep

BOUND_S = 30.0
ADDRESS = Address("127.0.0.1:1", 7, "0")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody remove what is locked")


@pytest.fixture
def instance() -> Iterator[Instance]:
    # The path of a test's own folder is too long for sockets.
    with tempfile.TemporaryDirectory(prefix="vk", ignore_cleanup_errors=True) as folder:
        one = Instance(Path(folder) / "run")
        one.announce(ADDRESS)
        yield one


def private(path: Path) -> bool:
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


@posix
@pytest.mark.parametrize("removed", [".", "token", "supervisor.json", "logs", "lock"])
def test_what_is_removed_is_made_anew(instance: Instance, removed: str) -> None:
    folder = instance.folder
    assert not instance.keep()
    gone = folder.path / removed
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert instance.keep()
    assert not instance.keep()
    assert Address.read(folder.address_file) == ADDRESS
    assert folder.token_file.read_text("utf-8") == instance.token + "\n"
    assert (folder.logs / "models").is_dir()
    assert private(folder.path)
    assert private(folder.token_file)
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
    assert other.folder.token_file.read_text("utf-8") == other.token + "\n"
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
