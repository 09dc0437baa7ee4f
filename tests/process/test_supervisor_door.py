"""Who gets in, what lies in the runtime folder, and where that folder may be."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import vramd
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.supervisor_process import BOUND_S, SupervisorProcess, simulated, until
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

SERVICES = [
    file.services_by_name[name]
    for file, name in (
        (inference_pb2.DESCRIPTOR, "InferenceService"),
        (model_pb2.DESCRIPTOR, "ModelService"),
        (supervisor_pb2.DESCRIPTOR, "SupervisorService"),
    )
]
METHODS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]
MODEL = simulated("a", card="")


def test_every_method_wants_the_token_but_health() -> None:
    with SupervisorProcess(MODEL) as supervisor, grpc.insecure_channel(supervisor.address.address) as channel:
        for metadata in (
            (),
            (("authorization", "Bearer guessed"),),
            (("authorization", supervisor.folder.token_file.read_text().strip()),),
        ):
            codes = {method: code_without_right(channel, method, metadata) for method in METHODS}
            assert set(codes.values()) == {grpc.StatusCode.UNAUTHENTICATED}, codes
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=BOUND_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert supervisor.client().status().supervisor.pid == supervisor.pid


def test_a_token_for_use_changes_nothing() -> None:
    with SupervisorProcess(MODEL) as supervisor:
        user = supervisor.stranger(supervisor.ready().folder.use_token_file.read_text().strip())
        assert list(user.generate("a", "x", max_tokens=1)), "a request loads what it needs"
        assert user.model("a").resident
        denied: dict[str, Callable[[], object]] = {
            "LoadModel": lambda: user.load("a"),
            "UnloadModel": lambda: user.unload("a", force=True),
            "RestartModel": lambda: user.restart("a"),
            "ResetModel": lambda: user.reset("a"),
            "UpdateModel": lambda: user.update("a", pinned=True),
            "RescanModels": user.rescan,
            "ReserveMemory": lambda: user.reserve("1MiB", ttl_s=1),
            "Shutdown": lambda: user.shutdown(force=True),
        }
        for method, call in denied.items():
            with pytest.raises(vramd.ScopeDenied, match=method) as caught:
                call()
            assert caught.value.metadata == {"scope": "admin"}
        assert user.model("a").resident
        assert supervisor.client().unload("a").model == "a"


def test_tokens_are_printed_for_other_programs() -> None:
    with SupervisorProcess(MODEL) as supervisor:
        folder = supervisor.ready().folder
        for options, file in (((), folder.use_token_file), (("--scope", "admin"), folder.token_file)):
            command = [sys.executable, "-m", "vramd", "token", "--runtime-dir", str(folder.path), *options]
            said = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=True)
            assert said.stdout == file.read_text()
    refused = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert (refused.returncode, "no supervisor runs in" in refused.stderr) == (1, True)


def code_without_right(channel: grpc.Channel, method: str, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    call = channel.unary_stream(method, lambda raw: raw, lambda raw: raw)(b"", metadata=metadata, timeout=BOUND_S)
    return call.code()


@pytest.mark.skipif(os.name != "posix", reason="modes are Unix's")
@pytest.mark.unprivileged
def test_only_the_owner_can_read_the_token(tmp_path: Path) -> None:
    folder = tmp_path / "open to all"
    folder.mkdir(mode=0o777)
    with SupervisorProcess(MODEL, runtime_dir=folder) as supervisor:
        supervisor.ready()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in supervisor.folder.token_files} == {0o600}


def test_each_start_makes_a_new_token(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        with SupervisorProcess(runtime_dir=tmp_path / "run") as supervisor:
            tokens.append(supervisor.ready().folder.token_file.read_text())
    assert tokens[0] != tokens[1]


def test_a_models_log_begins_with_the_first_byte_of_its_process(tmp_path: Path) -> None:
    # Imported before the process has a model: nothing of ours prints as early. What fails is imported again later.
    (tmp_path / "llama_cpp.py").write_text(
        "import sys\n"
        "if not hasattr(sys, 'told'):\n"
        "    sys.told = print('early \\x1b[31mred', flush=True)\n"
        "raise ModuleNotFoundError('llama_cpp')\n"
    )
    with SupervisorProcess(MODEL, environment={"PYTHONPATH": str(tmp_path)}) as supervisor:
        client = supervisor.client()
        client.load("a")
        until("it is logged", lambda: list(client.logs("a")))
        assert next(client.logs("a")) == "early \\x1b[31mred"
        file = supervisor.folder.logs / "models" / "a.log"
        until("it is written", lambda: file.exists() and file.stat().st_size)
        assert file.read_bytes().startswith(b"early ")
        own = list(client.logs(lines=1000))
        assert any("serves at" in line for line in own)
        with pytest.raises(vramd.NotFound):
            list(client.logs("b"))
