"""What comes in without the token, and what is no message: over a real port, in this process."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from support import raw_http2
from vramd_common.heap import Heap
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2
from vramd_proto.v1.model_pb2 import GetModelRequest
from vramd_supervisor.domain.errors import refusal
from vramd_supervisor.services import unauthenticated, writing
from vramd_supervisor.services.activity import Activity
from vramd_supervisor.services.auth_interceptor import AuthInterceptor
from vramd_supervisor.services.scopes import SCOPES, Scope, scope_of
from vramd_supervisor.services.steady_server import steady_server
from vramd_supervisor.wire_status import Context

BOUND_S = 20.0
TOKENS = {Scope.ADMIN: "right", Scope.USE: "use-only"}
TOKEN = (("authorization", "Bearer right"),)
USE_TOKEN = (("authorization", "Bearer use-only"),)
LARGE = bytes(9 * 1024 * 1024)
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
LIST = "/grpc.health.v1.Health/List"
JUNK = {
    "ones": b"\xff" * 50,
    "text that is no UTF-8": b"\x0a\x02\xff\xfe",
    "cut off": GetModelRequest(model="companion").SerializeToString()[:-3],
    "a group without end": b"\x0b",
}


@pytest.fixture(autouse=True)
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stranger sends at once is not late because the machine is busy."""
    monkeypatch.setattr(unauthenticated, "READING_S", BOUND_S)


class Echo(grpc.GenericRpcHandler):
    """Two methods that take a GetModelRequest and give its model."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ended = asyncio.Event()
        """The large answer is given up, or whole."""

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[GetModelRequest, bytes] | None":
        async def unary(request: GetModelRequest, _: object) -> bytes:
            self.seen.append(request.model)
            if request.model == "missing":
                raise NotImplementedError
            return request.model.encode()

        async def stream(request: GetModelRequest, _: object) -> AsyncIterator[bytes]:
            self.seen.append(request.model)
            yield request.model.encode()

        async def large(_: GetModelRequest, context: object) -> AsyncIterator[bytes]:
            try:
                for __ in range(64):
                    yield bytes(1 << 20)
            finally:
                self.ended.set()

        if call.method == "/a/Large":
            return grpc.unary_stream_rpc_method_handler(large, GetModelRequest.FromString)
        if call.method == "/a/Unary":
            return grpc.unary_unary_rpc_method_handler(unary, GetModelRequest.FromString)
        if call.method == "/a/Stream":
            return grpc.unary_stream_rpc_method_handler(stream, GetModelRequest.FromString)
        return None


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Echo, grpc.aio.Channel, str]]:
    echo = Echo()
    server = steady_server(
        (AuthInterceptor(TOKENS, Activity(time.monotonic)),),
        (("grpc.max_receive_message_length", 16 * 1024 * 1024),),
        lambda: None,
    )
    server.add_generic_rpc_handlers((echo,))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    reflection.enable_server_reflection([health.SERVICE_NAME], server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield echo, channel, address
    finally:
        await server.stop(None)


Metadata = tuple[tuple[str, str], ...]


def begun(
    channel: grpc.aio.Channel, method: str, message: bytes, metadata: Metadata = ()
) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    asking: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
    return asking(message, metadata=metadata, timeout=BOUND_S)


async def outcome(channel: grpc.aio.Channel, method: str, message: bytes, metadata: Metadata = ()) -> tuple[str, str]:
    """Status code and reason of the first answer to a call, whatever its kind."""
    try:
        call = begun(channel, method, message, metadata)
        await call.read()
        if method == WATCH:
            call.cancel()
            return "OK", ""
        code = await call.code()
    except grpc.aio.AioRpcError as error:
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        info = ErrorInfo()
        if isinstance(details, bytes):
            Status.FromString(details).details[0].Unpack(info)
        return error.code().name, info.reason
    return code.name, ""


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("method", ["/a/Unary", "/a/Stream", REFLECTION, CHECK, WATCH])
async def test_junk_is_the_callers_fault(method: str, junk: str, caplog: pytest.LogCaptureFixture) -> None:
    async with served() as (echo, channel, _):
        answer = await outcome(channel, method, JUNK[junk], TOKEN)
        assert answer == ("INVALID_ARGUMENT", "REQUEST_UNREADABLE")
        if method in (CHECK, WATCH):
            assert await outcome(channel, method, JUNK[junk]) == answer
        assert not echo.seen
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("method", ["/a/Unary", "/a/Stream", REFLECTION])
@pytest.mark.parametrize("message", [b"", JUNK["ones"], LARGE], ids=["nothing", "junk", "large"])
async def test_without_the_token_nothing_is_read(method: str, message: bytes) -> None:
    async with served() as (echo, channel, _):
        assert await outcome(channel, method, message) == ("UNAUTHENTICATED", "TOKEN_MISSING")
        assert not echo.seen


async def test_a_stranger_who_sends_nothing_is_refused_at_once() -> None:
    async with served() as (_, __, address):

        def silent() -> bytes:
            with raw_http2.connection(address, raw_http2.HELLO + raw_http2.head(b"/a/Unary")) as sock:
                heard = b""
                while b"no token" not in heard:
                    more = sock.recv(4096)
                    assert more, heard
                    heard += more
            return heard

        assert await asyncio.to_thread(silent)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("Bearer right", ""),
        ("bearer right", ""),
        ("BEARER  right", ""),
        ("Bearer wrong", "TOKEN_INVALID"),
        ("right", "TOKEN_INVALID"),
        ("Basic right", "TOKEN_INVALID"),
        ("Bearer", "TOKEN_INVALID"),
        ("", "TOKEN_INVALID"),
    ],
)
async def test_forms_of_the_token(given: str, reason: str) -> None:
    async with served() as (_, channel, __):
        code, said = await outcome(channel, "/a/Unary", b"\x0a\x01m", (("authorization", given),))
        assert (code, said) == ("UNAUTHENTICATED" if reason else "OK", reason)


@pytest.mark.parametrize("method", [CHECK, WATCH])
async def test_a_stranger_may_send_little_to_an_open_method(method: str) -> None:
    name = health_pb2.HealthCheckRequest(service="x" * unauthenticated.MOST_REQUEST_BYTES).SerializeToString()

    async with served() as (_, channel, __):
        answers = await asyncio.gather(*(outcome(channel, method, message) for message in (name, LARGE, b"") * 3))
        too_large = ("INVALID_ARGUMENT", "PROMPT_TOO_LARGE")
        assert answers == [too_large, too_large, ("OK", "")] * 3


async def test_strangers_who_never_finish_give_way_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, all_taken = 0, asyncio.Event()
    strangers = 2 * unauthenticated.MOST_READING

    def bounded(reading: set[asyncio.Future[object]], *, timeout: float) -> Awaitable[object]:
        """The first are those who never finish; who asks behind them has all the time."""
        nonlocal begun
        begun += 1
        if begun == unauthenticated.MOST_READING:
            all_taken.set()
        return asyncio.wait(reading, timeout=0.25 if begun <= strangers else timeout)

    async with served() as (_, channel, address):
        heads = (raw_http2.head(CHECK.encode(), stream=1 + 2 * number) for number in range(strangers))
        bounds = SimpleNamespace(wait=bounded, ensure_future=asyncio.ensure_future)
        monkeypatch.setattr(unauthenticated, "asyncio", bounds)
        with raw_http2.connection(address, raw_http2.HELLO + b"".join(heads)):
            await asyncio.wait_for(all_taken.wait(), BOUND_S)
            assert await outcome(channel, CHECK, b"") == ("OK", "")


async def test_a_request_that_came_while_the_event_loop_was_held_up_is_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unauthenticated, "READING_S", 0.05)
    came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    reading = asyncio.Event()

    async def read() -> bytes:
        reading.set()
        return await came

    async def asked() -> bytes:
        strangers = unauthenticated.UnauthenticatedCalls(Heap())
        why = refusal(Reason.TOKEN_MISSING, "no token")
        async with strangers.one(cast(Context, SimpleNamespace(read=read)), why) as request:
            return request

    asking = asyncio.ensure_future(asked())
    await reading.wait()
    asyncio.get_running_loop().call_soon(came.set_result, b"here")
    time.sleep(0.1)
    assert await asking == b"here"


async def test_watches_of_strangers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unauthenticated, "MOST_CALLS", 2)

    async with served() as (_, channel, __):
        watches = [begun(channel, WATCH, b"") for _ in range(2)]
        for watch in watches:
            await watch.read()
        assert await outcome(channel, WATCH, b"") == ("UNAUTHENTICATED", "TOKEN_MISSING")
        assert await outcome(channel, WATCH, b"", TOKEN) == ("OK", "")


async def test_a_method_that_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    async with served() as (_, channel, __):
        for method, message in (
            ("/grpc.health.v1.Health/List", b""),
            ("/a/NoSuch", b""),
            ("/a/Unary", GetModelRequest(model="missing").SerializeToString()),
        ):
            assert (await outcome(channel, method, message, TOKEN))[0] == "UNIMPLEMENTED"
    assert "Traceback" not in caplog.text


def test_every_method_has_a_scope_and_no_other_is_in_the_table() -> None:
    files = (inference_pb2, model_pb2, supervisor_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    own = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert {path for path in SCOPES if path.startswith("/vramd.")} == own
    assert {path for path, scope in SCOPES.items() if scope is Scope.NONE} == {CHECK, WATCH, LIST}
    assert scope_of("/a/Unary") is Scope.ADMIN, "what the table does not have is for administration"


async def test_a_token_for_use_opens_what_is_for_use() -> None:
    async with served() as (echo, channel, _):
        message = GetModelRequest(model="m").SerializeToString()
        for method in ("/a/Unary", "/a/Stream"):
            assert await outcome(channel, method, message, USE_TOKEN) == ("PERMISSION_DENIED", "SCOPE_DENIED")
            assert await outcome(channel, method, LARGE, USE_TOKEN) == ("PERMISSION_DENIED", "SCOPE_DENIED")
        assert not echo.seen
        assert await outcome(channel, CHECK, b"", USE_TOKEN) == ("OK", "")
        assert (await outcome(channel, REFLECTION, b"", USE_TOKEN))[0] == "OK"


async def test_a_caller_that_reads_nothing_is_given_up_and_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "STALL_S", 0.2)
    async with served() as (echo, channel, _):
        call = begun(channel, "/a/Large", b"", TOKEN)
        await asyncio.wait_for(echo.ended.wait(), BOUND_S)
        monkeypatch.undo()
        assert await outcome(channel, "/a/Unary", b"", TOKEN) == ("OK", "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            read = 0
            async for message in call:
                read += len(message)
        assert read < 64 << 20
        assert (caught.value.code().name, "was read for 0.2 s" in (caught.value.details() or "")) == ("ABORTED", True)


async def test_a_caller_that_reads_gets_all() -> None:
    async with served() as (_, channel, __):
        call = begun(channel, "/a/Large", b"", TOKEN)
        assert sum([len(message) async for message in call]) == 64 << 20
        assert (await call.code()).name == "OK"
