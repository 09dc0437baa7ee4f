"""A look into a running supervisor and its workers: the bytes that are in use there, and leaks to plant.

Resident pages say little: they are shared with other processes that map the same library, are taken back by the kernel
when the machine needs them, and stay when what lay in them is free. So a process that gets SIGUSR2 writes down what its
allocator has handed out. Objects of Python count too, as PYTHONMALLOC has them made by the same allocator. For glibc.
"""

import asyncio.base_events
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

FOLDER, PLANTED = "VRAMD_TEST_INSIDE", "VRAMD_TEST_PLANTED"
TESTS = Path(__file__).parents[1]
INSIDE = Path(__file__).parent / "inside"
ANSWERS = ("/Generate", "/Chat")
BOOT = "boot.py"
MALLINFO2 = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)
"""The fields of the structure; see mallinfo2(3)."""


@dataclass(frozen=True)
class Leaks:
    """Leaks to plant: a test that measures none of them measures nothing."""

    bytes_per_answer: Mapping[str, int] | None = None
    """By role, "supervisor" or "worker"."""
    descriptor_per_exit: bool = False
    """In the supervisor, for each process that has ended."""


class _Mallinfo2(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in MALLINFO2)


def is_possible() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2")


class Insight:
    """The test's side: what a supervisor is started with, and what it and its workers tell."""

    def __init__(self, leaks: Leaks = Leaks()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vi")
        self.environment = {
            "PYTHONPATH": os.pathsep.join((str(INSIDE), str(TESTS))),
            "PYTHONMALLOC": "malloc",
            FOLDER: self._folder.name,
            PLANTED: json.dumps(asdict(leaks)),
        }

    def bytes_in_use(self, pid: int) -> int:
        """Asks a process, and waits for its answer."""
        from support.supervisor_process import until

        told = Path(self._folder.name) / f"{pid}"
        told.unlink(missing_ok=True)
        if sys.platform != "win32":
            os.kill(pid, signal.SIGUSR2)
        return int(until(f"process {pid} tells what it uses", lambda: told.read_text("ascii") if told.exists() else ""))

    def __enter__(self) -> "Insight":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._folder.cleanup()


def install(role: str) -> None:
    """The process's side. Called at its start, in its main thread."""
    leaks = json.loads(os.environ[PLANTED])
    # The loop otherwise keeps up to a hundred timers that were cancelled.
    for bound in ("_MIN_SCHEDULED_TIMER_HANDLES", "_MIN_CANCELLED_TIMER_HANDLES_FRACTION"):
        setattr(asyncio.base_events, bound, 0)
    if sys.platform != "win32":
        signal.signal(signal.SIGUSR2, lambda *_: _tell())
    if size_bytes := (leaks["bytes_per_answer"] or {}).get(role):
        _keep_with_each_answer(size_bytes)
    if role == "supervisor":
        _start_workers_with_it()
        if leaks["descriptor_per_exit"]:
            _keep_a_descriptor_with_each_exit()


def _tell() -> None:
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo2
    info = libc.mallinfo2()
    told = Path(os.environ[FOLDER]) / f"{os.getpid()}"
    new = told.with_suffix(".new")
    new.write_text(str(info.uordblks + info.hblkhd), "ascii")
    new.replace(told)


def _start_workers_with_it() -> None:
    plain = subprocess.Popen.__init__

    def start(self: Any, arguments: Any, *more: Any, **named: Any) -> None:
        if Path(arguments[2]).name == BOOT and arguments[3] == "vramd_worker":
            python, _, *rest = arguments
            arguments = [python, "-s", str(INSIDE / "worker.py"), str(TESTS), *rest]
            names = (FOLDER, PLANTED, "PYTHONMALLOC")
            named["env"] = {**named["env"], **{name: os.environ[name] for name in names}}
        plain(self, arguments, *more, **named)

    setattr(subprocess.Popen, "__init__", start)  # noqa: B010  mypy would have the same signature


def _keep_with_each_answer(size_bytes: int) -> None:
    import grpc

    kept: list[bytes] = []
    plain = grpc.aio.server

    class Keeper(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            if details.method.endswith(ANSWERS):
                kept.append(bytes(size_bytes))
            return await continuation(details)

    def server(interceptors: Any = (), **named: Any) -> Any:
        return plain(interceptors=(*interceptors, Keeper()), **named)

    setattr(grpc.aio, "server", server)  # noqa: B010  with fewer arguments than there may be


def _keep_a_descriptor_with_each_exit() -> None:
    from vramd_supervisor.workers import containment

    plain = containment.wait

    def wait(child: Any) -> int:
        code = plain(child)
        os.open(os.devnull, os.O_RDONLY)
        return code

    containment.wait = wait
