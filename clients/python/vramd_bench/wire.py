"""Raw gRPC calls, the same for every target, so that only the targets differ."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from vramd_common.rendezvous import NONCE_KEY
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import inference_pb2

from .streamed import LIMIT_S, TEXT, Live, Streamed, fresh_prompt

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

    def stream(self, tokens: int, prompt: str = "", live: Live | None = None) -> Streamed:
        """Streams an answer; parses the messages when all have come. Raises grpc.RpcError."""
        wanted = inference_pb2.GenerateRequest(
            model=self._model,
            prompt=[inference_pb2.ContentPart(text=prompt or fresh_prompt())],
            sampling=inference_pb2.Sampling(temperature=0),
            limits=inference_pb2.Limits(max_tokens=tokens),
        )
        request = self._wrap(wanted)
        live = live or Live()
        messages, times_s = [], []
        began_s = time.perf_counter()
        call = self._generate(request, timeout=LIMIT_S, metadata=self._metadata)
        live.begin(call.cancel)
        try:
            for message in call:
                times_s.append(time.perf_counter())
                messages.append(message)
                live.came()
        except grpc.RpcError:
            if not live.cut:
                raise
        finally:
            live.end()
        parsed = [inference_pb2.GenerateResponse.FromString(message) for message in messages]
        usage = parsed[-1].finish.usage if parsed else inference_pb2.Usage()
        return Streamed(
            began_s,
            tuple(times_s),
            tuple(len(message.token_ids) for message in parsed),
            "".join(message.text for message in parsed),
            usage.cached_prompt_tokens,
            usage.prompt_tokens,
        )

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
