"""A client in another language, made of the .proto files and what lies in the runtime folder, and of nothing else."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import vramd_proto
from filelock import FileLock
from support.supervisor_process import SupervisorProcess

HERE = Path(__file__).parent
INSTALL_S = 100.0
RUN_S = 60.0

NODE, NPM = shutil.which("node"), shutil.which("npm")


def installed() -> Path:
    """A folder with the client and its libraries; kept between runs, as long as it asks for the same ones."""
    digest = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"vramd-wire-{user}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / "lock", timeout=INSTALL_S):
        for name in ("client.mjs", "package.json"):
            shutil.copy(HERE / name, folder)
        done = folder / "installed"
        if not done.exists():
            assert NPM is not None
            command = [NPM, "install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]
            npm = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            assert npm.returncode == 0, npm.stderr
            done.touch()
    return folder


@pytest.mark.skipif(NODE is None or NPM is None, reason="there is no Node.js with npm")
def test_a_client_in_javascript(supervisor: SupervisorProcess) -> None:
    assert NODE is not None
    protos = Path(vramd_proto.__path__[0]).parent
    done = subprocess.run(
        [NODE, str(installed() / "client.mjs"), str(supervisor.folder.path), str(protos)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=RUN_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    text = steps[2].pop("text")
    assert text.strip()
    assert steps == [
        {"step": "list", "models": ["slow", "talker", "unused"]},
        {"step": "load", "state": "MODEL_STATE_READY", "model": "talker"},
        {"step": "stream", "tokens": 5, "reason": "FINISH_REASON_LENGTH"},
        {"step": "cancel", "code": "CANCELLED"},
        {
            "step": "error",
            "code": "NOT_FOUND",
            "reason": "MODEL_NOT_FOUND",
            "domain": "vramd",
            "metadata": {"model": "nobody"},
        },
    ]
