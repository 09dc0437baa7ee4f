"""`serve --record`: what a real supervisor was told, told to another core, has it do the same."""

from pathlib import Path

import pytest
import vramd
from support.supervisor_process import CARD, SupervisorProcess, simulated
from vramd_supervisor.simulation.replay import replay

PROMPT = "a secret that nobody else may read"


def test_a_recorded_supervisor_is_the_same_core_again(tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    models = (
        simulated("small", "3GiB") + simulated("large", "6GiB") + simulated("dying", "1GiB", manners=["exit-in-decode"])
    )
    with SupervisorProcess(CARD + models, arguments=("--port", "0", "--record", str(recording))) as supervisor:
        client = supervisor.client()
        for model in ("small", "large", "small"):
            assert "".join(client.generate(model, PROMPT, max_tokens=4))
        with pytest.raises(vramd.VramdError):
            "".join(client.generate("dying", PROMPT, max_tokens=20))
        client.unload("small")
        with pytest.raises(vramd.VramdError):
            client.embed("nobody", PROMPT)
        token = supervisor.folder.token_file.read_text("utf-8").strip()
        assert supervisor.end() == 0
    text = recording.read_text("utf-8")
    verdict = replay(text.splitlines(keepends=True))
    assert verdict.difference is None, verdict.difference
    assert not verdict.unanswered
    for happened in ("CatalogueRead", "DeviceSampled", "Evicted", "WorkerExited", "MemoryReleased", "Refuse", "Exit"):
        assert f'"is":"{happened}"' in text, f"nothing is recorded of {happened}"
    assert token
    assert token not in text
    assert PROMPT not in text


def test_a_recording_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    recording = tmp_path / "no such folder" / "recording"
    with SupervisorProcess(arguments=("--port", "0", "--record", str(recording))) as supervisor:
        assert supervisor.exit_code() == 1
        supervisor.heard(f"{recording}: No such file or directory")
