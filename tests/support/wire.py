"""The generated stubs with the token, and what a refusal looks like on the wire."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from vramd_common.rendezvous import TOKEN_KEY
from vramd_proto.v1 import inference_pb2
from vramd_proto.v1.inference_pb2_grpc import InferenceServiceStub
from vramd_proto.v1.model_pb2_grpc import ModelServiceStub
from vramd_proto.v1.supervisor_pb2_grpc import SupervisorServiceStub

DETAILS_KEY = "grpc-status-details-bin"
BOUND_S = 30.0
CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1),)

_Detail = TypeVar("_Detail", ErrorInfo, RetryInfo, BadRequest)

Metadata = tuple[tuple[str, str | bytes], ...]


@dataclass(frozen=True)
class _Details(grpc.ClientCallDetails):
    method: str
    metadata: Metadata
    timeout: float = BOUND_S
    credentials: None = None
    wait_for_ready: None = None
    compression: None = None


class Caller(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """The stubs over one channel. Each call has the token and a bound."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self.channel = channel
        self.metadata: Metadata = ((TOKEN_KEY, f"Bearer {token}"),)
        told = grpc.intercept_channel(channel, self)
        self.inference = InferenceServiceStub(told)
        self.models = ModelServiceStub(told)
        self.supervisor = SupervisorServiceStub(told)

    def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        return continuation(_Details(client_call_details.method, self.metadata), request)

    def intercept_unary_stream(
        self, continuation: Any, client_call_details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        return continuation(_Details(client_call_details.method, self.metadata), request)


@dataclass(frozen=True)
class Refused:
    """What came over the wire instead of an answer."""

    code: str
    message: str
    status: Status
    infos: tuple[ErrorInfo, ...]
    retries: tuple[RetryInfo, ...]
    wrong: tuple[BadRequest, ...]
    details_bytes: int


def refused(call: Callable[[], object]) -> Refused:
    """The status that a call ends with. Fails if the call does not fail."""
    try:
        answer = call()
    except grpc.RpcError as error:
        trailing = [entry.value for entry in error.trailing_metadata() or () if entry.key == DETAILS_KEY]
        assert len(trailing) == 1, f"{error.code()}: {error.details()}"
        raw = trailing[0]
        assert isinstance(raw, bytes)
        status = Status.FromString(raw)
        return Refused(
            error.code().name,
            error.details() or "",
            status,
            tuple(_unpacked(status, ErrorInfo)),
            tuple(_unpacked(status, RetryInfo)),
            tuple(_unpacked(status, BadRequest)),
            len(raw),
        )
    raise AssertionError(f"not refused, but answered: {answer}")


def _unpacked(status: Status, kind: type[_Detail]) -> list[_Detail]:
    found = []
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            found.append(detail)
    return found


def parts(text: str) -> list[inference_pb2.ContentPart]:
    return [inference_pb2.ContentPart(text=text)]


def question(text: str = "What is new?") -> list[inference_pb2.ChatMessage]:
    return [inference_pb2.ChatMessage(role="user", parts=parts(text))]
