"""InferenceService: checks a request, waits for its grant, hands the worker's bytes through. Decides nothing."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from vramd_proto.v1 import inference_pb2 as public
from vramd_proto.v1.worker_pb2 import WorkerChatRequest, WorkerEmbedRequest, WorkerGenerateRequest

from ..core.errors import Refusal, RefusedError
from ..core.state import RequestKind
from ..loop import Granted, Loop, Ticket
from ..workers.process import EXIT_SEEN_S
from ..workers.worker_client import WorkerClient
from . import validation
from .status import Context, from_worker, incident

log = logging.getLogger(__name__)

SERVICE = "vramd.v1.InferenceService"

AnyRequest = (
    public.GenerateRequest
    | public.ChatRequest
    | public.EmbedRequest
    | public.TokenizeRequest
    | public.DetokenizeRequest
)


@dataclass(frozen=True)
class Method:
    """How one public method is taken to a worker. The functions take the one kind of request that the method has."""

    name: str
    request: Callable[[bytes], AnyRequest]
    check: Callable[[Any], None]
    wrap: Callable[[Any, int], Message]
    """The private request, with the CPU threads granted."""
    streams: bool


METHODS = (
    Method(
        "Generate",
        public.GenerateRequest.FromString,
        validation.generate,
        lambda request, threads: WorkerGenerateRequest(request=request, threads=threads),
        streams=True,
    ),
    Method(
        "Chat",
        public.ChatRequest.FromString,
        validation.chat,
        lambda request, threads: WorkerChatRequest(request=request, threads=threads),
        streams=True,
    ),
    Method(
        "Embed",
        public.EmbedRequest.FromString,
        validation.embed,
        lambda request, threads: WorkerEmbedRequest(request=request, threads=threads),
        streams=False,
    ),
    Method(
        "Tokenize", public.TokenizeRequest.FromString, validation.tokenize, lambda request, _: request, streams=False
    ),
    Method(
        "Detokenize",
        public.DetokenizeRequest.FromString,
        validation.detokenize,
        lambda request, _: request,
        streams=False,
    ),
)


class InferenceService:
    """Made by the composition root; `handlers` is what the server serves."""

    def __init__(self, loop: Loop, client_of: Callable[[int], WorkerClient], request_deadline_s: float) -> None:
        self._loop = loop
        self._client_of = client_of
        self._request_deadline_s = request_deadline_s

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods by name. Replies are bytes already, so nothing serializes them."""
        return grpc.method_handlers_generic_handler(SERVICE, {method.name: self._handler(method) for method in METHODS})

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[AnyRequest, bytes]":
        if method.streams:

            async def stream(request: AnyRequest, context: Context) -> None:
                async with self._granted(method, request, context) as (ticket, client, private):
                    await self._relay(ticket, client.stream(method.name, private), context)

            return grpc.unary_stream_rpc_method_handler(stream, method.request)

        async def unary(request: AnyRequest, context: Context) -> bytes:
            async with self._granted(method, request, context) as (ticket, client, private):
                call = client.ask(method.name, private)
                async with _broken_off(ticket, call):
                    return await call
            raise AssertionError("a block that returns has ended")

        return grpc.unary_unary_rpc_method_handler(unary, method.request)

    @asynccontextmanager
    async def _granted(
        self, method: Method, request: AnyRequest, context: Context
    ) -> AsyncIterator[tuple[Ticket, WorkerClient, Message]]:
        """The request as long as it has its place. Raises RefusedError."""
        method.check(request)
        options = validation.load_options(request.load)
        limit_s = min(context.time_remaining() or math.inf, self._request_deadline_s)
        async with self._loop.asked(request.model, RequestKind.RUN, limit_s, options) as ticket:
            grant = await ticket.outcome
            assert isinstance(grant, Granted)
            yield ticket, self._client_of(grant.incarnation), method.wrap(request, grant.threads)

    async def _relay(self, ticket: Ticket, call: "grpc.aio.UnaryStreamCall[Message, bytes]", context: Context) -> None:
        """Hands each message on as it comes."""
        async with _broken_off(ticket, call):
            first = True
            async for message in call:
                await context.write(message)
                if first:
                    self._loop.streamed(ticket)
                    first = False


@asynccontextmanager
async def _broken_off(
    ticket: Ticket,
    call: "grpc.aio.UnaryStreamCall[Message, bytes] | grpc.aio.UnaryUnaryCall[Message, bytes]",
) -> AsyncIterator[None]:
    """A call to a worker, ended when the request is ended, with the reason the core gives. Raises RefusedError."""
    ticket.on_lost = call.cancel
    if ticket.lost:
        call.cancel()
    try:
        yield
    except asyncio.CancelledError:
        if ticket.lost:
            raise RefusedError(ticket.lost) from None
        raise
    except grpc.aio.AioRpcError as error:
        raise RefusedError(await _why(ticket, error)) from error
    finally:
        call.cancel()


async def _why(ticket: Ticket, error: grpc.aio.AioRpcError) -> Refusal:
    """What the worker said, else how its process ended, which the core tells once the exit is seen."""
    if said := from_worker(error):
        return said
    if lost := await ticket.loss(EXIT_SEEN_S):
        return lost
    incident_id, why = incident("the connection to a worker broke, and the worker lives")
    log.error("incident %s: %s", incident_id, error)
    return why
