"""A supervisor for tests of clients: real gRPC, scripted answers, nothing behind them.

Each method takes its answers off a script, in order; the last one is kept for all further calls. A part of an answer is
a message, a `Refusal`, or `Wait`, which holds the stream until the test lets go or the client leaves.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from vramd_common.reasons import DOMAIN, Reason
from vramd_common.rendezvous import TOKEN_KEY, Address, RuntimeDir
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

BOUND_S = 30.0
TOKEN = "a-token-of-this-test"


@dataclass(frozen=True)
class Refusal:
    """An error as a supervisor sends it. `reason` may be one that no client knows; without one there are no details."""

    reason: Reason | str | None
    code: str = ""
    message: str = "refused by the script"
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    details: bytes | None = None
    """Sent instead of the real ones."""


class Wait:
    """Holds the stream; `reached` tells that it does, `left` that the client went.

    Wait for `reached` before the client leaves: a stream that is ended before gets no further.
    """

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.left = threading.Event()
        self._go = threading.Event()

    def go(self) -> None:
        self._go.set()

    def hold(self, context: grpc.ServicerContext) -> None:
        def leave() -> None:
            self.left.set()
            self._go.set()

        if not context.add_callback(leave):
            leave()
        self.reached.set()
        assert self._go.wait(BOUND_S), "the test let a stream wait for ever"


@dataclass(frozen=True)
class Trailer:
    """Comes with the end of the call. Stands before the message of a call that has one answer."""

    metadata: tuple[tuple[str, str], ...]


Part = Message | Refusal | Wait | Trailer
Answer = tuple[Part, ...]
Sent = TypeVar("Sent", bound=Message)


@dataclass(frozen=True)
class Call:
    method: str
    request: Message
    metadata: dict[str, str]
    left_s: float | None


class FakeSupervisor:
    """`with FakeSupervisor(folder) as fake:` serves, and is found by that runtime folder."""

    def __init__(self, folder: Path, token: str = TOKEN, port: int = 0) -> None:
        self.folder = RuntimeDir(folder)
        self.token = token
        self.calls: list[Call] = []
        self._scripts: dict[str, list[Answer]] = defaultdict(list)
        self._pool = ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool)
        self._server.add_generic_rpc_handlers((_Handlers(self._answer),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"

    def script(self, method: str, *parts: Part) -> None:
        self._scripts[method].append(parts)

    def requests(self, method: str) -> list[Message]:
        return [call.request for call in self.calls if call.method == method]

    def request(self, kind: type[Sent]) -> Sent:
        """The only request of this kind."""
        (found,) = (call.request for call in self.calls if isinstance(call.request, kind))
        return found

    def __enter__(self) -> FakeSupervisor:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.folder.token_file.write_text(self.token + "\n", "utf-8")
        Address(self.address, os.getpid(), "0.0.0").write(self.folder.address_file)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.folder.address_file.unlink(missing_ok=True)
        assert self._server.stop(0).wait(BOUND_S)
        self._pool.shutdown(wait=True)

    def _answer(self, method: str, request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        self.calls.append(Call(method, request, metadata, context.time_remaining()))
        if metadata.get(TOKEN_KEY) != f"Bearer {self.token}":
            _abort(Refusal(Reason.TOKEN_INVALID if TOKEN_KEY in metadata else Reason.TOKEN_MISSING), context)
        script = self._scripts[method]
        if not script:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"nothing is scripted for {method}")
        if method == "WatchEvents":
            context.send_initial_metadata(())
        for part in script.pop(0) if len(script) > 1 else script[0]:
            match part:
                case Refusal():
                    _abort(part, context)
                case Wait():
                    part.hold(context)
                case Trailer():
                    context.set_trailing_metadata(part.metadata)
                case Message():
                    yield part


class _Handlers(grpc.GenericRpcHandler):
    """One handler per method of the public services, as their descriptors name them."""

    def __init__(self, answer: Callable[[str, Message, grpc.ServicerContext], Iterator[Message]]) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Message, Message]] = {}
        for file in (inference_pb2, model_pb2, supervisor_pb2):
            for service in file.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    parse = GetMessageClass(method.input_type).FromString

                    def stream(
                        request: Message, context: grpc.ServicerContext, name: str = method.name
                    ) -> Iterator[Message]:
                        return answer(name, request, context)

                    def single(request: Message, context: grpc.ServicerContext, name: str = method.name) -> Message:
                        return next(answer(name, request, context))

                    self._handlers[f"/{service.full_name}/{method.name}"] = (
                        grpc.unary_stream_rpc_method_handler(stream, parse, _bytes)
                        if method.server_streaming
                        else grpc.unary_unary_rpc_method_handler(single, parse, _bytes)
                    )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Message, Message] | None:
        return self._handlers.get(handler_call_details.method)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _abort(refusal: Refusal, context: grpc.ServicerContext) -> NoReturn:
    code = refusal.code or (refusal.reason.value.code if isinstance(refusal.reason, Reason) else "UNKNOWN")
    details = status_bytes(refusal) if refusal.details is None else refusal.details
    if details:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
    context.abort(grpc.StatusCode[code], refusal.message)


def status_bytes(refusal: Refusal) -> bytes:
    """The google.rpc.Status of a refusal; empty without a reason."""
    if refusal.reason is None:
        return b""
    name = refusal.reason.name if isinstance(refusal.reason, Reason) else refusal.reason
    details = [AnyMessage(), AnyMessage()]
    details[0].Pack(ErrorInfo(reason=name, domain=DOMAIN, metadata=refusal.metadata))
    if refusal.retry_after_s is None:
        details.pop()
    else:
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(int(refusal.retry_after_s * 1e9))
        details[1].Pack(retry)
    return Status(message=refusal.message, details=details).SerializeToString()


def settings() -> load_pb2.Settings:
    """Everything decided, on a card."""
    return load_pb2.Settings(
        context_tokens=4096,
        batch_tokens=512,
        ubatch_tokens=512,
        kv_type=load_pb2.KV_TYPE_F16,
        flash_attention=load_pb2.FLASH_ATTENTION_AUTO,
        parallel=4,
        outputs=4,
        gpu_layers=-1,
        threads=2,
        devices=["gpu0"],
    )


def quote() -> model_pb2.Quote:
    """3 GiB on a card, and a process on the host."""
    card = model_pb2.QuotedDevice(
        id="gpu0", weights_bytes=2 << 30, context_bytes=512 << 20, compute_bytes=256 << 20, process_bytes=256 << 20
    )
    host = model_pb2.QuotedDevice(id="host", compute_bytes=16 << 20, process_bytes=48 << 20)
    return model_pb2.Quote(
        source=model_pb2.QUOTE_SOURCE_DRY_RUN,
        confidence=model_pb2.QUOTE_CONFIDENCE_EXACT,
        seconds=0.25,
        devices=[card, host],
    )


def plan() -> model_pb2.PlanLoadResponse:
    """A load that fits when another model has gone."""
    card = model_pb2.PlannedDevice(
        id="gpu0", free_bytes=2 << 30, reserved_bytes=3 << 29, external_bytes=1 << 30, headroom_bytes=512 << 20
    )
    gives_back = [model_pb2.GivenBack(id="gpu0", bytes=3 << 29), model_pb2.GivenBack(id="host", bytes=64 << 20)]
    return model_pb2.PlanLoadResponse(
        model="talker",
        fits=True,
        settings=settings(),
        quote=quote(),
        devices=[card, model_pb2.PlannedDevice(id="host", free_bytes=1 << 30)],
        victims=[model_pb2.Victim(model="reader", worker_id=2, gives_back=gives_back)],
        expected_load_s=2.5,
        message="1.00 GiB are missing on gpu0",
        verdict=model_pb2.PLAN_VERDICT_EVICTS,
    )


def plan_that_does_not_fit() -> model_pb2.PlanLoadResponse:
    """A load with too much context, and what would fit instead."""
    smaller = settings()
    smaller.context_tokens, smaller.ubatch_tokens, smaller.kv_type = 1536, 128, load_pb2.KV_TYPE_Q8_0
    changes = ["ubatch 128", "kv-type q8_0", "context of 1536 tokens instead of 65536"]
    found = plan()
    found.fits, found.settings.context_tokens = False, 65536
    found.verdict = model_pb2.PLAN_VERDICT_TOO_LARGE
    found.message = "talker needs 10.50 GiB on gpu0, which may give 7.00 GiB in all"
    lowered = [model_pb2.LOWERED_UBATCH, model_pb2.LOWERED_KV_TYPE, model_pb2.LOWERED_CONTEXT]
    found.nearest.add(settings=smaller, needed_bytes=3 << 30, changes=changes, lowered=lowered)
    found.ClearField("victims")
    found.ClearField("expected_load_s")
    return found


def resident(model: str = "talker") -> model_pb2.ResidentModel:
    """A loaded model with every field set but `degraded` and `keep_alive_left_s`, as one that is held."""
    return model_pb2.ResidentModel(
        model=model,
        worker_id=3,
        state=model_pb2.MODEL_STATE_READY,
        pid=4711,
        devices=[model_pb2.DeviceUse(id="gpu0", reserved_bytes=3 << 30, measured_bytes=2 << 30)],
        reserved_bytes=3 << 30,
        measured_bytes=2 << 30,
        parallel=4,
        in_flight=1,
        queued=2,
        loaded_s=12.5,
        last_used_s=1.5,
        pinned=True,
        context_tokens=4096,
        settings=settings(),
        quote=quote(),
        holders=["game"],
        keep_alive_s=300,
        priority=load_pb2.PRIORITY_INTERACTIVE,
    )


def device(name: str = "gpu0") -> supervisor_pb2.Device:
    """A card with every field set but `unusable`."""
    return supervisor_pb2.Device(
        id=name,
        kind=supervisor_pb2.DEVICE_KIND_NVIDIA,
        name="A Card",
        total_bytes=8 << 30,
        budget_bytes=7 << 30,
        reserved_bytes=3 << 30,
        external_bytes=1 << 30,
        headroom_bytes=1 << 30,
        free_bytes=3 << 30,
        temperature_c=60,
        utilisation_percent=90,
        uuid="GPU-1",
        pressure=supervisor_pb2.PRESSURE_NONE,
    )


def standing() -> supervisor_pb2.Reservation:
    """1.5 GiB for a game, none of it taken yet."""
    return supervisor_pb2.Reservation(id=8, device="gpu0", size_bytes=3 << 29, label="game", left_s=42)


def receipt() -> model_pb2.Receipt:
    return model_pb2.Receipt(
        model="talker",
        worker_id=3,
        pid=4711,
        exit=model_pb2.EXIT_ENDED,
        message="ended",
        exit_s=0.25,
        release_s=0.01,
        expected_bytes=200 << 20,
        observed_bytes=198 << 20,
        reason="private memory before the stop",
        devices=[model_pb2.DeviceReceipt(id="host", expected_bytes=200 << 20, reason="no way to tell")],
    )


def known(model: str = "talker", *, chats: bool = True, problem: str = "") -> model_pb2.Model:
    return model_pb2.Model(
        id=model,
        engine=model_pb2.ENGINE_LLAMA,
        path=f"/models/{model}.gguf",
        size_bytes=45 << 20,
        architecture="llama",
        quantization="Q4_K_M",
        trained_context_tokens=8192,
        has_chat_template=chats,
        state=model_pb2.MODEL_STATE_UNLOADED,
        problem=problem,
        keep_alive_s=300,
        priority=load_pb2.PRIORITY_INTERACTIVE,
    )


def answer(*texts: str) -> tuple[inference_pb2.ChatResponse, ...]:
    """One message per text, with its number as token id, and the end."""
    usage = inference_pb2.Usage(prompt_tokens=5, completion_tokens=len(texts), prompt_s=0.5, generation_s=1.5)
    finish = inference_pb2.Finish(reason=inference_pb2.FINISH_REASON_STOP, usage=usage)
    pieces = [inference_pb2.ChatResponse(text=text, token_ids=[number]) for number, text in enumerate(texts)]
    return (*pieces, inference_pb2.ChatResponse(finish=finish))
