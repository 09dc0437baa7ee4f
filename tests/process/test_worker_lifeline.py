"""A worker ends with its supervisor, in every phase; and nothing around it disturbs its start."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from support import worker_parent
from support.worker_process import BOUND_S, WorkerProcess, error_info
from vramd_common import wire_values
from vramd_common.load_settings import Settings
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import load_pb2

WITHIN_S = 1.0
"""After its parent's death a worker may live so long."""


@pytest.mark.skipif(sys.platform != "linux", reason="waits for the end of strangers by pidfd")
@pytest.mark.unprivileged
def test_dies_with_its_parent_in_every_phase() -> None:
    if sys.platform == "linux":
        with subprocess.Popen(
            [sys.executable, worker_parent.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as parent:
            assert parent.stdout is not None
            pids: dict[str, int] = json.loads(parent.stdout.readline())
            workers = {phase: os.pidfd_open(pid) for phase, pid in pids.items()}
            parent.kill()
            deadline_s = time.monotonic() + WITHIN_S
            alive = [phase for phase, fd in workers.items() if not has_ended(fd, deadline_s)]
            for fd in workers.values():
                os.close(fd)
        assert set(pids) == {"no orders yet", "idle", "loading", "generating", "stopped"}
        assert alive == []


def has_ended(pidfd: int, deadline_s: float) -> bool:
    return bool(select.select([pidfd], [], [], max(0.0, deadline_s - time.monotonic()))[0])


@pytest.mark.parametrize("phase", ["no orders yet", "idle", "generating"])
@pytest.mark.unprivileged
def test_the_end_of_stdin_is_the_end(phase: str, worker: WorkerProcess) -> None:
    if phase == "idle":
        worker.meet()
    if phase == "generating":
        next(worker.ready(tokens_per_s=20).generate(max_tokens=90_000))
    worker.stdin.close()
    assert worker.exit_code(WITHIN_S) == 1


def test_a_worker_of_another_parent_refuses_to_start() -> None:
    with WorkerProcess(parent_pid=1) as worker:
        worker.order()
        assert worker.exit_code() == 1
        assert worker.heard(b"its supervisor is gone")


def test_a_line_without_an_end_is_refused(worker: WorkerProcess) -> None:
    with contextlib.suppress(BrokenPipeError):  # it may have ended before the last bytes were written
        worker.stdin.write(b"x" * 70_000)
    with contextlib.suppress(BrokenPipeError):
        worker.stdin.close()
    assert worker.exit_code() == 1
    assert worker.heard(b"no orders")


def test_folders_and_variables_around_it_do_not_disturb(tmp_path: Path) -> None:
    for name in ("grpc", "vramd_worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    for name in ("asyncio.py", "ctypes.py", "json.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong one')")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "json.py"),
        "PYTHONWARNINGS": "error",
        "PYTHONVERBOSE": "1",
    }
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "asyncio.py").write_text("raise SystemExit('the wrong one')")
    with WorkerProcess(cwd=tmp_path, environment=hostile, paths=[str(packages)]) as worker:
        worker.ready()
        assert list(worker.generate(max_tokens=1))
        assert b"wrong one" not in worker.printed


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("raise ModuleNotFoundError(\"No module named 'llama_cpp'\", name='llama_cpp')", "pip install 'vramd[llama]'"),
        ("raise OSError('libcuda.so.1: cannot open shared object file')", "libcuda.so.1"),
    ],
)
def test_without_llama_cpp_the_simulated_engine_works(tmp_path: Path, module: str, problem: str) -> None:
    (tmp_path / "llama_cpp.py").write_text(module)
    model = tmp_path / "m.gguf"
    model.write_bytes(b"GGUF")
    with WorkerProcess(paths=[str(tmp_path)]) as worker:
        hello = worker.meet()
        assert problem in hello.llama_problem
        assert (hello.llama_version, hello.backends) == ("", ())
        settings = Settings(256, 1, "host", 0, 256, "f16", 1)
        told = worker_pb2.LlamaModel(path=str(model), settings=wire_values.filled(load_pb2.Settings(), settings))
        refused = worker.stub.Load(
            worker_pb2.WorkerLoadRequest(model="m", llama=told), metadata=worker.metadata, timeout=BOUND_S
        )
        with pytest.raises(grpc.RpcError) as failed:
            next(refused)
        info = error_info(failed.value)
        assert (info.reason, dict(info.metadata)) == ("ENGINE_MISSING", {"model": "m", "engine": "llama"})
    with WorkerProcess(paths=[str(tmp_path)]) as worker:
        assert len(list(worker.ready().generate(max_tokens=2))) == 2


def test_an_exception_in_a_thread_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "llama_cpp.py").write_text("import threading; threading.Thread(target=lambda: 1 / 0).start()")
    with WorkerProcess(paths=[str(tmp_path)]) as worker:
        worker.order()
        assert worker.exit_code() == 70
        assert worker.heard(b"ZeroDivisionError")
