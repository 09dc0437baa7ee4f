"""The cheapest relay between a client and a worker, as a separate process: bytes in, bytes out, for comparison.

Run as `python -m vramd_bench.relay`. Its orders are one line of JSON on stdin, `target` and `nonce`; it answers with
its port in one line, and leaves when its stdin ends.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import grpc
from vramd_common.rendezvous import NONCE_KEY

STREAMS = ("Generate",)
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Relay(grpc.GenericRpcHandler):
    """Hands every call on to the target under the same name."""

    def __init__(self, channel: grpc.aio.Channel, nonce: str) -> None:
        self._channel = channel
        self._metadata = ((NONCE_KEY, nonce),)
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        method = handler_call_details.method
        if method not in self._handlers:
            streams = method.rpartition("/")[2] in STREAMS
            self._handlers[method] = self._streamed(method) if streams else self._unary(method)
        return self._handlers[method]

    def _unary(self, method: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method)

        async def relay(request: bytes, context: Context) -> bytes:  # noqa: ARG001  the library's signature
            return await ask(request, metadata=self._metadata)

        return grpc.unary_unary_rpc_method_handler(relay)

    def _streamed(self, method: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(method)

        async def relay(request: bytes, context: Context) -> None:
            async for message in ask(request, metadata=self._metadata):
                await context.write(message)

        behavior: Callable[[bytes, Context], Awaitable[None]] = relay
        return grpc.unary_stream_rpc_method_handler(behavior)


async def serve(target: str, nonce: str) -> None:
    """Says its port, and serves until the process ends."""
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((Relay(channel, nonce),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await server.wait_for_termination()


def _leave_with_parent() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    orders = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    asyncio.run(serve(str(orders["target"]), str(orders["nonce"])))
