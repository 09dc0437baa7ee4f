"""InferenceService: checks a request, waits for its grant, and relays the worker's bytes."""

import asyncio
import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any

import grpc
from google.protobuf.message import Message
from vramd_common.replay import MOST_REPLAYED_TOKENS
from vramd_common.sampling import DELIVERY
from vramd_common.timeline import APPROXIMATE, EXACT, KEY, Told, pack
from vramd_proto.internal.v1.worker_pb2 import (
    WorkerChatRequest,
    WorkerCuts,
    WorkerEmbedRequest,
    WorkerGenerateRequest,
)
from vramd_proto.v1 import inference_pb2 as public
from vramd_proto.v1 import load_pb2, model_pb2

from ..core.actions import Grant
from ..core.events import Requested
from ..core.state import RequestKind
from ..domain.errors import Refusal, RefusedError, cannot_go_on
from ..loop import Ticket
from ..quoting.abilities import Ability
from ..wire_status import Context, incident, time_left_s
from ..workers.breach import BreachError
from ..workers.process import EXIT_SEEN_S
from ..workers.worker_client import Answer, Reply, WorkerClient
from . import validation
from .bearer import token_of
from .delivered import Delivered
from .enums import filled
from .parts import Parts
from .writing import write

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


_OF_DELIVERY = frozenset({"scheduling", *(row.field for row in DELIVERY)})
"""Fields of a request that change nothing of what is computed."""


class _InterruptedError(Exception):
    """A call to a worker was broken off, as its process is lost; the request waits for another."""


class Asked:
    """A request that was accepted: where it runs, and what its caller has had so far."""

    def __init__(self, ticket: Ticket, method: Method, request: AnyRequest, scope: str, progress: bool) -> None:
        """`scope` stands for its caller's token."""
        self.ticket, self.method, self.model = ticket, method, request.model
        self._request, self._scope = request, scope
        self.progress = progress
        """Its caller wants to hear what it waits for."""
        self.delivered = Delivered()
        self.grant: Grant
        self.until_grant: Mapping[str, float] = {}
        """Seconds that it waited for its first grant, by phase."""
        self.lost: Refusal | None = None
        """Why it lost its last process."""
        self.resumes = 0
        self.exact = True
        self.cuts: WorkerCuts | None = None
        """How its last worker computed the prompt, if it can be computed again like that."""
        # If the worker drew it, no other could go on from it.
        self._drawn_seed = secrets.randbits(32)

    def granted(self, grant: Grant) -> None:
        """It runs from now on."""
        if not self.resumes:
            self.until_grant = grant.timeline
        self.grant = grant

    def interrupted(self, why: Refusal) -> None:
        """Its process is lost. Raises RefusedError if it cannot go on in another."""
        self.lost = why
        self.ticket.wait_again()
        self.resumes += 1
        if not self.delivered.is_whole:
            text = "the answer has become too long to be kept"
            raise RefusedError(cannot_go_on(why, Refusal(why.reason, text)))

    def message(self) -> Message:
        """The request as it goes to the worker."""
        message = self.method.wrap(self._request, self.grant.threads)
        if isinstance(message, WorkerGenerateRequest | WorkerChatRequest):
            message.scope, message.drawn_seed = self._scope, self._drawn_seed
            if self.resumes:
                message.resume_token_ids.extend(self.delivered.token_ids())
                if self.cuts is not None and self.grant.alike:
                    message.resume_cuts.CopyFrom(self.cuts)
        return message

    def trailer(self, worked: Mapping[str, float], cached_prompt_tokens: int = 0) -> tuple[tuple[str, str], ...]:
        """The trailing metadata of its answer; `worked` are the seconds of the worker's phases."""
        seconds = {**self.until_grant, **worked}
        resume = (EXACT if self.exact else APPROXIMATE) if self.resumes else ""
        return trailing(Told(self.model, self.grant.worker_id, seconds, self.resumes, resume, cached_prompt_tokens))

    def explained(self, why: Refusal) -> Refusal:
        """A refusal with what the caller has had before."""
        tokens = self.delivered.tokens
        return replace(why, metadata={**why.metadata, "tokensSent": str(tokens)}) if tokens else why


class InferenceService:
    """Made by the composition root; `handlers` is what the server serves."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._loop = parts, parts.loop
        self._key = secrets.token_bytes(32)
        """Of digests; stored nowhere, so that they say nothing of a text or a token."""

    def _fingerprint(self, method: Method, request: AnyRequest) -> str:
        """Stands for a request's text and settings, however it waits and is delivered."""
        same: Any = type(request)()
        same.CopyFrom(request)
        for field in _OF_DELIVERY.intersection(same.DESCRIPTOR.fields_by_name):
            same.ClearField(field)
        return self._digest(b"request", method.name.encode() + same.SerializeToString(deterministic=True))

    def _scope(self, context: Context) -> str:
        """Stands for the token of a call."""
        return self._digest(b"token", token_of(context.invocation_metadata()))

    def _digest(self, of: bytes, data: bytes) -> str:
        return blake2b(data, key=self._key, person=of, digest_size=16).hexdigest()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods by name. Replies are bytes already, so nothing serializes them."""
        return grpc.method_handlers_generic_handler(SERVICE, {method.name: self._handler(method) for method in METHODS})

    def _handler(self, method: Method) -> "grpc.RpcMethodHandler[AnyRequest, bytes]":
        if method.streams:

            async def stream(request: AnyRequest, context: Context) -> None:
                async with self._asked(method, request, context) as asked:
                    while True:
                        client = await self._granted(asked, context)
                        call = client.stream(method.name, asked.message())
                        if await self._relay(asked, call, context):
                            break
                    context.set_trailing_metadata(asked.trailer(*generated(asked.delivered.last)))

            return grpc.unary_stream_rpc_method_handler(stream, method.request)

        async def unary(request: AnyRequest, context: Context) -> bytes:
            async with self._asked(method, request, context) as asked:
                while True:
                    client = await self._granted(asked, context)
                    began_s = self._loop.now_s()
                    answer = await self._answer(asked, client.ask(method.name, asked.message()))
                    if answer is not None:
                        break
                context.set_trailing_metadata(asked.trailer({"prompt_s": self._loop.now_s() - began_s}))
            return answer

        return grpc.unary_unary_rpc_method_handler(unary, method.request)

    @asynccontextmanager
    async def _asked(self, method: Method, request: AnyRequest, context: Context) -> AsyncIterator[Asked]:
        """The request until it ends. Raises RefusedError."""
        method.check(request)
        options = validation.load_options(request.load)
        scheduling = getattr(request, "scheduling", None) or load_pb2.Scheduling()
        priority = validation.priority(scheduling.priority)
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
            resume=validation.resumes(scheduling.on_crash),
            fingerprint=self._fingerprint(method, request),
        )
        async with self._loop.request(event) as ticket:
            asked = Asked(ticket, method, request, self._scope(context), progress)
            try:
                yield asked
            except RefusedError as refused:
                raise RefusedError(asked.explained(refused.refusal)) from refused

    async def _granted(self, asked: Asked, context: Context) -> WorkerClient:
        """Waits for the grant; returns the channel to the worker. Raises RefusedError."""
        if asked.progress:
            await _tell_progress(asked.ticket, context)
        grant = await asked.ticket.outcome
        while why := asked.ticket.interrupted:  # the process died before this task was waked
            asked.interrupted(why)
            grant = await asked.ticket.outcome
        if asked.ticket.aborted:  # so was it before this task was waked
            raise RefusedError(asked.ticket.aborted)
        assert isinstance(grant, Grant)
        asked.granted(grant)
        if asked.resumes:
            tokens = asked.delivered.tokens
            as_it_was = tokens <= MOST_REPLAYED_TOKENS and (asked.cuts is not None or not tokens)
            asked.exact = asked.exact and grant.alike and as_it_was
            self._loop.resumed(asked.ticket, tokens, exact=asked.exact)
        return self._parts.workers.client(grant.worker_id)

    async def _relay(self, asked: Asked, call: Answer, context: Context) -> bool:
        """Relays each message as it comes; whether the last has come: else the answer was interrupted."""
        begun = False
        try:
            async with _broken_off(asked, call):
                async for message in call:
                    asked.delivered.add(message)
                    if not begun:
                        asked.cuts = call.cuts
                        self._loop.streamed(asked.ticket)
                        begun = True
                    await write(context, message)
        except _InterruptedError:
            return False
        return True

    @staticmethod
    async def _answer(asked: Asked, call: Reply) -> bytes | None:
        """Waits for the answer; None if the request was interrupted."""
        try:
            async with _broken_off(asked, call):
                return await call
        except _InterruptedError:
            pass
        return None


async def _tell_progress(ticket: Ticket, context: Context) -> None:
    """Writes what the request waits for, until it is granted or refused."""
    async for report in ticket.reports():
        if ticket.outcome.done():
            return
        waiting = filled(model_pb2.Waiting, report, progress=report.share)
        # The field has one number in the messages of both streams.
        await write(context, public.ChatResponse(waiting=waiting).SerializeToString())


@asynccontextmanager
async def _broken_off(asked: Asked, call: Answer | Reply) -> AsyncIterator[None]:
    """A call to a worker, ended when the request is ended or interrupted, with the reason the core gives.

    Raises RefusedError and _InterruptedError; neither once the caller has the whole answer.
    """
    ticket = asked.ticket
    ticket.on_abort = call.cancel
    if ticket.aborted or ticket.interrupted:
        call.cancel()
    try:
        yield
    except asyncio.CancelledError:
        if not (ticket.aborted or ticket.interrupted) or _caller_left():
            raise
    except RefusedError as error:
        if asked.lost and asked.delivered.last:
            raise RefusedError(cannot_go_on(asked.lost, error.refusal)) from error
        raise
    except BreachError as error:
        # It has died, or is being killed: the core says how it ended once its exit is seen.
        if not await ticket.wait_broken_off(EXIT_SEEN_S):
            incident_id, why = incident("the connection to a worker broke, and the worker cannot be ended")
            log.error("incident %s: %s", incident_id, error)
            raise RefusedError(why) from error
    else:
        return
    finally:
        call.cancel()
    if asked.delivered.is_finished:
        return
    if ticket.aborted:
        raise RefusedError(ticket.aborted)
    assert ticket.interrupted
    asked.interrupted(ticket.interrupted)
    raise _InterruptedError


def _caller_left() -> bool:
    """Whether the call that this task serves was cancelled. Before Python 3.11 its next write tells."""
    task = asyncio.current_task()
    return sys.version_info >= (3, 11) and task is not None and task.cancelling() > 0


def trailing(told: Told) -> tuple[tuple[str, str], ...]:
    """The trailing metadata of an answer."""
    return ((KEY, pack(told)),)


def generated(last: bytes) -> tuple[Mapping[str, float], int]:
    """Reads the worker's seconds for an answer, and its cached tokens, from the last message; nothing if it says none.

    Generate and Chat end alike: `finish` has one number in both messages, so that one of them reads both.
    """
    message = public.ChatResponse.FromString(last)
    if not message.HasField("finish"):
        return {}, 0
    usage = message.finish.usage
    return {"prompt_s": usage.prompt_s, "decode_s": usage.generation_s}, usage.cached_prompt_tokens
