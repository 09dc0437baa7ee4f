"""A supervisor that is drained: nothing new, and nothing is ended."""

import json
import subprocess
import sys
from collections.abc import Callable

import grpc
import pytest
import vramd
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.supervisor_process import BOUND_S, SupervisorProcess, queued, simulated, until

MODELS = simulated("quick", card="") + simulated("slow", card="", tokens_per_s=20, parallel=1)

NEW: dict[str, Callable[[vramd.Client], object]] = {
    "a request for a loaded model": lambda client: client.generate("slow", "x").text,
    "a load": lambda client: client.load("quick"),
    "a hold": lambda client: client.hold("slow").ready(),
    "a restart": lambda client: client.restart("slow"),
    "a reservation": lambda client: client.reserve("1MiB", device="host"),
}


def health(supervisor: SupervisorProcess) -> str:
    with grpc.insecure_channel(supervisor.address.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_nothing_new_is_admitted_and_nothing_is_ended() -> None:
    with SupervisorProcess(MODELS) as supervisor:
        client = supervisor.client()
        with (
            client.hold("quick") as hold,
            client.generate("slow", "x", max_tokens=2000) as running,
        ):
            hold.ready()
            next(running)  # only now: of two calls of two connections either may come first
            waiting = supervisor.client().generate("slow", "x", max_tokens=3)
            until("one waits", lambda: queued(client, "slow"))
            assert health(supervisor) == "SERVING"
            assert client.drain() == vramd.Drained(running=1, queued=1)
            for call in NEW.values():
                with pytest.raises(vramd.Draining, match="vramd undrain"):
                    call(client)
            status = client.status().supervisor
            assert (status.draining, status.running, status.queued) == (True, 1, 1)
            assert health(supervisor) == "NOT_SERVING"
            assert len(next(running)) > 0
            running.cancel()
            assert waiting.finish.usage.completion_tokens == 3
            assert {model.model: model.state for model in client.resident()} == {"quick": "READY", "slow": "READY"}
        client.unload("quick")
        client.undrain()
        assert health(supervisor) == "SERVING"
        assert client.load("quick").state == "READY"


def test_the_commands_drain_and_undrain() -> None:
    with SupervisorProcess(MODELS) as supervisor:
        client = supervisor.client()

        def vramd_(*words: str) -> str:
            folder = ("--runtime-dir", str(supervisor.folder.path))
            command = [sys.executable, "-m", "vramd", *words, *folder]
            return subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=True).stdout

        with client.generate("slow", "x", max_tokens=30) as stream:
            next(stream)
            assert json.loads(vramd_("drain", "--wait", "--json")) == {"running": 0, "queued": 0}
            assert len(stream.text) > 0
        assert "nothing new until `vramd undrain`" in vramd_("status")
        assert vramd_("undrain") == ""
        assert client.load("quick").state == "READY"
