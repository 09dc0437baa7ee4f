"""Starts what vramd is compared with: a worker without a supervisor, and a relay before it."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import vramd_worker
from vramd_common.rendezvous import NONCE_KEY, PROTOCOL, Hello, Orders
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import load_pb2

from . import wire
from .figures import BenchError
from .plain_loop import Loop, Ran, Wanted
from .streamed import LIMIT_S

WORKER_FOLDER = Path(vramd_worker.__file__).parent
START_LIMIT_S = 60.0
END_LIMIT_S = 10.0
BATCH_TOKENS = 512


@dataclass(frozen=True)
class Load:
    """A model to load, with the settings of vramd's defaults."""

    path: Path
    context_tokens: int
    threads: int
    parallel: int


class BareWorker:
    """A worker without a supervisor; it ends with the `with` block.

    Start it from the main thread: on Linux a worker ends with the thread that started it.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Returns when it has said hello. `environment` is added to this process's. Raises BenchError."""
        self._folder = tempfile.TemporaryDirectory(prefix="vb", ignore_cleanup_errors=True)
        self._printed = Path(self._folder.name, "printed")
        self._nonce = secrets.token_hex(16)
        with self._printed.open("wb") as out:
            self._child = subprocess.Popen(
                [sys.executable, "-I", str(WORKER_FOLDER / "boot.py"), "vramd_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                env={**os.environ, **environment, "GGML_NO_BACKTRACE": "1"},
                start_new_session=True,
            )
        try:
            self._hello = self._greet()
        except BaseException:
            self.kill()
            raise

    def _greet(self) -> Hello:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        installed = [str(Path(entry).absolute()) for entry in sys.path if entry and Path(entry).is_dir()]
        sockets = "" if sys.platform == "win32" else self._folder.name
        orders = Orders(
            (str(WORKER_FOLDER.parent), *installed), os.getpid(), self._nonce, sockets, untested_engine=False
        )
        self._child.stdin.write(orders.line())
        self._child.stdin.flush()
        with _limited(self._child):
            line = self._child.stdout.readline()
        try:
            hello = Hello.parse(line)
        except ValueError:
            raise BenchError(f"a worker did not say hello: {self._tail()}") from None
        if hello.llama_problem or hello.protocol != PROTOCOL:
            raise BenchError(hello.llama_problem or "the worker is of another version")
        return hello

    def _tail(self) -> str:
        return self._printed.read_text("utf-8", "replace").strip()[-2000:] or "it said nothing"

    @property
    def place(self) -> wire.WorkerPlace:
        return wire.WorkerPlace(self._hello.address, self._nonce)

    def load(self, wanted: Load) -> float:
        """Reads the weights and makes the context; the seconds it took. Raises grpc.RpcError."""
        request = worker_pb2.WorkerLoadRequest(
            model="bench",
            threads=wanted.threads,
            llama=worker_pb2.LlamaModel(
                path=str(wanted.path),
                settings=load_pb2.Settings(
                    context_tokens=wanted.context_tokens,
                    batch_tokens=BATCH_TOKENS,
                    ubatch_tokens=BATCH_TOKENS,
                    kv_type=load_pb2.KV_TYPE_F16,
                    flash_attention=load_pb2.FLASH_ATTENTION_AUTO,
                    parallel=wanted.parallel,
                    devices=["host"],
                ),
            ),
        )
        began_s = time.perf_counter()
        with grpc.insecure_channel(self._hello.address, wire.OPTIONS) as channel:
            steps: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(f"{wire.WORKER_SERVICE}Load")
            metadata = ((NONCE_KEY, self._nonce),)
            for _ in steps(request.SerializeToString(), metadata=metadata, timeout=LIMIT_S):
                pass
            return time.perf_counter() - began_s

    def way(self, threads: int) -> wire.Way:
        return wire.to_worker(self.place, threads)

    def kill(self) -> float:
        """Seconds from SIGKILL until it is reaped."""
        began_s = time.perf_counter()
        self._child.kill()
        self._child.wait(END_LIMIT_S)
        took_s = time.perf_counter() - began_s
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()
        self._folder.cleanup()
        return took_s

    def __enter__(self) -> "BareWorker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.returncode is None:
            self.kill()


@contextmanager
def relayed(worker: wire.WorkerPlace, threads: int) -> Iterator[wire.Way]:
    """Calls to a worker through a bare relay. Raises BenchError."""
    with subprocess.Popen(
        [sys.executable, "-m", "vramd_bench.relay"],
        cwd=Path(__file__).parent,  # nothing in here has the name of a module of Python
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps({"target": worker.address, "nonce": worker.nonce}).encode() + b"\n")
            child.stdin.flush()
            with _limited(child):
                port = child.stdout.readline().strip()
            if not port:
                raise BenchError("the relay did not start")
            with wire.to_worker(wire.WorkerPlace(f"127.0.0.1:{port.decode()}", worker.nonce), threads) as way:
                yield way
        finally:
            child.kill()


class PlainLoop:
    """A process that computes by the plain loop; it ends with the `with` block."""

    def __init__(self, orders: Loop, environment: Mapping[str, str]) -> None:
        """Returns when its model is loaded. `environment` is added to this process's. Raises BenchError."""
        self._child = subprocess.Popen(
            [sys.executable, "-m", "vramd_bench.plain_loop"],
            cwd=Path(__file__).parent,  # nothing in here has the name of a module of Python
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment, "GGML_NO_BACKTRACE": "1"},
            start_new_session=True,
        )
        try:
            with _limited(self._child):
                self._ask(asdict(orders))
        except BaseException:
            self.__exit__()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def run(self, wanted: Wanted) -> Ran:
        """Computes. Raises BenchError."""
        return Ran(**self._ask(asdict(wanted)))

    def _ask(self, question: object) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(question).encode() + b"\n")
            self._child.stdin.flush()
            answer = self._child.stdout.readline()
        except OSError:
            answer = b""
        if not answer:
            raise BenchError("the plain loop has ended; its words are above")
        found: dict[str, Any] = json.loads(answer)
        return found

    def __enter__(self) -> "PlainLoop":
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.wait(END_LIMIT_S)
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def _limited(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Kills a child that stays silent for too long, so that reading its output ends."""
    timer = threading.Timer(START_LIMIT_S, child.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
