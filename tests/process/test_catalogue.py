"""Folders of models under a running supervisor: what comes is found, what is used stays, whatever the disk does."""

import shutil
from pathlib import Path

import pytest
import vramd
from support.gguf_bytes import put
from support.supervisor_process import SupervisorProcess, until
from vramd_cli.play import MODEL_FILE


def ids(client: vramd.Client) -> dict[str, bool]:
    return {model.id: bool(model.problem) for model in client.models()}


def test_what_comes_and_goes_is_seen_without_a_rescan(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    put(tmp_path / "models" / "a" / "npc.gguf")
    with SupervisorProcess(arguments=("--port", "0", "--models", str(tmp_path / "models"))) as supervisor:
        client = supervisor.client()
        assert ids(client) == {"npc": False}
        client.update("npc", pinned=True)
        shutil.copytree(tmp_path / "models" / "a", tmp_path / "models" / "0")
        until("the copy", lambda: ids(client) == {"npc": False, "0/npc": False})
        assert client.model("npc").path == str(tmp_path / "models" / "a" / "npc.gguf")
        (tmp_path / "models").rename(tmp_path / "away")
        until("it is away", lambda: ids(client) == {"npc": True, "0/npc": True})
        (tmp_path / "away").rename(tmp_path / "models")
        until("it is back", lambda: ids(client) == {"npc": False, "0/npc": False})
        (tmp_path / "models" / "a" / "npc.gguf").rename(tmp_path / "models" / "npc.gguf")
        until("it was moved", lambda: client.model("npc").path == str(tmp_path / "models" / "npc.gguf"))
        assert client.model("NPC.gguf").pinned
        shutil.rmtree(tmp_path / "models" / "0")
        until("the copy is gone", lambda: ids(client) == {"npc": False})


def test_without_a_watch_only_a_rescan_finds_what_comes(tmp_path: Path) -> None:
    whole = MODEL_FILE.read_bytes()
    put(tmp_path / "models" / "npc.gguf", whole[:-40])
    arguments = ("--port", "0", "--models", str(tmp_path / "models"))
    with SupervisorProcess("[server]\nwatch = false\n", arguments=arguments) as supervisor:
        client = supervisor.client()
        put(tmp_path / "models" / "npc.gguf", whole)
        put(tmp_path / "models" / "new.gguf", whole)
        assert ids(client) == {"npc": True}
        assert client.plan("npc").fits, "who asks for it has it looked at anew"
        assert ids(client) == {"npc": False, "new": False}
        put(tmp_path / "models" / "later.gguf", whole)
        assert client.rescan().added == ("later",)
