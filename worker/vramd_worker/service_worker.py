"""`vramd.internal.v1.WorkerService`: translates, calls the engine, waits. It decides nothing.

Everything here runs in the event loop's thread. The engine answers from other threads; the pieces of an answer come
over by an `Outbox`, the first before the second is computed.
"""

import asyncio
import hmac
import sys
import traceback
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message
from vramd_common.heap import Heap
from vramd_common.reasons import Reason
from vramd_common.rendezvous import NONCE_KEY
from vramd_common.statuses import DETAILS_KEY, Packed, pack
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.internal.v1.worker_pb2_grpc import WorkerServiceServicer
from vramd_proto.v1 import inference_pb2

from vramd_worker import translate
from vramd_worker.engine import Activity, Engine, EngineError, Job, Loaded, Piece, Task
from vramd_worker.llama import LlamaSpec
from vramd_worker.loading import Loading, post
from vramd_worker.packing import Bell, Outbox
from vramd_worker.simulated import SimulatedSpec

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Wanted: TypeAlias = worker_pb2.WorkerGenerateRequest | worker_pb2.WorkerChatRequest
BuildEngine = Callable[[SimulatedSpec | LlamaSpec, int], Engine]
"""Makes the engine for a load, from its spec and the number of CPU threads."""

Answer = TypeVar("Answer")

MOST_MESSAGE_BYTES = 64 * 1024 * 1024
SPARE_BYTES = 1024
"""Of a message, beside its one text."""
BEAT_S = 1.0
"""Time between two beats."""


class WorkerService(WorkerServiceServicer):
    """Serves the one model of this process."""

    def __init__(self, nonce: str, build: BuildEngine) -> None:
        self._nonce = nonce.encode()
        self._build = build
        self._model = ""
        self._loading: Loading | None = None
        self._loaded: Engine | None = None
        self._heap = Heap(collects=True)
        self._bell = Bell()

    async def Load(
        self, request: worker_pb2.WorkerLoadRequest, context: Context
    ) -> AsyncIterator[worker_pb2.WorkerLoadResponse]:
        # A caller that goes away leaves a process of no use, which is the caller's to end.
        async with self._call(request, context):
            if self._loading:
                raise RuntimeError("a worker loads one model, once")
            self._model = request.model
            spec = translate.spec(request)
            sys.stderr.write(f"{request.model}: loads {spec.in_words}, {spec.parallel} parallel\n")
            engine = self._build(spec, request.threads)
            self._loading = Loading(engine)
            async for step in self._loading.steps():
                if isinstance(step, Loaded):
                    self._loaded = engine
                    sys.stderr.write(f"{request.model}: is loaded, context {step.context_tokens} tokens\n")
                    yield translate.loaded(step)
                else:
                    yield worker_pb2.WorkerLoadResponse(progress=step)

    async def Generate(
        self, request: worker_pb2.WorkerGenerateRequest, context: Context
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        async with self._call(request, context):
            async for piece in self._pieces(translate.generate_job(request), request, context):
                yield translate.generate_response(piece)

    async def Chat(
        self, request: worker_pb2.WorkerChatRequest, context: Context
    ) -> AsyncIterator[inference_pb2.ChatResponse]:
        async with self._call(request, context):
            async for piece in self._pieces(translate.chat_job(request), request, context):
                yield translate.chat_response(piece)

    async def Embed(self, request: worker_pb2.WorkerEmbedRequest, context: Context) -> inference_pb2.EmbedResponse:
        async with self._call(request, context):
            engine, texts = self._engine(request.threads), translate.texts(request.request)
            answer = await _answer(context, partial(engine.embed, texts))
            return translate.embed_response(request.request.model, answer)

    async def Tokenize(
        self, request: inference_pb2.TokenizeRequest, context: Context
    ) -> inference_pb2.TokenizeResponse:
        async with self._call(request, context):
            engine, special = self._engine(), (request.add_special, request.parse_special)
            ids = await _answer(context, partial(engine.tokenize, request.text, *special))
            return inference_pb2.TokenizeResponse(token_ids=ids)

    async def Detokenize(
        self, request: inference_pb2.DetokenizeRequest, context: Context
    ) -> inference_pb2.DetokenizeResponse:
        async with self._call(request, context):
            data = await _answer(context, partial(self._engine().detokenize, request.token_ids))
            return inference_pb2.DetokenizeResponse(text=_sendable(data))

    async def Beat(
        self, request: worker_pb2.WorkerBeatRequest, context: Context
    ) -> AsyncIterator[worker_pb2.WorkerBeat]:
        async with self._call(request, context):
            while True:
                yield translate.beat(self._activities())
                await asyncio.sleep(BEAT_S)

    async def SetThreads(
        self, request: worker_pb2.WorkerSetThreadsRequest, context: Context
    ) -> worker_pb2.WorkerSetThreadsResponse:
        async with self._call(request, context):
            self._engine(request.threads)
            return worker_pb2.WorkerSetThreadsResponse()

    def _activities(self) -> list[Activity]:
        loading = [self._loading.activity()] if self._loading else []
        return [*loading, *self._loaded.activities()] if self._loaded else loading

    @asynccontextmanager
    async def _call(self, request: Message, context: Context) -> AsyncIterator[None]:
        """Admits a call that carries the nonce; turns an exception of its body into the call's status."""
        try:
            self._admit(context)
            yield
        except EngineError as error:
            refused = refusal(error, self._model)
        except Exception as fault:
            refused = refusal(incident(fault), self._model)
        else:
            return
        finally:
            self._heap.freed(request.ByteSize())
        details = ((DETAILS_KEY, refused.details),)
        await context.abort(grpc.StatusCode[refused.code], refused.message, details)

    def _admit(self, context: Context) -> None:
        given = next((value for key, value in context.invocation_metadata() or () if key == NONCE_KEY), "")
        if not hmac.compare_digest(given.encode() if isinstance(given, str) else given, self._nonce):
            raise EngineError(Reason.TOKEN_INVALID, "the call does not carry this worker's nonce")

    def _engine(self, threads: int = 0) -> Engine:
        """Returns the loaded engine after setting its share of the CPU; 0 leaves the share as it is."""
        if self._loaded is None:
            raise RuntimeError("a worker was called before its model was loaded")
        if threads:
            self._loaded.set_threads(threads)
        return self._loaded

    async def _pieces(self, job: Job, wanted: Wanted, context: Context) -> AsyncIterator[Piece]:
        engine = self._engine(wanted.threads)
        outbox = Outbox(self._bell, every_token=wanted.request.every_token)
        _cancel_at_end(context, engine.generate(job, outbox.put))
        async for piece in outbox.messages():
            if piece.cuts is not None:
                await context.send_initial_metadata(translate.cuts_metadata(piece.cuts))
            yield piece


async def _answer(context: Context, ask: Callable[[Callable[[Answer | EngineError], None]], Task]) -> Answer:
    """Asks the engine a question and returns its answer. Raises EngineError."""
    answers: asyncio.Queue[Answer | EngineError] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    _cancel_at_end(context, ask(lambda answer: post(loop, answers, answer)))
    answer = await answers.get()
    if isinstance(answer, EngineError):
        raise answer
    return answer


def _sendable(data: bytes) -> str:
    """Returns the text as UTF-8. Raises EngineError for one that no message can carry."""
    text = data.decode("utf-8", "replace")
    size = len(text.encode())
    if size > MOST_MESSAGE_BYTES - SPARE_BYTES:
        told = f"the text of these tokens has {size} bytes, more than a reply can carry; ask for fewer at once"
        raise EngineError(Reason.FIELD_INVALID, told, field="token_ids")
    return text


def _cancel_at_end(context: Context, task: Task) -> None:
    """Cancels the task when the call ends, in whatever way; after the task's last piece this changes nothing."""
    # The stubs want an instance of a class of theirs that does not exist; gRPC takes any callable.
    context.add_done_callback(lambda _: task.cancel())  # type: ignore[arg-type]


def refusal(error: EngineError, model: str) -> Packed:
    """Makes the status for an error; `model` is added where the table of reasons names it."""
    return pack(error.reason, str(error), {"model": model} | error.metadata)


def incident(fault: Exception) -> EngineError:
    """Makes an error that shows callers only an id of an unforeseen exception; its traceback goes to stderr."""
    incident_id = uuid.uuid4().hex
    sys.stderr.write(f"incident {incident_id}:\n{''.join(traceback.format_exception(fault))}")
    sys.stderr.flush()
    return EngineError(
        Reason.INTERNAL, f"a fault of vramd, see the model's log for incident {incident_id}", incidentId=incident_id
    )
