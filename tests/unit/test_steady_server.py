"""The server in this process: whatever the path of a call, who comes later is served, and who is served goes on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from support import raw_http2
from vramd_supervisor.services.steady_server import LIBRARY_LOG, MOST_LINES, Sparing, steady_server

BOUND_S = 20.0
PATHS = {
    "a lone byte": b"/\xff",
    "a method that is none": b"/vramd.v1.SupervisorService/\xfe\xed",
    "an overlong slash": b"\xc0\xaf",
    "half of a surrogate": b"/a/\xed\xa0\x80",
    "cut off in a character": b"/a/caf\xc3",
}


class Method(grpc.GenericRpcHandler):
    """Every path is a method: it counts up to 3, the last when it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    def service(self, _: object) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def count(_: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
            await context.write(b"1")
            await context.write(b"2")
            await self.go.wait()
            await context.write(b"3")

        return grpc.unary_stream_rpc_method_handler(count)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Method, str, list[str]]]:
    """The method, its address, and what was said of an end of the server."""
    failed: list[str] = []
    server = steady_server((), (("grpc.so_reuseport", 0),), lambda: failed.append("failed"))
    method = Method()
    server.add_generic_rpc_handlers((method,))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield method, address, failed
    finally:
        method.go.set()
        await asyncio.wait_for(server.stop(None), BOUND_S)


def counting(channel: grpc.aio.Channel) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/a/Count")
    return method(b"", timeout=BOUND_S)


async def first_of_a_newcomer(address: str) -> bytes:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        first = await counting(channel).read()
        assert isinstance(first, bytes)
        return first


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_stops_the_accepting(path: str) -> None:
    async with served() as (method, address, failed), grpc.aio.insecure_channel(address) as channel:
        running = counting(channel)
        assert await running.read() == b"1"
        await asyncio.to_thread(raw_http2.throw, address, raw_http2.HELLO + raw_http2.call(PATHS[path]))
        assert await first_of_a_newcomer(address) == b"1"
        method.go.set()
        assert [await running.read(), await running.read(), await running.read()] == [b"2", b"3", grpc.aio.EOF]
    assert not failed


async def test_many_such_calls_between_good_ones() -> None:
    async with served() as (_, address, failed):
        for bad in range(5):
            calls = b"".join(raw_http2.call(b"/\xff", stream=1 + 2 * number) for number in range(20 * bad))
            await asyncio.to_thread(raw_http2.throw, address, raw_http2.HELLO + calls + raw_http2.call(b"/\xff"))
            assert await asyncio.gather(*(first_of_a_newcomer(address) for _ in range(3))) == [b"1"] * 3
    assert not failed


def test_an_end_of_another_cause_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may believe in a server that hears nobody."""

    async def main() -> None:
        failed = asyncio.Event()
        server = steady_server((), (), failed.set)

        async def broken() -> None:
            raise RuntimeError("out of something")

        inner = server._server
        inner._request_call = broken
        server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await asyncio.wait_for(failed.wait(), BOUND_S)

    monkeypatch.setattr(LIBRARY_LOG, "disabled", True)
    asyncio.run(main())


class Heard(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.emit = records.append  # type: ignore[method-assign,assignment]


def test_the_librarys_log_is_short() -> None:
    heard: list[logging.LogRecord] = []
    log = logging.Logger("a library")
    log.addHandler(Heard(heard))
    log.addFilter(Sparing())
    for number in range(100):
        try:
            raise ValueError(number)
        except ValueError:
            log.exception("no %d", number)
    assert [record.getMessage() for record in heard] == [f"no {number}" for number in range(MOST_LINES)]
    assert not any(record.exc_info for record in heard)
