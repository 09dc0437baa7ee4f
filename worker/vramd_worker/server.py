"""`vramd.internal.v1.WorkerService`: translates, calls the engine, waits. It decides nothing.

The event loop's thread runs everything here. The engine answers from a thread of its own; its pieces come over by
`call_soon_threadsafe` and leave one by one, the first before the second is computed.
"""

import asyncio
import hmac
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from vramd_common.heap import Heap
from vramd_common.reasons import Reason
from vramd_common.rendezvous import NONCE_KEY
from vramd_common.statuses import DETAILS_KEY
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.internal.v1.worker_pb2_grpc import WorkerServiceServicer
from vramd_proto.v1 import inference_pb2

from vramd_worker import translate
from vramd_worker.engine import Engine, EngineError, Job, Loaded, Piece, Task
from vramd_worker.engines import BuildEngine
from vramd_worker.refusals import incident, refusal

Asked = TypeVar("Asked")
Told = TypeVar("Told")
Answer = TypeVar("Answer")

PROGRESS_STEP = 0.01
"""Progress is passed on when it has grown by so much: a load reports each tensor."""


class WorkerServicer(WorkerServiceServicer):
    """The one model of this process, once it is loaded."""

    def __init__(self, nonce: str, build: BuildEngine) -> None:
        self._nonce = nonce.encode()
        self._build = build
        self._model = ""
        self._load_began = False
        self._loaded: Engine | None = None
        self._heap = Heap(collects=True)

    async def Load(
        self,
        request: worker_pb2.WorkerLoadRequest,
        context: grpc.aio.ServicerContext[worker_pb2.WorkerLoadRequest, worker_pb2.WorkerLoadResponse],
    ) -> AsyncIterator[worker_pb2.WorkerLoadResponse]:
        """Streams the progress. A caller that leaves leaves a process of no use, which is the caller's to end."""
        async with self._call(request, context):
            if self._load_began:
                raise RuntimeError("a worker loads one model, once")
            self._load_began = True
            self._model = request.model
            spec = translate.spec(request)
            sys.stderr.write(f"{request.model}: loads {spec.in_words}, {spec.parallel} parallel\n")
            engine = self._build(spec, request.threads)
            async for step in _load(engine):
                if isinstance(step, Loaded):
                    self._loaded = engine
                    sys.stderr.write(f"{request.model}: is loaded, context {step.context_tokens} tokens\n")
                    yield translate.loaded(step)
                else:
                    yield worker_pb2.WorkerLoadResponse(progress=step)

    async def Generate(
        self,
        request: worker_pb2.WorkerGenerateRequest,
        context: grpc.aio.ServicerContext[worker_pb2.WorkerGenerateRequest, inference_pb2.GenerateResponse],
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """See the proto."""
        async with self._call(request, context):
            async for piece in self._pieces(translate.generate_job(request.request), request.threads, context):
                yield translate.generate_response(piece)

    async def Chat(
        self,
        request: worker_pb2.WorkerChatRequest,
        context: grpc.aio.ServicerContext[worker_pb2.WorkerChatRequest, inference_pb2.ChatResponse],
    ) -> AsyncIterator[inference_pb2.ChatResponse]:
        """See the proto."""
        async with self._call(request, context):
            async for piece in self._pieces(translate.chat_job(request.request), request.threads, context):
                yield translate.chat_response(piece)

    async def Embed(
        self,
        request: worker_pb2.WorkerEmbedRequest,
        context: grpc.aio.ServicerContext[worker_pb2.WorkerEmbedRequest, inference_pb2.EmbedResponse],
    ) -> inference_pb2.EmbedResponse:
        """See the proto."""
        async with self._call(request, context):
            engine, texts = self._engine(request.threads), translate.texts(request.request)
            answer = await _answer(context, partial(engine.embed, texts))
            return translate.embed_response(request.request.model, answer)

    async def Tokenize(
        self,
        request: inference_pb2.TokenizeRequest,
        context: grpc.aio.ServicerContext[inference_pb2.TokenizeRequest, inference_pb2.TokenizeResponse],
    ) -> inference_pb2.TokenizeResponse:
        """See the proto."""
        async with self._call(request, context):
            engine, special = self._engine(), (request.add_special, request.parse_special)
            ids = await _answer(context, partial(engine.tokenize, request.text, *special))
            return inference_pb2.TokenizeResponse(token_ids=ids)

    async def Detokenize(
        self,
        request: inference_pb2.DetokenizeRequest,
        context: grpc.aio.ServicerContext[inference_pb2.DetokenizeRequest, inference_pb2.DetokenizeResponse],
    ) -> inference_pb2.DetokenizeResponse:
        """See the proto."""
        async with self._call(request, context):
            engine = self._engine()
            data = await _answer(context, partial(engine.detokenize, request.token_ids))
            return inference_pb2.DetokenizeResponse(text=data.decode("utf-8", "replace"))

    async def SetThreads(
        self,
        request: worker_pb2.WorkerSetThreadsRequest,
        context: grpc.aio.ServicerContext[worker_pb2.WorkerSetThreadsRequest, worker_pb2.WorkerSetThreadsResponse],
    ) -> worker_pb2.WorkerSetThreadsResponse:
        """See the proto."""
        async with self._call(request, context):
            self._engine(request.threads)
            return worker_pb2.WorkerSetThreadsResponse()

    @asynccontextmanager
    async def _call(self, request: Message, context: grpc.aio.ServicerContext[Asked, Told]) -> AsyncIterator[None]:
        """Lets a call in that carries the nonce; what is raised inside becomes the call's status."""
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

    def _admit(self, context: grpc.aio.ServicerContext[Asked, Told]) -> None:
        told = next((value for key, value in context.invocation_metadata() or () if key == NONCE_KEY), "")
        told_bytes = told.encode() if isinstance(told, str) else told
        if not hmac.compare_digest(told_bytes, self._nonce):
            raise EngineError(Reason.TOKEN_INVALID, "the call does not carry this worker's nonce")

    def _engine(self, threads: int = 0) -> Engine:
        """The loaded engine, told its share of the CPU; 0 leaves the share as it is."""
        if self._loaded is None:
            raise RuntimeError("a worker was called before its model was loaded")
        if threads:
            self._loaded.set_threads(threads)
        return self._loaded

    async def _pieces(
        self, job: Job, threads: int, context: grpc.aio.ServicerContext[Asked, Told]
    ) -> AsyncIterator[Piece]:
        engine = self._engine(threads)
        pieces: asyncio.Queue[Piece | EngineError] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        task = engine.generate(job, lambda piece: _post(loop, pieces, piece))
        _cancel_at_end(context, task)
        while True:
            piece = await pieces.get()
            if isinstance(piece, EngineError):
                raise piece
            yield piece
            if piece.finish is not None:
                return


async def _answer(
    context: grpc.aio.ServicerContext[Asked, Told], ask: Callable[[Callable[[Answer | EngineError], None]], Task]
) -> Answer:
    """What the engine answers to a question. Raises EngineError."""
    answers: asyncio.Queue[Answer | EngineError] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    _cancel_at_end(context, ask(lambda answer: _post(loop, answers, answer)))
    answer = await answers.get()
    if isinstance(answer, EngineError):
        raise answer
    return answer


def _cancel_at_end(context: grpc.aio.ServicerContext[Asked, Told], task: Task) -> None:
    """However the call ends: once the task has given its last piece, to cancel it changes nothing."""
    # The stubs want an instance of a class of theirs that does not exist; gRPC takes any callable.
    context.add_done_callback(lambda _: task.cancel())  # type: ignore[arg-type]


async def _load(engine: Engine) -> AsyncIterator[float | Loaded]:
    """Runs the load in a thread of its own; its progress, then its result. Raises what it raises."""
    steps: asyncio.Queue[float | Loaded | Exception] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def work() -> None:
        try:
            _post(loop, steps, engine.load(lambda share: _post(loop, steps, share)))
        except Exception as failed:  # it is raised again where the call waits
            _post(loop, steps, failed)

    threading.Thread(target=work, name="load", daemon=True).start()
    told = 0.0
    while True:
        step = await steps.get()
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Loaded):
            yield step
            return
        if step >= told + PROGRESS_STEP:
            told = step
            yield step


def _post(loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Told]", item: Told) -> None:
    """Hands something over to the loop, from any thread. Never blocks."""
    loop.call_soon_threadsafe(queue.put_nowait, item)
