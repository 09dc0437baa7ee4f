"""Raw gRPC calls, the same for every target, so that only the targets differ."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from vramd_common.rendezvous import NONCE_KEY
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import inference_pb2

TEXT = "One two three."
LIMIT_S = 120.0
"""A call that takes longer hangs."""

PUBLIC_SERVICE = "/vramd.v1.InferenceService/"
WORKER_SERVICE = "/vramd.internal.v1.WorkerService/"
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


@dataclass(frozen=True)
class WorkerPlace:
    """How a worker is called."""

    address: str
    nonce: str


Metadata = tuple[tuple[str, str | bytes], ...]
Wrap = Callable[[inference_pb2.GenerateRequest], bytes]


@dataclass(frozen=True)
class Streamed:
    """When the messages of a stream came."""

    began_s: float
    """When the request was sent; like all times here, of the clock of `time.perf_counter`."""
    times_s: tuple[float, ...]
    """When each message had come."""
    tokens: tuple[int, ...]
    """How many each message brought."""

    @property
    def first_token_s(self) -> float:
        """Seconds from the request to the first message."""
        return self.times_s[0] - self.began_s

    @property
    def tokens_per_s(self) -> float:
        """From the request to the last message."""
        return sum(self.tokens) / (self.times_s[-1] - self.began_s)

    def tokens_between(self, from_s: float, to_s: float) -> int:
        """Tokens that came after one moment and until the other."""
        return sum(many for at_s, many in zip(self.times_s, self.tokens, strict=True) if from_s < at_s <= to_s)


class Way:
    """One way to a model: a channel and how a request has to look there. Any number of threads may use it."""

    def __init__(self, address: str, service: str, metadata: Metadata, model: str, wrap: Wrap) -> None:
        """Opens the channel. `wrap` makes the bytes of a generation from the public request."""
        self._channel = grpc.insecure_channel(address, OPTIONS)
        self._metadata = metadata
        self._model = model
        self._wrap = wrap
        self._tokenize: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(f"{service}Tokenize")
        self._generate: grpc.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(f"{service}Generate")
        self._text = inference_pb2.TokenizeRequest(model=model, text=TEXT).SerializeToString()

    def unary_s(self) -> float:
        """Seconds of one short call. Raises grpc.RpcError."""
        began_s = time.perf_counter()
        self._tokenize(self._text, timeout=LIMIT_S, metadata=self._metadata)
        return time.perf_counter() - began_s

    def stream(self, max_tokens: int) -> Streamed:
        """Streams an answer of `max_tokens`; parses the messages when all have come. Raises grpc.RpcError."""
        wanted = inference_pb2.GenerateRequest(
            model=self._model,
            prompt=[inference_pb2.ContentPart(text=TEXT)],
            sampling=inference_pb2.Sampling(temperature=0),
            limits=inference_pb2.Limits(max_tokens=max_tokens),
        )
        request = self._wrap(wanted)
        messages, times_s = [], []
        began_s = time.perf_counter()
        for message in self._generate(request, timeout=LIMIT_S, metadata=self._metadata):
            times_s.append(time.perf_counter())
            messages.append(message)
        tokens = tuple(len(inference_pb2.GenerateResponse.FromString(message).token_ids) for message in messages)
        return Streamed(began_s, tuple(times_s), tokens)

    def __enter__(self) -> "Way":
        """Returns when it is connected. Raises grpc.FutureTimeoutError."""
        grpc.channel_ready_future(self._channel).result(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def to_supervisor(address: str, metadata: Metadata, model: str) -> Way:
    """Through vramd."""
    return Way(address, PUBLIC_SERVICE, metadata, model, lambda request: request.SerializeToString())


def to_worker(place: WorkerPlace, threads: int) -> Way:
    """To a worker itself, or to a relay before it; `threads` are what vramd would grant."""

    def wrap(request: inference_pb2.GenerateRequest) -> bytes:
        return worker_pb2.WorkerGenerateRequest(request=request, threads=threads).SerializeToString()

    return Way(place.address, WORKER_SERVICE, ((NONCE_KEY, place.nonce),), "bench", wrap)
