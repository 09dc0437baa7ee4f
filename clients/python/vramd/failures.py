"""Reads what came over the wire instead of an answer: status code, text, details. The only place that does."""

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from vramd_proto.v1.reasons import DOMAIN

from vramd.errors import SupervisorUnreachable, VramdError, class_of

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata: a google.rpc.Status."""

HOW_TO_START = "start one with: vramd serve --models DIR"


def failure(code: str, text: str, details: bytes) -> VramdError:
    """The error for a status code's name, its text and the bytes of its google.rpc.Status, empty if there are none."""
    info, retry, known = ErrorInfo(), RetryInfo(), False
    try:
        for detail in Status.FromString(details).details:
            if detail.Unpack(info):
                known = info.domain == DOMAIN
            else:
                detail.Unpack(retry)
    except DecodeError:
        known = False  # whoever sent that is no supervisor: the code is all there is to know
    if not known:
        return _without_reason(code, text)
    after_s = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return class_of(info.reason, code)(info.reason, text, dict(info.metadata), after_s, code)


def _without_reason(code: str, text: str) -> VramdError:
    """What gRPC itself reports, or a server that is none of ours."""
    if code == "UNAVAILABLE":
        return SupervisorUnreachable(code, f"no supervisor answers ({text}); {HOW_TO_START}", code=code)
    if code == "DEADLINE_EXCEEDED":
        text = "the call took longer than its timeout"
    return class_of("", code)(code, text, code=code)


def from_rpc(error: grpc.RpcError) -> VramdError:
    """The error for what a channel raised."""
    trailing = error.trailing_metadata() or ()
    details = next((entry.value for entry in trailing if entry.key == DETAILS_KEY), b"")
    return failure(error.code().name, error.details() or "", details)
