"""The runtime folder of a supervisor: clients in the same environment look into the same one, and are told which."""

import stat
import sys
from pathlib import Path

import pytest
from vramd_common.rendezvous import Address, default_runtime_dir
from vramd_supervisor.instance import AlreadyRunningError, Instance


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VRAMD_RUNTIME_DIR", raising=False)


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
