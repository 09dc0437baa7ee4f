"""Where the system has no more descriptors, processes or threads, that is told; everybody else is served; it passes."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import vramd
from support.supervisor_process import SupervisorProcess, simulated, until
from support.wire import Caller
from vramd_common.reasons import Reason
from vramd_proto.v1 import supervisor_pb2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of a running process are Linux's to change")

MODELS = "[server]\nspare = false\n" + "".join(simulated(model, card="", tokens_per_s=50) for model in ("a", "b"))
MANY = 10_000


@pytest.fixture
def supervisor() -> Iterator[SupervisorProcess]:
    with SupervisorProcess(MODELS) as one:
        yield one


def limit(supervisor: SupervisorProcess, kind: str, most: int) -> None:
    if sys.platform == "linux":
        import resource

        number = getattr(resource, kind)
        _, hard = resource.prlimit(supervisor.pid, number)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(supervisor.pid, number, (soft, hard))


def refused(client: vramd.Client, model: str, reason: Reason) -> None:
    with pytest.raises(vramd.Exhausted) as failed:
        client.load(model)
    assert failed.value.reason == reason.name
    assert failed.value.retry_after_s


def served_throughout(supervisor: SupervisorProcess, kind: str, most: int, reason: Reason) -> None:
    """Loads are refused with this reason while the limit holds; streams, status and old connections go on."""
    client = supervisor.client()
    with client.generate("a", "x", max_tokens=2000) as answer:
        next(answer)
        limit(supervisor, kind, most)
        for _ in range(3):
            refused(client, "b", reason)
            next(answer)
            assert client.status().supervisor.pid == supervisor.pid
        limit(supervisor, kind, MANY)
        until("it is loaded", lambda: loaded_or_refused(client, "b"))
        next(answer)
    assert "Traceback" not in supervisor.printed


def test_no_more_descriptors(supervisor: SupervisorProcess) -> None:
    served_throughout(
        supervisor,
        "RLIMIT_NOFILE",
        len(list(Path(f"/proc/{supervisor.ready().pid}/fd").iterdir())),
        Reason.FD_EXHAUSTED,
    )


@pytest.mark.unprivileged
@pytest.mark.skipif(sys.platform == "linux" and os.geteuid() == 0, reason="root has no such limit")
def test_no_more_processes_and_threads(supervisor: SupervisorProcess) -> None:
    served_throughout(supervisor, "RLIMIT_NPROC", 1, Reason.PROCESSES_EXHAUSTED)
    # The library's own threads are there all along: new clients are served too.
    with vramd.Client(supervisor.folder.path) as another:
        assert another.generate("b", "x", max_tokens=2).text


def test_new_connections_are_served_or_refused_but_none_hangs(tmp_path: Path) -> None:
    """Half of the descriptors are not for connections, so that loads go on."""
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    (tmp_path / "sitecustomize.py").write_text(few, "utf-8")
    with SupervisorProcess(MODELS, environment={"PYTHONPATH": str(tmp_path)}) as supervisor:
        client = supervisor.client()
        client.load("a")
        others = [supervisor.caller() for _ in range(60)]
        ends = [_end_of_call(other) for other in others]
        assert ends.count("served") >= 20
        assert {*ends} == {"served", "refused"}
        assert client.generate("a", "x", max_tokens=2).text
        loaded_or_refused(client, "b")
        for other in others:
            other.channel.close()
        until("it is loaded", lambda: loaded_or_refused(client, "b"))


def loaded_or_refused(client: vramd.Client, model: str) -> bool:
    """Whether it is loaded; what was used up comes back some time after it was given back."""
    try:
        return bool(client.load(model))
    except vramd.Exhausted as failed:
        assert failed.reason in {Reason.FD_EXHAUSTED.name, Reason.PROCESSES_EXHAUSTED.name}
        return False


def _end_of_call(caller: Caller) -> str:
    try:
        caller.supervisor.GetStatus(supervisor_pb2.GetStatusRequest())
    except grpc.RpcError as error:
        return _code(error)
    return "served"


def _code(error: BaseException) -> str:
    assert isinstance(error, grpc.Call)
    return "refused" if error.code() is grpc.StatusCode.UNAVAILABLE else error.code().name
