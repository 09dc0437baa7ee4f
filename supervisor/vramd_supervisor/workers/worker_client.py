"""The gRPC channel to one worker process. Replies of a request come as bytes: they are handed through, not parsed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from vramd_common import wire_values
from vramd_common.load_settings import Settings
from vramd_common.rendezvous import NONCE_KEY
from vramd_proto.internal.v1.worker_pb2 import (
    LlamaModel,
    SimulatedModel,
    WorkerLoadRequest,
    WorkerLoadResponse,
    WorkerMemory,
    WorkerSetThreadsRequest,
    WorkerSetThreadsResponse,
)
from vramd_proto.v1 import load_pb2

from ..domain.catalog import Model, ModelFile
from ..domain.device_view import HOST
from ..domain.quote import DeviceBytes

SERVICE = "/vramd.internal.v1.WorkerService/"
CONNECT_S = 10.0
"""A worker listens before it says hello."""
MOST_MESSAGE_BYTES = 64 * 1024 * 1024

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # A connection that stands no longer needs its socket's file, which may be removed.
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
)

_Reply = TypeVar("_Reply")


@dataclass(frozen=True)
class LoadedFacts:
    """A worker's account of the model that it has loaded."""

    context_tokens: int
    memory: tuple[tuple[str, DeviceBytes], ...] = ()
    """By llama.cpp's own count, for each of its devices by name; "" is the host. Empty where it cannot tell."""


class WorkerClient:
    """The channel to one worker process. Every call carries its nonce."""

    def __init__(self, address: str, nonce: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._metadata = ((NONCE_KEY, nonce),)

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
        self, model: Model, settings: Settings, threads: int, names: Sequence[str], environment: Mapping[str, str]
    ) -> AsyncIterator[float | LoadedFacts]:
        """Shares of the weights read, then what was loaded. Raises grpc.aio.AioRpcError.

        The devices have these `names` in a worker with this `environment`.
        """
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
        call = self._streamed("Load", WorkerLoadResponse.FromString)(request, metadata=self._metadata)
        async for response in call:
            if response.WhichOneof("step") == "loaded":
                yield LoadedFacts(response.loaded.context_tokens, tuple(map(_memory, response.loaded.memory)))
            else:
                yield response.progress

    def stream(self, method: str, request: Message) -> "grpc.aio.UnaryStreamCall[Message, bytes]":
        """Generate or Chat; yields the public messages as bytes."""
        return self._streamed(method, bytes)(request, metadata=self._metadata)

    def ask(self, method: str, request: Message) -> "grpc.aio.UnaryUnaryCall[Message, bytes]":
        """Embed, Tokenize or Detokenize; gives the public message as bytes."""
        return self._unary(method, bytes)(request, metadata=self._metadata)

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


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _memory(told: WorkerMemory) -> tuple[str, DeviceBytes]:
    return told.device, DeviceBytes(told.weights_bytes, told.context_bytes, told.compute_bytes)
