"""InferenceService: checks a request, waits for its grant, and relays the worker's bytes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message
from vramd_common.timeline import KEY, Told, pack
from vramd_proto.internal.v1.worker_pb2 import WorkerChatRequest, WorkerEmbedRequest, WorkerGenerateRequest
from vramd_proto.v1 import inference_pb2 as public
from vramd_proto.v1 import load_pb2, model_pb2

from ..core.actions import Grant
from ..core.events import Requested
from ..core.state import RequestKind
from ..domain.errors import Refusal, RefusedError
from ..loop import Ticket
from ..quoting.abilities import Ability
from ..wire_status import Context, incident, time_left_s
from ..workers.breach import BreachError
from ..workers.process import EXIT_SEEN_S
from ..workers.worker_client import Answer, Reply, WorkerClient
from . import enums, validation
from .parts import Parts

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
    """How a public method reaches a worker. Its functions take the one kind of request that it has."""

    name: str
    request: Callable[[bytes], AnyRequest]
    check: Callable[[Any], None]
    wrap: Callable[[Any, int], Message]
    """The private request, with the CPU threads granted."""
    streams: bool
    needs: Ability | None = None
    """An ability that the model must have."""


METHODS = (
    Method(
        "Generate",
        public.GenerateRequest.FromString,
        validation.generate,
        lambda request, threads: WorkerGenerateRequest(request=request, threads=threads),
        streams=True,
        needs=Ability.TEXT,
    ),
    Method(
        "Chat",
        public.ChatRequest.FromString,
        validation.chat,
        lambda request, threads: WorkerChatRequest(request=request, threads=threads),
        streams=True,
        needs=Ability.CHAT,
    ),
    Method(
        "Embed",
        public.EmbedRequest.FromString,
        validation.embed,
        lambda request, threads: WorkerEmbedRequest(request=request, threads=threads),
        streams=False,
        needs=Ability.VECTORS,
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


@dataclass(frozen=True)
class Place:
    """A request that may run, and where."""

    ticket: Ticket
    client: WorkerClient
    request: Message
    """As it goes to the worker."""
    model: str
    grant: Grant

    def timeline(self, worked: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
        """The trailing metadata of its answer; `worked` are the seconds of the worker's phases."""
        return trailing(self.model, self.grant.worker_id, self.grant.timeline, worked)


class InferenceService:
    """Made by the composition root; `handlers` is what the server serves."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._loop = parts, parts.loop

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods by name. Replies are bytes already, so nothing serializes them."""
        return grpc.method_handlers_generic_handler(SERVICE, {method.name: self._handler(method) for method in METHODS})

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[AnyRequest, bytes]":
        if method.streams:

            async def stream(request: AnyRequest, context: Context) -> None:
                async with self._granted(method, request, context) as place:
                    await self._relay(place, place.client.stream(method.name, place.request), context)

            return grpc.unary_stream_rpc_method_handler(stream, method.request)

        async def unary(request: AnyRequest, context: Context) -> bytes:
            async with self._granted(method, request, context) as place:
                call = place.client.ask(method.name, place.request)
                began_s = self._loop.now_s()
                async with _broken_off(place.ticket, call):
                    answer = await call
                    worked = {"prompt_s": self._loop.now_s() - began_s}
                    context.set_trailing_metadata(place.timeline(worked))
                    return answer
            raise AssertionError("a block that returns has ended")

        return grpc.unary_unary_rpc_method_handler(unary, method.request)

    @asynccontextmanager
    async def _granted(self, method: Method, request: AnyRequest, context: Context) -> AsyncIterator[Place]:
        """The request as long as it has its place. Raises RefusedError."""
        method.check(request)
        options = validation.load_options(request.load)
        scheduling = getattr(request, "scheduling", None) or load_pb2.Scheduling()
        priority = validation.priority("scheduling.priority", scheduling.priority)
        vectors, light_now = method.needs is Ability.VECTORS, scheduling.prefer == load_pb2.PREFER_LIGHT_NOW
        request.model = await self._parts.selector.resolve(request.model, options, light_now=light_now, vectors=vectors)
        limit_s = time_left_s(context, self._parts.request_deadline_s)
        progress = scheduling.progress and method.streams
        event = partial(
            Requested,
            model=request.model,
            kind=RequestKind.RUN,
            limit_s=limit_s,
            options=options,
            priority=priority,
            progress=progress,
            needs=method.needs,
        )
        async with self._loop.request(event) as ticket:
            if progress:
                await _tell_progress(ticket, context)
            grant = await ticket.outcome
            assert isinstance(grant, Grant)
            client = self._parts.workers.client(grant.worker_id)
            yield Place(ticket, client, method.wrap(request, grant.threads), request.model, grant)

    async def _relay(self, place: Place, call: Answer, context: Context) -> None:
        """Relays each message as it comes."""
        async with _broken_off(place.ticket, call):
            last = b""
            async for message in call:
                await context.write(message)
                if not last:
                    self._loop.streamed(place.ticket)
                last = message
            context.set_trailing_metadata(place.timeline(generated(last)))


async def _tell_progress(ticket: Ticket, context: Context) -> None:
    """Writes what the request waits for, until it is granted or refused."""
    async for report in ticket.reports():
        if ticket.outcome.done():
            return
        waiting = model_pb2.Waiting(
            ahead=report.ahead,
            message=report.message,
            progress=report.share,
            state=enums.STATES[report.state],
            awaited=enums.AWAITED[report.awaited],
        )
        # The field has one number in the messages of both streams.
        await context.write(public.ChatResponse(waiting=waiting).SerializeToString())


@asynccontextmanager
async def _broken_off(
    ticket: Ticket,
    call: Answer | Reply,
) -> AsyncIterator[None]:
    """A call to a worker, ended when the request is ended, with the reason the core gives. Raises RefusedError."""
    ticket.on_abort = call.cancel
    if ticket.aborted:
        call.cancel()
    try:
        yield
    except asyncio.CancelledError:
        if ticket.aborted:
            raise RefusedError(ticket.aborted) from None
        raise
    except BreachError as error:
        raise RefusedError(await _why(ticket, error)) from error
    finally:
        call.cancel()


async def _why(ticket: Ticket, error: BreachError) -> Refusal:
    """Returns how the process ended: it has died, or is being killed, and the core reports it once the exit is seen."""
    if aborted := await ticket.wait_aborted(EXIT_SEEN_S):
        return aborted
    incident_id, why = incident("the connection to a worker broke, and the worker cannot be ended")
    log.error("incident %s: %s", incident_id, error)
    return why


def trailing(
    model: str, worker_id: int, until_grant: Mapping[str, float], worked: Mapping[str, float]
) -> tuple[tuple[str, str], ...]:
    """The trailing metadata; `until_grant` and `worked` are seconds by the names of the phases."""
    return ((KEY, pack(Told(model, worker_id, {**until_grant, **worked}))),)


def generated(last: bytes) -> Mapping[str, float]:
    """Reads the worker's seconds for an answer from the last message of its stream; nothing if it does not say.

    Generate and Chat end alike: `finish` has one number in both messages, so that one of them reads both.
    """
    message = public.ChatResponse.FromString(last)
    if not message.HasField("finish"):
        return {}
    return {"prompt_s": message.finish.usage.prompt_s, "decode_s": message.finish.usage.generation_s}
