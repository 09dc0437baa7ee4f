"""The configuration is read again while models are at work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import vramd
from support.supervisor_process import BOUND_S, CARD, SupervisorProcess, busy, simulated, until

BEFORE = CARD + simulated("steady", tokens_per_s=20) + simulated("other") + simulated("leaving", tokens_per_s=20)


def effects(read: vramd.Reloaded) -> dict[str, str]:
    return {change.key: change.effect for change in read.changes}


def pid(client: vramd.Client, model: str) -> int:
    found = client.model(model).resident
    return (found.pid or 0) if found else 0


def test_a_reload_touches_only_what_has_changed() -> None:
    with SupervisorProcess(BEFORE) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        for model in ("steady", "other", "leaving"):
            client.load(model)
        steady, other = pid(client, "steady"), pid(client, "other")
        with busy(client, "steady") as running, client.generate("leaving", "x", max_tokens=2000) as last:
            next(last)
            after = (
                simulated("steady", tokens_per_s=20, pinned=True) + simulated("other", load_s=0.2) + simulated("new")
            )
            changed = CARD + "[scheduling]\ndrain_s = 29\nstop_s = 3\n" + after
            supervisor.configuration.write_text(changed, "utf-8")
            told = {
                "scheduling.drain_s": "applied",
                "scheduling.stop_s": "needs_restart",
                "models.steady.pinned": "applied",
                "models.other.load_s": "when_idle",
                "models.leaving": "drains",
                "models.new": "applied",
            }
            assert effects(client.reload_config(check_only=True)) == told
            assert client.model("leaving").resident
            assert effects(client.reload_config()) == told
            story.reached("other", "READY", 2)
            with pytest.raises(vramd.NotFound, match="not there any more"):
                client.load("leaving")
            next(last)
            last.cancel()
            next(running)
            assert client.model("steady").pinned
        story.reached("leaving", "UNLOADED")
        assert client.load("new").state == "READY"
        assert pid(client, "steady") == steady
        assert pid(client, "other") not in (0, other)
        with pytest.raises(vramd.NotFound):
            client.model("leaving")
        assert effects(client.reload_config()) == {"scheduling.stop_s": "needs_restart"}


def test_a_configuration_that_is_wrong_changes_nothing() -> None:
    with SupervisorProcess(BEFORE) as supervisor:
        client = supervisor.client()
        before = client.load("steady").pid
        wrong = BEFORE.replace("[models.other]", "[scheduling]\ndrain_s = -1\n[models.other]") + simulated("more")
        supervisor.configuration.write_text(wrong, "utf-8")
        line = wrong.splitlines().index("drain_s = -1") + 1
        for check in (True, False):
            with pytest.raises(vramd.ConfigInvalid, match="must be 0 or more") as caught:
                client.reload_config(check_only=check)
            assert caught.value.metadata == {
                "file": str(supervisor.configuration),
                "line": str(line),
                "key": "scheduling.drain_s",
            }
        supervisor.configuration.unlink()
        with pytest.raises(vramd.ConfigInvalid):
            client.reload_config()
        assert {model.id for model in client.models()} == {"steady", "other", "leaving"}
        assert pid(client, "steady") == before


def test_a_lower_budget_ends_idle_models_only() -> None:
    with SupervisorProcess(BEFORE) as supervisor, supervisor.story() as story:
        client = supervisor.client()
        client.load("other")
        with busy(client, "steady") as running:
            limited = BEFORE.replace('total = "8GiB"', 'total = "8GiB"\nbudget = "512MiB"')
            supervisor.configuration.write_text(limited, "utf-8")
            assert effects(client.reload_config()) == {"devices.card.budget": "applied"}
            story.reached("other", "UNLOADED")
            next(running)
            with pytest.raises(vramd.TooLarge):
                client.load("other")
            card = next(device for device in client.devices() if device.id == "card")
            assert (card.budget_bytes, card.reserved_bytes, card.free_bytes) == (512 << 20, 1 << 30, 0)
        assert story.reached("steady", "UNLOADED").cause == "evicted_for_budget"


def test_folders_of_models_come_and_go(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.gguf").write_bytes(b"no GGUF")
    first = f"[server]\nmodels = [{json.dumps(str(tmp_path / 'one'))}]\n"
    with SupervisorProcess(first) as supervisor:
        client = supervisor.client()
        assert [model.id for model in client.models()] == ["one"]
        supervisor.configuration.write_text(first.replace("one", "two"), "utf-8")
        assert effects(client.reload_config()) == {"server.models": "applied"}
        assert [model.id for model in client.models()] == ["two"]
        (tmp_path / "two" / "later.gguf").write_bytes(b"no GGUF")
        until("the new folder is watched", lambda: "later" in {model.id for model in client.models()})


def test_the_command_says_what_comes_of_it() -> None:
    with SupervisorProcess(BEFORE) as supervisor:
        supervisor.client().load("steady")
        supervisor.configuration.write_text(BEFORE.replace("tokens_per_s = 20", "tokens_per_s = 30"), "utf-8")
        command = [sys.executable, "-m", "vramd", "reload", "--runtime-dir", str(supervisor.folder.path)]

        def vramd_(*words: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run([*command, *words], capture_output=True, text=True, timeout=BOUND_S, check=False)

        checked, done, again = vramd_("--check"), vramd_(), vramd_()
        assert checked.stdout == done.stdout
        assert "models.steady.tokens_per_s" in done.stdout
        assert "once its process is idle" in done.stdout
        assert "at once" in done.stdout
        assert (again.stdout, again.stderr) == ("", "nothing has changed\n")
        supervisor.configuration.write_text("[server]\nhots = 1\n", "utf-8")
        wrong = vramd_()
        assert wrong.returncode == 1
        assert f"{supervisor.configuration}:2: server.hots: unknown key; did you mean host?" in wrong.stderr
