"""Encodes a reason as a google.rpc.Status with exactly one ErrorInfo, and RetryInfo or BadRequest where they help.

Sizes are bounded: past 8 KB of details gRPC answers RESOURCE_EXHAUSTED instead of the real code (measured; C-core masks
a status whose metadata is too large). This module knows the messages of google.rpc, not gRPC itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from .printable import bounded, one_line
from .reasons import DOMAIN, Reason

DETAILS_KEY = "grpc-status-details-bin"
"""Trailing metadata that carries the status."""
MOST_MESSAGE_BYTES = 1000
MOST_VALUE_BYTES = 500
MOST_FIELD_BYTES = 200
MOST_VIOLATIONS_BYTES = 1800


@dataclass(frozen=True)
class Packed:
    """Status with which a call ends."""

    code: str
    """Name of the canonical status code."""
    message: str
    details: bytes
    """Value of `DETAILS_KEY`; at most 4 KB."""


@dataclass(frozen=True)
class Told:
    """Decoded status of a failed call."""

    reason: str
    """Name of a `Reason`, perhaps one that only another version knows."""
    message: str
    metadata: Mapping[str, str]
    retry_after_s: float | None


def pack(
    reason: Reason,
    message: str,
    metadata: Mapping[str, str],
    *,
    retry: bool = True,
    violations: Sequence[tuple[str, str]] = (),
) -> Packed:
    """Encodes a refusal in printable text. Keys that the table does not name are dropped, long texts are cut.

    Without `retry` the status never says that the call may be made again. `violations` are fields of the request that
    are wrong, and how, by default that of the metadata; those beyond `MOST_VIOLATIONS_BYTES` are dropped.
    """
    meaning = reason.value
    text = one_line(message, MOST_MESSAGE_BYTES)
    told = {
        key: bounded(metadata[key], MOST_VALUE_BYTES)
        for key in (*meaning.metadata, *meaning.told_if_known)
        if key in metadata
    }
    status = Status(code=Code.Value(meaning.code), message=text)
    status.details.add().Pack(ErrorInfo(reason=reason.name, domain=DOMAIN, metadata=told))
    if retry and meaning.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(meaning.retry_after_s * 1000))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    field = metadata.get("field", "") if reason is Reason.FIELD_INVALID else ""
    if wrong := _bad_request(violations or ([(field, message.removeprefix(f"{field}: "))] if field else ())):
        status.details.add().Pack(wrong)
    return Packed(meaning.code, text, status.SerializeToString())


def _bad_request(violations: Sequence[tuple[str, str]]) -> BadRequest | None:
    wrong = BadRequest()
    for field, problem in violations:
        wrong.field_violations.add(
            field=bounded(field, MOST_FIELD_BYTES), description=one_line(problem, MOST_VALUE_BYTES)
        )
        if wrong.ByteSize() > MOST_VIOLATIONS_BYTES:
            del wrong.field_violations[-1]
            break
    return wrong if wrong.field_violations else None


def unpack(details: bytes) -> Told | None:
    """Decodes the value of `DETAILS_KEY`; None if it is not a status of vramd."""
    info, retry, known = ErrorInfo(), RetryInfo(), False
    try:
        status = Status.FromString(details)
        for detail in status.details:
            if detail.Unpack(info):
                known = info.domain == DOMAIN
            else:
                detail.Unpack(retry)
    except DecodeError:
        return None
    if not known:
        return None
    after_s = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return Told(info.reason, status.message, dict(info.metadata), after_s)
