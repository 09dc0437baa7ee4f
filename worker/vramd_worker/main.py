"""The composition root of a worker: builds the server, says hello, serves until the process is ended.

There is no orderly end on purpose: a worker holds nothing worth saving, so SIGTERM keeps its default action and unload
is the end of the process. By the hello everything is imported that a load needs: an idle worker is a warm spare.
"""

import asyncio
import faulthandler
import os
import secrets
import signal
import threading
from pathlib import Path

import grpc
from vramd_common.rendezvous import PROTOCOL, Hello, Orders
from vramd_proto.internal.v1.worker_pb2_grpc import add_WorkerServiceServicer_to_server

from vramd_worker.engines import Engines
from vramd_worker.server import WorkerServicer

FAULT = 70
"""Exit code after an exception in a thread."""

MOST_MESSAGE_BYTES = 64 * 1024 * 1024

SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
    # A long prompt is a quiet stream: the supervisor's pings must not be taken for an attack.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)


def run(orders_line: bytes, hello_fd: int) -> None:
    """Serves until the process is ended. Called once, by `boot`, in the main thread."""
    faulthandler.enable()
    # Ctrl-C in the supervisor's terminal is the supervisor's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = _end_with_thread
    asyncio.run(_serve(Orders.parse(orders_line), hello_fd))


async def _serve(orders: Orders, hello_fd: int) -> None:
    engines = Engines.find(orders.untested_engine)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_WorkerServiceServicer_to_server(WorkerServicer(orders.nonce, engines.build), server)
    address = _listen(server, orders.socket_dir)
    await server.start()
    hello = Hello(
        PROTOCOL, orders.nonce, os.getpid(), address, engines.llama_version, engines.llama_problem, engines.backends
    )
    os.write(hello_fd, hello.line())
    os.close(hello_fd)
    await server.wait_for_termination()


def _listen(server: grpc.aio.Server, socket_dir: str) -> str:
    """Binds, and returns the target that reaches it. Raises RuntimeError if the system refuses."""
    if not socket_dir:
        return f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    # Never the name of an earlier worker: binding would take over its socket without an error.
    address = f"unix:{Path(socket_dir) / f'{os.getpid()}.{secrets.token_hex(4)}'}"
    server.add_insecure_port(address)
    return address


def _end_with_thread(unhandled: threading.ExceptHookArgs) -> None:
    """A thread that ended by an exception leaves its requests waiting for ever; a dead process fails them at once."""
    threading.__excepthook__(unhandled)
    os._exit(FAULT)
