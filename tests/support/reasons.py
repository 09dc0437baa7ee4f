"""What a failed call must carry, whatever its reason; and which reasons only a real engine gives."""

from typing import Any

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from vramd import VramdError, failures
from vramd.failures import BY_REASON
from vramd_common.reasons import Reason

ENGINE_ONLY = {
    Reason.MODEL_UNSUPPORTED,
    Reason.EMBEDDING_UNSUPPORTED,
    Reason.GENERATION_UNSUPPORTED,
    Reason.CHAT_TEMPLATE_UNUSABLE,
    Reason.OUTPUT_NOT_FINITE,
}
"""Given by llama.cpp alone; the others need no real model."""

NO_CLIENT_OF_OURS = {Reason.REQUEST_UNREADABLE}
"""Given for what only a client that is made by hand can send."""
DEAD_DRIVES_ONLY = {Reason.FILE_UNANSWERED}
"""Given where a file does not answer; it takes as long as one is waited for."""

KERNEL_ONLY = {Reason.HOST_OOM}
"""Given where the kernel has no more memory."""

AT_THE_LIMITS_ONLY = {Reason.FD_EXHAUSTED, Reason.PROCESSES_EXHAUSTED, Reason.GPU_LOST, Reason.READER_STALLED}
"""Given where the system has no more of something, a card is lost, or a caller reads nothing for half a minute."""

MOST_DETAIL_BYTES = 4096
MOST_MESSAGE_BYTES = 1024


_calls: dict[str, Any] = {}
"""What errors were made of, by their words: they do not tell themselves, so as not to show the frames of gRPC."""
_from_rpc = failures.from_rpc


def _noted(error: grpc.RpcError) -> VramdError:
    told = _from_rpc(error)
    _calls[str(told)] = error
    return told


failures.from_rpc = _noted


def check(error: VramdError, reason: Reason, *, again: bool = True) -> None:
    """Asserts that an error is what the table of reasons says, as Python class and on the wire.

    Without `again` the caller must not be told to make the call once more.
    """
    meaning = reason.value
    assert (error.reason, error.code) == (reason.name, meaning.code), error
    assert type(error) is BY_REASON[reason]
    assert error.retry_after_s == (meaning.retry_after_s if again else None)
    assert set(meaning.metadata) <= set(error.metadata)
    assert "" not in (error.metadata[key] for key in meaning.metadata)

    call = _calls[str(error)]
    packed = [entry.value for entry in call.trailing_metadata() or () if entry.key == "grpc-status-details-bin"]
    assert len(packed) == 1
    assert isinstance(packed[0], bytes)
    assert len(packed[0]) <= MOST_DETAIL_BYTES
    assert 0 < len(str(error).encode()) <= MOST_MESSAGE_BYTES
    assert "Traceback" not in str(error)
    status = Status.FromString(packed[0])
    assert (status.code, status.message) == (grpc.StatusCode[meaning.code].value[0], str(error))
    kinds = sorted(detail.TypeName().rpartition(".")[2] for detail in status.details)
    info = ErrorInfo()
    assert [detail.Unpack(info) for detail in status.details].count(True) == 1
    assert info.domain == "vramd"
    tells_when = again and meaning.retry_after_s is not None
    tells_fields = reason is Reason.FIELD_INVALID
    assert kinds == ["BadRequest"] * tells_fields + ["ErrorInfo"] + ["RetryInfo"] * tells_when
