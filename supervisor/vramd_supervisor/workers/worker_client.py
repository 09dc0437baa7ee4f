"""The gRPC channel to one worker process. Replies of a request are checked, and handed through as bytes.

What a worker refuses is a `RefusedError`. Whatever else goes wrong is a `BreachError`: its process is gone or will be.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from vramd_common import wire_values
from vramd_common.load_settings import Settings
from vramd_common.reasons import Reason
from vramd_common.rendezvous import NONCE_KEY
from vramd_common.replay import CUTS_KEY
from vramd_proto.internal.v1.worker_pb2 import (
    LlamaModel,
    SimulatedModel,
    WorkerBeat,
    WorkerBeatRequest,
    WorkerChatRequest,
    WorkerCuts,
    WorkerEmbedRequest,
    WorkerGenerateRequest,
    WorkerLoadRequest,
    WorkerLoadResponse,
    WorkerMemory,
    WorkerSetThreadsRequest,
    WorkerSetThreadsResponse,
)
from vramd_proto.v1 import inference_pb2, load_pb2

from ..domain.catalog import Model, ModelFile
from ..domain.device_view import HOST
from ..domain.errors import RefusedError, in_words, refusal
from ..domain.quote import DeviceBytes
from ..wire_status import from_worker
from .breach import (
    MOST_CONTEXT_TOKENS,
    AnswerCheck,
    BeatCheck,
    BreachError,
    LoadCheck,
    check_cached,
    check_cuts,
    check_seconds,
    check_token_ids,
    check_vectors,
)
from .progress import Activity

SERVICE = "/vramd.internal.v1.WorkerService/"
CONNECT_S = 10.0
"""A worker listens before it says hello."""
MOST_MESSAGE_BYTES = 64 * 1024 * 1024
MOST_REPLY_BYTES = {"Load": 64 * 1024, "SetThreads": 1024, "Beat": 1024, "Generate": 256 * 1024, "Chat": 256 * 1024}
"""Of one message, where it is less than of any."""
MOST_ID_BYTES = 5
"""Of a token id on the wire."""
MOST_TOKEN_TEXT_BYTES = 4 * 1024
MOST_VECTOR_BYTES = 512 * 1024
SPARE_BYTES = 1024
ENDS_S = 2.0
"""Time that a stream has to end after its last message; then it is cancelled."""

OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # A connection that stands no longer needs its socket's file, which may be removed.
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {"name": [{"service": SERVICE.strip("/"), "method": method}], "maxResponseMessageBytes": most}
                    for method, most in MOST_REPLY_BYTES.items()
                ]
            }
        ),
    ),
)

_Reply = TypeVar("_Reply")
_Message = TypeVar("_Message", bound=Message)


@dataclass(frozen=True)
class LoadedFacts:
    """A worker's account of the model that it has loaded."""

    context_tokens: int
    memory: tuple[tuple[str, DeviceBytes], ...] = ()
    """By llama.cpp's own count, for each of its devices by name; "" is the host. Empty where it cannot tell."""


class WorkerClient:
    """The channel to one worker process. Every call carries its nonce."""

    def __init__(self, address: str, nonce: str, on_breach: Callable[[str, bool], None]) -> None:
        """`on_breach` gets how the worker broke the protocol, and whether only its connection broke.

        The latter is what a death looks like before it is seen.
        """
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._metadata = ((NONCE_KEY, nonce),)
        self.calls = 0
        """Requests and loads that the worker has not ended yet."""
        self._on_breach = on_breach
        self._model = ""
        self._context_tokens = MOST_CONTEXT_TOKENS

    async def connect(self) -> bool:
        """Whether it stands: not if it was closed meanwhile.

        Raises asyncio.TimeoutError if the worker does not take the connection in time.
        """
        try:
            await asyncio.wait_for(self._channel.channel_ready(), CONNECT_S)
        except grpc.aio.UsageError:  # what gRPC says of a channel that is closed
            return False
        return True

    async def load(
        self,
        model: Model,
        settings: Settings,
        threads: int,
        names: Sequence[str],
        environment: Mapping[str, str],
        *,
        mapped: bool = False,
        stream_gap_s: float = 0.0,
    ) -> AsyncIterator[float | LoadedFacts]:
        """Shares of the weights read, then what was loaded. Raises RefusedError or BreachError.

        The devices have these `names` in a worker with this `environment`. `mapped`: its weights stay in the file.
        `stream_gap_s` is the longest time between two tokens of a stream while prompts are computed beside it.
        """
        self._model = model.id
        request = WorkerLoadRequest(model=model.id, threads=threads)
        if isinstance(model.source, ModelFile):
            request.llama.CopyFrom(
                LlamaModel(
                    path=model.source.path,
                    settings=wire_values.filled(load_pb2.Settings(), settings),
                    devices=names,
                    split=[share for _, share in settings.shares],
                    environment=environment,
                    # Scratch of a card grows with the first large batch: not under a request, and not unmeasured.
                    warm_up_batch=settings.device != HOST,
                    mapped=mapped,
                    stream_gap_s=stream_gap_s,
                    warm_prompt=model.warm_prompt,
                )
            )
        else:
            source = model.source
            request.simulated.CopyFrom(
                SimulatedModel(
                    allocate_bytes=source.memory.get("host", 0) if source.allocate else 0,
                    load_s=source.load_s,
                    tokens_per_s=source.tokens_per_s,
                    manners=source.manners,
                    context_tokens=settings.context_tokens,
                    parallel=settings.parallel,
                )
            )
        call = self._streamed("Load", bytes)(request, metadata=self._metadata)
        self._count(call)
        check, facts = LoadCheck(), None
        try:
            async for message in call:
                response = _parsed(WorkerLoadResponse, message)
                if response.WhichOneof("step") == "loaded":
                    facts = LoadedFacts(response.loaded.context_tokens, tuple(map(_memory, response.loaded.memory)))
                    check.loaded(facts.context_tokens, [(name, told.engine_bytes) for name, told in facts.memory])
                else:
                    yield check.progress(response.progress)
            check.end()
        except grpc.aio.AioRpcError as error:
            raise self._explained(error) from error
        except BreachError as error:
            raise self._told(error) from None
        assert facts
        self._context_tokens = facts.context_tokens
        yield facts

    def stream(self, method: str, request: Message) -> "Answer":
        """Generate or Chat; yields the public messages as bytes. Raises RefusedError or BreachError while it does."""
        assert isinstance(request, WorkerGenerateRequest | WorkerChatRequest)
        call = self._streamed(method, bytes)(request, metadata=self._metadata)
        self._count(call)
        limits = request.request.limits
        most = limits.max_tokens if limits.HasField("max_tokens") else self._context_tokens
        return Answer(call, AnswerCheck(min(most, self._context_tokens)), self._explained, self._told)

    def ask(self, method: str, request: Message) -> "Reply":
        """Embed, Tokenize or Detokenize; gives the public message as bytes. Raises RefusedError or BreachError."""
        call = self._unary(method, bytes)(request, metadata=self._metadata)
        self._count(call)
        return Reply(call, request, self._explained, self._told)

    async def beats(self) -> AsyncIterator[list[Activity]]:
        """Yields about once a second what the threads of the worker do. However that ends, the process is ended."""
        call = self._streamed("Beat", bytes)(WorkerBeatRequest(), metadata=self._metadata)
        clock = asyncio.get_running_loop().time
        check = BeatCheck(clock())
        try:
            async for message in call:
                told = _parsed(WorkerBeat, message).activities
                check.beat([one.name for one in told], clock())
                yield [Activity(one.name, one.at_work, one.steps, one.step_s) for one in told]
            self._told(BreachError("it no longer tells what it does"))
        except grpc.aio.AioRpcError as error:
            why = self._explained(error)
            if isinstance(why, RefusedError):
                self._told(BreachError(f"it no longer tells what it does: {why}"))
        except BreachError as error:
            self._told(error)

    def _count(self, call: "grpc.aio.Call") -> None:
        self.calls += 1
        call.add_done_callback(self._ended)

    def _ended(self, _: object) -> None:
        self.calls -= 1

    def _explained(self, error: grpc.aio.AioRpcError) -> RefusedError | BreachError:
        """Returns the worker's refusal, else tells that it broke the protocol."""
        if said := from_worker(error, self._model):
            return RefusedError(said)
        broke = error.code() is grpc.StatusCode.UNAVAILABLE and not dict(error.trailing_metadata() or ())
        words = (
            "its connection broke" if broke else f"it ended a call with a status of another kind ({error.code().name})"
        )
        self._on_breach(words, broke)
        return BreachError(words)

    def _told(self, error: BreachError) -> BreachError:
        self._on_breach(str(error), False)
        return error

    async def set_threads(self, threads: int) -> None:
        """Raises grpc.aio.AioRpcError."""
        call = self._unary("SetThreads", WorkerSetThreadsResponse.FromString)
        await call(WorkerSetThreadsRequest(threads=threads), metadata=self._metadata, timeout=5.0)

    async def close(self) -> None:
        """Ends the channel; the process is left to others."""
        await self._channel.close()

    def _streamed(
        self, method: str, parse: Callable[[bytes], _Reply]
    ) -> "grpc.aio.UnaryStreamMultiCallable[Message, _Reply]":
        return self._channel.unary_stream(SERVICE + method, _serialized, parse)

    def _unary(
        self, method: str, parse: Callable[[bytes], _Reply]
    ) -> "grpc.aio.UnaryUnaryMultiCallable[Message, _Reply]":
        return self._channel.unary_unary(SERVICE + method, _serialized, parse)


class Answer:
    """The messages of one answer, each as it comes, until the one that says how it ended."""

    def __init__(
        self,
        call: "grpc.aio.UnaryStreamCall[Message, bytes]",
        check: AnswerCheck,
        explained: Callable[[grpc.aio.AioRpcError], Exception],
        told: Callable[[BreachError], Exception],
    ) -> None:
        self._call = call
        self._check = check
        self._explained = explained
        self._told = told
        self.cuts: WorkerCuts | None = None
        """How the prompt was computed, from the first message on; None: it cannot be computed again like that."""

    def cancel(self) -> object:
        """Ends it. Idempotent."""
        return self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        messages, first, last = aiter(self._call), True, False
        try:
            while not last:
                message = await anext(messages, None)
                if message is None:
                    self._check.end()
                    return
                if first:
                    self.cuts, first = _cuts(await self._call.initial_metadata()), False
                last = _take(self._check, message)
                yield message
        except grpc.aio.AioRpcError as error:
            raise self._explained(error) from error
        except BreachError as error:
            raise self._told(error) from None
        await self._ends(messages)

    async def _ends(self, messages: AsyncIterator[bytes]) -> None:
        """Nothing comes after the last message. If anything does, the process is ended, and the answer is whole.

        A worker that says nothing more may only be slow: whether it hangs is told by its beats.
        """
        try:
            message = await asyncio.wait_for(anext(messages, None), ENDS_S)
        except asyncio.TimeoutError:
            self.cancel()
        except grpc.aio.AioRpcError as error:
            self._explained(error)
        else:
            if message is not None:
                self._told(BreachError("it went on after the end of an answer"))


class Reply:
    """The one reply of a call; awaited once."""

    def __init__(
        self,
        call: "grpc.aio.UnaryUnaryCall[Message, bytes]",
        request: Message,
        explained: Callable[[grpc.aio.AioRpcError], Exception],
        told: Callable[[BreachError], Exception],
    ) -> None:
        self._call = call
        self._request = request
        self._explained = explained
        self._told = told

    def cancel(self) -> object:
        """Ends the call. Idempotent."""
        return self._call.cancel()

    def __await__(self) -> Generator[object, None, bytes]:
        return self._checked().__await__()

    async def _checked(self) -> bytes:
        try:
            reply = await self._call
            _check_reply(self._request, reply)
        except grpc.aio.AioRpcError as error:
            most_bytes, field = _most(self._request)
            if most_bytes > MOST_MESSAGE_BYTES and _is_too_large(error):
                text = (
                    f"the reply has more than the {in_words(MOST_MESSAGE_BYTES)} that are taken; ask for less at once"
                )
                raise RefusedError(refusal(Reason.FIELD_INVALID, text, field=field)) from error
            raise self._explained(error) from error
        except BreachError as error:
            raise self._told(error) from None
        return reply


def _cuts(metadata: Iterable[tuple[str, str | bytes]]) -> WorkerCuts | None:
    """Reads how a prompt was computed. Raises BreachError."""
    told = next((value for key, value in metadata if key == CUTS_KEY), None)
    if not isinstance(told, bytes):
        return None
    cuts = _parsed(WorkerCuts, told)
    check_cuts([(cut.tokens, cut.computed, cut.times) for cut in cuts.cuts])
    return cuts


def _take(check: AnswerCheck, message: bytes) -> bool:
    """Takes in a message of a stream; whether it is the last one. Raises BreachError.

    Generate and Chat give the same fields under the same numbers. Parsing costs a microsecond.
    """
    piece = _parsed(inference_pb2.ChatResponse, message)
    last = piece.HasField("finish")
    if piece.HasField("waiting"):
        raise BreachError("it told what a request waits for, which is not its to tell")
    check.piece(piece.token_ids, last=last)
    if last:
        usage = piece.finish.usage
        check_seconds(usage.prompt_s, usage.generation_s)
        check_cached(usage.cached_prompt_tokens, usage.prompt_tokens)
    return last


def _check_reply(request: Message, reply: bytes) -> None:
    """Raises BreachError for a reply that cannot be one to the request. Values of vectors are not looked at."""
    most_bytes, _ = _most(request)
    if len(reply) > most_bytes + SPARE_BYTES:
        raise BreachError("a reply is larger than any to its request")
    match request:
        case WorkerEmbedRequest():
            told = _parsed(inference_pb2.EmbedResponse, reply)
            if told.model != request.request.model:
                raise BreachError("it answered for another model")
            lengths = [len(one.values) for one in told.embeddings]
            check_vectors(lengths, [one.index for one in told.embeddings], told.dimensions, len(request.request.inputs))
        case inference_pb2.TokenizeRequest():
            check_token_ids(_parsed(inference_pb2.TokenizeResponse, reply).token_ids)
        case _:
            _parsed(inference_pb2.DetokenizeResponse, reply)


def _most(request: Message) -> tuple[int, str]:
    """Returns how many bytes a reply to the request may have, and the field that they depend on."""
    match request:
        case WorkerEmbedRequest():
            return len(request.request.inputs) * MOST_VECTOR_BYTES, "inputs"
        case inference_pb2.TokenizeRequest():
            # A token has one byte of the text, but for a few around it; a character has four at most.
            return MOST_ID_BYTES * 4 * len(request.text), "text"
        case inference_pb2.DetokenizeRequest():
            return MOST_TOKEN_TEXT_BYTES * len(request.token_ids), "token_ids"
        case _:
            raise TypeError(f"no call has this request: {type(request).__name__}")


def _is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Whether gRPC itself refused a reply for its size, here or in the worker."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in (error.details() or "")


def _parsed(kind: type[_Message], message: bytes) -> _Message:
    try:
        return kind.FromString(message)
    except DecodeError:
        raise BreachError("a message of it cannot be read") from None


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _memory(told: WorkerMemory) -> tuple[str, DeviceBytes]:
    return told.device, DeviceBytes(told.weights_bytes, told.context_bytes, told.compute_bytes)
