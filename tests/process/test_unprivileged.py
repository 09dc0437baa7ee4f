"""What a user without privileges may not do: said in words, and nothing else is hurt. Root could do all of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import vramd
from support.supervisor_process import BOUND_S, SupervisorProcess, simulated

pytestmark = [
    pytest.mark.unprivileged,
    pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may do everything"),
]
MODEL = simulated("a", card="")


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that its user cannot write into."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    return folder


def test_this_user_has_no_privileges(closed: Path) -> None:
    with pytest.raises(PermissionError):
        (closed / "file").touch()
    with pytest.raises(PermissionError):
        os.kill(1, 0)


def test_a_runtime_folder_that_cannot_be_made_ends_the_start(closed: Path) -> None:
    with SupervisorProcess(MODEL, runtime_dir=closed / "run") as supervisor:
        assert supervisor.exit_code() == 1
        assert "the runtime folder cannot be used" in supervisor.printed
        assert "Permission denied" in supervisor.printed
        assert "Traceback" not in supervisor.printed


def test_what_is_learned_is_lost_and_models_run(closed: Path) -> None:
    with SupervisorProcess(MODEL, environment={"VRAMD_STATE_DIR": str(closed / "state")}) as supervisor:
        client = supervisor.client()
        assert list(client.generate("a", "x", max_tokens=1))
        client.unload("a")
        supervisor.heard("cannot be written")
        assert "Traceback" not in supervisor.log


def test_a_recording_that_cannot_be_written_ends_the_start(closed: Path) -> None:
    arguments = ("--port", "0", "--record", str(closed / "recording"))
    with SupervisorProcess(MODEL, arguments=arguments) as supervisor:
        assert supervisor.exit_code() == 1
        assert "Permission denied" in supervisor.printed


def test_a_model_that_cannot_be_read_is_a_problem_of_that_model(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    file = folder / "b.gguf"
    file.write_bytes(b"GGUF")
    file.chmod(0)
    with SupervisorProcess(f"[server]\nmodels = [{str(folder)!r}]\n{MODEL}") as supervisor:
        client = supervisor.client()
        assert "Permission denied" in (client.model("b").problem or "")
        with pytest.raises(vramd.VramdError, match="Permission denied"):
            client.load("b")
        assert client.load("a").state == "READY"


def test_a_key_that_cannot_be_read_ends_the_start(tmp_path: Path) -> None:
    made = [sys.executable, "-m", "vramd", "cert", "--out", str(tmp_path)]
    subprocess.run(made, capture_output=True, timeout=BOUND_S, check=True)
    key = tmp_path / "vramd-key.pem"
    key.chmod(0)
    arguments = ("--port", "0", "--tls-cert", str(tmp_path / "vramd-cert.pem"), "--tls-key", str(key))
    with SupervisorProcess(MODEL, arguments=arguments) as supervisor:
        assert supervisor.exit_code() == 2
        assert "vramd-key.pem' is not readable" in supervisor.printed
