"""A real worker process, started as the supervisor starts one, and spoken to over its own wire."""

import contextlib
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import grpc
import vramd_proto
import vramd_worker
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from vramd_common.rendezvous import NONCE_KEY, Hello, Orders
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.internal.v1.worker_pb2_grpc import WorkerServiceStub
from vramd_proto.v1 import inference_pb2

BOUND_S = 30.0
"""Nothing here takes this long, unless it hangs."""

PACKAGES = tuple(str(Path(package.__path__[0]).parent) for package in (vramd_proto, vramd_worker))
BOOT = Path(vramd_worker.__path__[0]) / "boot.py"
CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 * 1024 * 1024))
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "HOME", "SYSTEMROOT", "TEMP", "LANG")


class WorkerProcess:
    """Gone when its `with` ends, with all its children."""

    def __init__(
        self,
        *,
        paths: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        over_tcp: bool = False,
        parent_pid: int | None = None,
    ) -> None:
        self.nonce = secrets.token_hex(16)
        # The system's limit for the path of a socket is below the length of many a test's folder.
        self._folder = tempfile.mkdtemp(prefix="vw")
        self._orders = Orders(
            paths=(*paths, *PACKAGES),
            parent_pid=parent_pid or os.getpid(),
            nonce=self.nonce,
            socket_dir="" if over_tcp else self._folder,
            untested_engine=False,
        )
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(BOOT), "vramd_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or self._folder,
            env={**kept, **(environment or {})},
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr
        self.printed = bytearray()
        self._heard = threading.Condition()
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()
        self._channel: grpc.Channel | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def order(self) -> None:
        self.stdin.write(self._orders.line())
        self.stdin.flush()

    def hello(self) -> Hello:
        """Its first and only line on stdout."""
        ready, _, _ = select.select([self.stdout], [], [], BOUND_S)
        line = self.stdout.readline() if ready else b""
        if not line:
            self.process.kill()
            self._drain.join(BOUND_S)
        assert line, f"no hello, but on stderr: {self.printed.decode('utf-8', 'replace')}"
        return Hello.parse(line)

    def meet(self) -> Hello:
        """Orders, hello, channel."""
        self.order()
        hello = self.hello()
        assert hello.nonce == self.nonce
        self._channel = grpc.insecure_channel(hello.address, CHANNEL_OPTIONS)
        return hello

    @property
    def stub(self) -> WorkerServiceStub:
        assert self._channel is not None, "meet it first"
        return WorkerServiceStub(self._channel)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return ((NONCE_KEY, self.nonce),)

    def load(self, model: worker_pb2.SimulatedModel, parallel: int = 4) -> Iterator[worker_pb2.WorkerLoadResponse]:
        """The stream of a load; nothing comes before it is iterated."""
        request = worker_pb2.WorkerLoadRequest(model="tester", threads=1, simulated=model)
        request.simulated.parallel = parallel
        return self.stub.Load(request, metadata=self.metadata, timeout=BOUND_S)

    def ready(
        self, *faults: str, parallel: int = 4, tokens_per_s: float = 2000, allocate_bytes: int = 0
    ) -> "WorkerProcess":
        """Meets it and loads a model that takes no time."""
        self.meet()
        steps = list(
            self.load(
                worker_pb2.SimulatedModel(
                    allocate_bytes=allocate_bytes, tokens_per_s=tokens_per_s, manners=faults, context_tokens=100_000
                ),
                parallel,
            )
        )
        assert steps[-1].WhichOneof("step") == "loaded"
        return self

    def generate(
        self, prompt: str = "once upon a time", max_tokens: int = 8, threads: int = 1
    ) -> "grpc._CallIterator[inference_pb2.GenerateResponse]":
        request = inference_pb2.GenerateRequest(
            prompt=[inference_pb2.ContentPart(text=prompt)],
            limits=inference_pb2.Limits(max_tokens=max_tokens),
            every_token=True,
        )
        return self.stub.Generate(
            worker_pb2.WorkerGenerateRequest(request=request, threads=threads), metadata=self.metadata, timeout=BOUND_S
        )

    def heard(self, text: bytes) -> bool:
        """Whether it prints this on stderr, within the bound."""
        with self._heard:
            return self._heard.wait_for(lambda: text in self.printed, BOUND_S)

    def exit_code(self, bound_s: float = BOUND_S) -> int:
        return self.process.wait(bound_s)

    def _read_stderr(self) -> None:
        while data := os.read(self.stderr.fileno(), 65536):
            with self._heard:
                self.printed += data
                self._heard.notify_all()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self._channel is not None:
            self._channel.close()
        if sys.platform == "win32":
            self.process.kill()
        else:
            # The group, because a grandchild would hold stderr open.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(BOUND_S)
        self._drain.join(BOUND_S)
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def error_info(error: BaseException) -> ErrorInfo:
    """The one ErrorInfo of a failed call."""
    assert isinstance(error, grpc.Call)
    packed = [value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert len(packed) == 1
    assert isinstance(packed[0], bytes)
    info = ErrorInfo()
    unpacked = [detail.Unpack(info) for detail in Status.FromString(packed[0]).details]
    assert unpacked.count(True) == 1
    return info
