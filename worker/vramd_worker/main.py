"""The composition root of a worker: builds the server, says hello, serves until the process is ended.

There is no orderly shutdown on purpose: a worker holds nothing worth saving, so SIGTERM keeps its default action and
unloading ends the process. Everything that a load needs is imported before the hello: an idle worker is a warm spare.
"""

import asyncio
import faulthandler
import os
import secrets
import signal
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from vramd_common.rendezvous import PROTOCOL, Hello, Orders
from vramd_proto.internal.v1.worker_pb2_grpc import add_WorkerServiceServicer_to_server

from vramd_worker import llama
from vramd_worker.engine import Engine
from vramd_worker.service_worker import MOST_MESSAGE_BYTES, WorkerService
from vramd_worker.simulated import SimulatedEngine, SimulatedSpec

FAULT = 70
"""Exit code after an exception in a thread."""


SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
    # A long prompt is a quiet stream: the supervisor's pings must not be taken for an attack.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass(frozen=True)
class Engines:
    """The engines of this installation: what the hello says of llama.cpp; the simulated one is always there."""

    llama_version: str
    """Of llama-cpp-python; empty without it."""
    llama_problem: str
    """Why it cannot be used, and what to do; empty if it can."""
    backends: tuple[str, ...]
    untested: bool
    """Whether any version of llama-cpp-python is taken."""

    @classmethod
    def find(cls, untested: bool) -> "Engines":
        """Imports the binding, so that a load finds it warm; touches no backend."""
        found = llama.probe()
        problem = "" if untested and found.version else found.problem
        return cls(found.version, problem, found.backends, untested)

    def build(self, spec: SimulatedSpec | llama.LlamaSpec, threads: int) -> Engine:
        """Makes an engine that is still to be loaded. Called in the main thread."""
        if isinstance(spec, SimulatedSpec):
            return SimulatedEngine(spec)
        return llama.LlamaEngine(replace(spec, untested=self.untested), threads)


def run(orders_line: bytes, hello_fd: int) -> None:
    """Serves until the process is ended. Called once, by `boot`, in the main thread."""
    faulthandler.enable()
    if sys.platform != "win32":
        # The supervisor asks a process that hangs what its threads do, before it ends it.
        faulthandler.register(signal.SIGUSR1)
    # Ctrl-C in the supervisor's terminal is the supervisor's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _end_with_thread
    asyncio.run(_serve(Orders.parse(orders_line), hello_fd))


async def _serve(orders: Orders, hello_fd: int) -> None:
    engines = Engines.find(orders.untested_engine)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_WorkerServiceServicer_to_server(WorkerService(orders.nonce, engines.build), server)
    address = _listen(server, orders.socket_dir)
    await server.start()
    hello = Hello(
        PROTOCOL, orders.nonce, os.getpid(), address, engines.llama_version, engines.llama_problem, engines.backends
    )
    os.write(hello_fd, hello.line())
    os.close(hello_fd)
    await server.wait_for_termination()


def _listen(server: grpc.aio.Server, socket_dir: str) -> str:
    """Binds the server and returns the target to reach it by. Raises RuntimeError if the system refuses."""
    if not socket_dir:
        return f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    # Never the name of an earlier worker: binding would take over its socket without an error.
    address = f"unix:{Path(socket_dir) / f'{os.getpid()}.{secrets.token_hex(4)}'}"
    server.add_insecure_port(address)
    return address


def _end_with_thread(unhandled: threading.ExceptHookArgs) -> None:
    """Ends the process with the thread: its requests would wait for ever, and fail at once when the process is dead."""
    threading.__excepthook__(unhandled)
    os._exit(FAULT)
