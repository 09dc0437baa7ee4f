"""The environment for llama-cpp-python for CUDA: what is there before the compiler is, and that it does not hang."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from support.cuda_environment import made


def test_it_has_what_this_one_has_and_is_not_taken_for_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "environment"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # so that it has not failed before it is looked at
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        monkeypatch.delenv("PIP_NO_INDEX", raising=False)
        with pytest.raises(TimeoutError, match="not done after 0 s"):
            made(folder, 0.0)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    looks = "import vramd, vramd_supervisor, vramd_worker, gguf, pytest, sys; print(sys.prefix)"
    done = subprocess.run(
        [str(python), "-c", looks], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert Path(done.stdout.strip()) == folder
    assert not (folder / "done").exists()


def test_one_that_is_finished_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "done").touch()
    python = made(tmp_path, 0.0)
    assert tmp_path in python.parents
    assert list(tmp_path.iterdir()) == [tmp_path / "done"]
