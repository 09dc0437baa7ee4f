"""Refusals to gRPC statuses and back. The only place that maps errors; the table of reasons says how."""

import re
import uuid
from collections.abc import Sequence
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from vramd_proto.v1.reasons import DOMAIN, Reason

from .errors import Refusal

DETAILS_KEY = "grpc-status-details-bin"
MESSAGE_CHARACTERS = 1000
VALUE_CHARACTERS = 400
"""All details together stay under 4 KB: past 8 KB the library answers RESOURCE_EXHAUSTED instead (measured)."""

_LINE_BREAKS = re.compile(r"\s*[\r\n]+\s*")


Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


async def abort(context: Context, refusal: Refusal) -> NoReturn:
    """Ends a call with the status of a refusal: ErrorInfo, and RetryInfo where waiting helps."""
    meaning = refusal.reason.value
    code = grpc.StatusCode[meaning.code]
    message = _LINE_BREAKS.sub(" ", refusal.message)[:MESSAGE_CHARACTERS]
    status = status_pb2.Status(code=code.value[0], message=message)
    metadata = {key: value[:VALUE_CHARACTERS] for key, value in refusal.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=refusal.reason.name, domain=DOMAIN, metadata=metadata)
    _add(status, info)
    if meaning.retry_after_s is not None:
        seconds = int(meaning.retry_after_s)
        nanos = int((meaning.retry_after_s - seconds) * 1e9)
        _add(status, error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds, nanos=nanos)))
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    await context.abort(code, message)
    raise AssertionError("abort returned")


def _add(status: status_pb2.Status, detail: "error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo") -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def incident(what: str) -> tuple[str, Refusal]:
    """An id for the log, and what a caller hears of a fault of ours: the id and nothing else."""
    incident_id = uuid.uuid4().hex[:12]
    text = f"{what}; the log says more under incident {incident_id}"
    return incident_id, Refusal(Reason.INTERNAL, text, {"incidentId": incident_id})


def from_worker(error: grpc.aio.AioRpcError) -> Refusal | None:
    """What a worker refused with; None if it did not say it in our words, that is, if the connection broke.

    Only reasons of the table pass, so a worker cannot make up statuses.
    """
    status = status_pb2.Status()
    for key, value in _pairs(error):
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in Reason.__members__:
            return Refusal(Reason[info.reason], status.message, dict(info.metadata))
    return None


def _pairs(error: grpc.aio.AioRpcError) -> Sequence[tuple[str, str | bytes]]:
    return tuple(error.trailing_metadata() or ())
