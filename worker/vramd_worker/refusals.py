"""An exception becomes the status of a call: canonical code, message, exactly one ErrorInfo, RetryInfo where it helps.

Sizes are bounded, because gRPC replaces a status with too much metadata by one of its own.
"""

import sys
import traceback
import uuid
from dataclasses import dataclass

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from vramd_proto.v1.reasons import DOMAIN, Reason

from vramd_worker.engine import EngineError

DETAILS_KEY = "grpc-status-details-bin"
MOST_MESSAGE_BYTES = 1024
MOST_VALUE_BYTES = 512


@dataclass(frozen=True)
class Refusal:
    """What a call is aborted with."""

    code: grpc.StatusCode
    message: str
    """At most 1 KB."""
    metadata: tuple[tuple[str, bytes], ...]
    """The google.rpc.Status, at most 4 KB."""


def refusal(error: EngineError, model: str) -> Refusal:
    """The status for an error; `model` is added where the table of reasons names it. Long texts are cut."""
    meaning = error.reason.value
    code = grpc.StatusCode[meaning.code]
    message = cut(str(error), MOST_MESSAGE_BYTES)
    known = {"model": model} | error.metadata
    told = {key: cut(known[key], MOST_VALUE_BYTES) for key in meaning.metadata if key in known}
    # The code's number on the wire; `value` is a pair of number and text.
    status = Status(code=code.value[0], message=message)
    status.details.add().Pack(ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=told))
    if meaning.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(meaning.retry_after_s * 1000))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return Refusal(code, message, ((DETAILS_KEY, status.SerializeToString()),))


def incident(fault: Exception) -> EngineError:
    """An unforeseen exception, as the caller may see it: an id. The traceback goes to stderr under that id."""
    incident_id = uuid.uuid4().hex
    sys.stderr.write(f"incident {incident_id}:\n{''.join(traceback.format_exception(fault))}")
    sys.stderr.flush()
    return EngineError(
        Reason.INTERNAL, f"a fault of vramd, see the model's log for incident {incident_id}", incidentId=incident_id
    )


def cut(text: str, most_bytes: int) -> str:
    """The text if it is short enough in UTF-8, else its beginning, in whole characters, and an ellipsis."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= most_bytes:
        return encoded.decode()
    ellipsis = "…"
    return encoded[: most_bytes - len(ellipsis.encode())].decode("utf-8", "ignore") + ellipsis
