"""Makes exceptions of what comes over the wire instead of an answer: status code, text, details."""

from collections.abc import Mapping

import grpc
from vramd_common.reasons import Reason
from vramd_common.statuses import DETAILS_KEY, unpack

from vramd.errors import (
    Cancelled,
    ChatTemplateUnusable,
    ConfigInvalid,
    DeadlinePassed,
    DeviceUnusable,
    Draining,
    EngineMissing,
    Exhausted,
    FileMissing,
    FileUnusable,
    Internal,
    InvalidRequest,
    LoadedDifferently,
    LoadTimedOut,
    MemoryExhausted,
    NotFound,
    NotLoaded,
    PromptTooLong,
    Quarantined,
    QueueFull,
    ScopeDenied,
    ShuttingDown,
    SupervisorUnreachable,
    TokenRefused,
    TooLarge,
    Unavailable,
    Unimplemented,
    Unloaded,
    Unsupported,
    VramdError,
    WorkerCrashed,
)

BY_REASON: Mapping[Reason, type[VramdError]] = {
    Reason.FIELD_INVALID: InvalidRequest,
    Reason.CONTEXT_OVERFLOW: PromptTooLong,
    Reason.PROMPT_TOO_LARGE: PromptTooLong,
    Reason.REQUEST_UNREADABLE: InvalidRequest,
    Reason.TOKEN_MISSING: TokenRefused,
    Reason.TOKEN_INVALID: TokenRefused,
    Reason.SCOPE_DENIED: ScopeDenied,
    Reason.CONFIG_INVALID: ConfigInvalid,
    Reason.MODEL_NOT_FOUND: NotFound,
    Reason.MODEL_FILE_MISSING: FileMissing,
    Reason.FILE_UNANSWERED: Unavailable,
    Reason.MODEL_PATH_INVALID: FileUnusable,
    Reason.MODEL_FILE_INVALID: FileUnusable,
    Reason.MODEL_UNSUPPORTED: Unsupported,
    Reason.MODEL_TOO_LARGE: TooLarge,
    Reason.MODEL_LOADED_DIFFERENTLY: LoadedDifferently,
    Reason.MODEL_NOT_LOADED: NotLoaded,
    Reason.ENGINE_MISSING: EngineMissing,
    Reason.DEVICE_UNUSABLE: DeviceUnusable,
    Reason.GPU_LOST: DeviceUnusable,
    Reason.EMBEDDING_UNSUPPORTED: Unsupported,
    Reason.GENERATION_UNSUPPORTED: Unsupported,
    Reason.CHAT_TEMPLATE_UNUSABLE: ChatTemplateUnusable,
    Reason.OUTPUT_NOT_FINITE: Unsupported,
    Reason.QUEUE_FULL: QueueFull,
    Reason.MEMORY_EXHAUSTED: MemoryExhausted,
    Reason.RESERVATION_TOO_LARGE: TooLarge,
    Reason.RESERVATION_EXHAUSTED: MemoryExhausted,
    Reason.RESIDENCY_EXHAUSTED: MemoryExhausted,
    Reason.FD_EXHAUSTED: Exhausted,
    Reason.PROCESSES_EXHAUSTED: Exhausted,
    Reason.SHUTTING_DOWN: ShuttingDown,
    Reason.DRAINING: Draining,
    Reason.WORKER_CRASHED: WorkerCrashed,
    Reason.WORKER_HUNG: WorkerCrashed,
    Reason.MODEL_QUARANTINED: Quarantined,
    Reason.REQUEST_QUARANTINED: Quarantined,
    Reason.HOST_OOM: MemoryExhausted,
    Reason.LOAD_TIMEOUT: LoadTimedOut,
    Reason.WORKER_CRASHED_MID_STREAM: WorkerCrashed,
    Reason.MODEL_UNLOADED: Unloaded,
    Reason.READER_STALLED: Cancelled,
    Reason.DEADLINE_PASSED: DeadlinePassed,
    Reason.INTERNAL: Internal,
}

BY_CODE: Mapping[str, type[VramdError]] = {
    "CANCELLED": Cancelled,
    "INVALID_ARGUMENT": InvalidRequest,
    "DEADLINE_EXCEEDED": DeadlinePassed,
    "NOT_FOUND": NotFound,
    "PERMISSION_DENIED": ScopeDenied,
    "RESOURCE_EXHAUSTED": Exhausted,
    "UNIMPLEMENTED": Unimplemented,
    "INTERNAL": Internal,
    "UNAVAILABLE": Unavailable,
    "UNAUTHENTICATED": TokenRefused,
}
"""For a reason that this client does not know yet, and for failures without any."""


HOW_TO_START = "start one with: vramd serve --models DIR"


def failure(code: str, text: str, details: bytes) -> VramdError:
    """The error for a status code's name, its text and the bytes of its google.rpc.Status, empty if there are none."""
    told = unpack(details)
    if told is None:
        return _without_reason(code, text)
    return _class_of(told.reason, code)(told.reason, text, dict(told.metadata), told.retry_after_s, code)


def _without_reason(code: str, text: str) -> VramdError:
    """The error that gRPC itself reports, or a server that is not vramd."""
    if code == "UNAVAILABLE" and "handshake" in text.lower():
        words = f"no TLS with the supervisor ({text}); `ca` (--ca, VRAMD_CA) names the certificate that it serves with"
        return SupervisorUnreachable(code, words, code=code)
    if code == "UNAVAILABLE":
        return SupervisorUnreachable(code, f"no supervisor answers ({text}); {HOW_TO_START}", code=code)
    if code == "DEADLINE_EXCEEDED":
        text = "the call took longer than its timeout"
    return _class_of("", code)(code, text, code=code)


def may_be_gone(error: VramdError) -> bool:
    """Whether the supervisor may be gone, or another in its place."""
    return isinstance(error, SupervisorUnreachable | TokenRefused | Unimplemented)


def from_rpc(error: grpc.RpcError) -> VramdError:
    """The error for what a channel raised."""
    # A stream of gRPC raises itself: with the frames that it came through, it would keep itself alive.
    error.__traceback__ = None
    return failure(error.code().name, error.details() or "", _details(error))


def _details(error: grpc.RpcError) -> bytes:
    """The two kinds of channels have two kinds of metadata."""
    found: object
    if isinstance(error, grpc.aio.AioRpcError):
        found = error.trailing_metadata().get(DETAILS_KEY)
    else:
        found = next((entry.value for entry in error.trailing_metadata() or () if entry.key == DETAILS_KEY), None)
    return found if isinstance(found, bytes) else b""


def _class_of(reason: str, code: str) -> type[VramdError]:
    """The class for a reason, else for a status code."""
    if reason in Reason.__members__:
        return BY_REASON[Reason[reason]]
    return BY_CODE.get(code, VramdError)
