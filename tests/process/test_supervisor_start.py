"""How a supervisor starts, where it may live, and what it says when it cannot."""

import socket
import tempfile
from pathlib import Path

import pytest
import vramd
from support.supervisor_process import SupervisorProcess, simulated, until

# A process that is asked to go may be held up: none here has to be killed.
MODEL = "[scheduling]\nstop_s = 10\n" + simulated("a", card="")


def test_a_second_supervisor_in_the_same_folder_leaves_the_first_alone() -> None:
    with SupervisorProcess(MODEL) as first:
        client = first.client()
        with SupervisorProcess(runtime_dir=first.ready().folder.path) as second:
            assert second.exit_code() == 69
            assert f"pid {first.pid} at {first.address.address}" in second.printed
            assert "Traceback" not in second.printed
        assert client.load("a").state == "READY"
        assert first.client().status().supervisor.pid == first.pid


def test_a_port_in_use_is_said_and_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with SupervisorProcess(arguments=("--port", port)) as supervisor:
            assert supervisor.exit_code() == 1
            assert f"127.0.0.1:{port}" in supervisor.printed
            assert "--port 0" in supervisor.printed
            assert "Traceback" not in supervisor.printed
            assert sorted(path.name for path in supervisor.folder.path.iterdir()) == ["lock", "logs"]


def test_an_address_that_others_can_call_is_warned_of_and_the_log_is_as_long_as_wished() -> None:
    arguments = ("--port", "0", "--host", "0.0.0.0", "--insecure-network", "--log-level", "error")
    with SupervisorProcess(MODEL, arguments=arguments) as supervisor:
        assert supervisor.client().load("a").state == "READY"
        supervisor.heard("is open to the network without TLS (--insecure-network): the token is all")
        assert "INFO" not in supervisor.printed


def test_a_folder_left_by_a_killed_supervisor_serves_the_next() -> None:
    with SupervisorProcess(MODEL) as first:
        first.client().load("a")
        until("a spare", lambda: len(first.sockets()) == 2)
        first.process.kill()
        first.exit_code()
        assert first.folder.address_file.exists()
        with SupervisorProcess(MODEL, runtime_dir=first.folder.path) as second:
            second.heard("listens on")
            assert second.client().load("a").state == "READY"
            until("its own sockets only", lambda: len(second.sockets()) == 2)


@pytest.mark.parametrize("name", ["x" * 150, "a b", "100%", "#1", "é"])
def test_a_runtime_folder_may_be_called_anything(name: str, tmp_path: Path) -> None:
    (tmp_path / "grpc").mkdir()
    elsewhere = Path(tempfile.mkdtemp(prefix="vx"))
    environment = {"XDG_RUNTIME_DIR": str(elsewhere)}
    with SupervisorProcess(MODEL, runtime_dir=tmp_path / name, cwd=tmp_path, environment=environment) as supervisor:
        client = supervisor.client()
        assert client.generate("a", "x", max_tokens=2).finish is not None
        assert client.unload("a").exit == "ended"
        assert supervisor.end() == 0
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["lock", "logs"]
    # Where its sockets were, and there was nothing else in there.
    elsewhere.rmdir()


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ("[server]\nprot = 1\n", "vramd.toml:2: server.prot: unknown key"),
        ("[server", "is no valid TOML"),
        (simulated("a", manners=["bad"]), "models.a"),
    ],
)
def test_a_wrong_configuration_is_said_with_its_place(configuration: str, said: str) -> None:
    with SupervisorProcess(configuration) as supervisor:
        assert supervisor.exit_code() == 2
        assert said in supervisor.printed
        assert "Traceback" not in supervisor.printed


def test_a_runtime_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with SupervisorProcess(MODEL, runtime_dir=tmp_path / "file" / "run") as supervisor:
        assert supervisor.exit_code() == 1
        assert "runtime folder" in supervisor.printed
        assert str(tmp_path / "file" / "run") in supervisor.printed
        assert "Traceback" not in supervisor.printed


def test_an_alias_stands_wherever_an_id_may() -> None:
    with SupervisorProcess(simulated("a", card="", aliases=["voice", "stimme"])) as supervisor:
        client = supervisor.client()
        assert client.load("voice").model == "a"
        assert client.generate("stimme", "x", max_tokens=2).finish is not None
        assert client.model("VOICE").aliases == ("voice", "stimme")
        assert client.update("voice", pinned=True).pinned
        assert client.plan("voice").model == "a"
        with client.hold("stimme") as hold:
            hold.ready()
        assert client.restart("voice").model == "a"
        assert client.unload("voice").model == "a"
        assert {decision.model for decision in client.decisions("voice")} == {"a"}
        assert list(client.logs("stimme")) is not None
        with pytest.raises(vramd.NotFound, match="did you mean a"):
            client.load("voicee")
