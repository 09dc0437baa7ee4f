"""The one table from reasons, and status codes, to classes of errors. Pure."""

from collections.abc import Mapping

from vramd_common.reasons import Reason

from vramd.errors import (
    Cancelled,
    ChatTemplateUnusable,
    DeadlinePassed,
    DeviceUnusable,
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
    QueueFull,
    ShuttingDown,
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
    Reason.EMBEDDING_UNSUPPORTED: Unsupported,
    Reason.GENERATION_UNSUPPORTED: Unsupported,
    Reason.CHAT_TEMPLATE_UNUSABLE: ChatTemplateUnusable,
    Reason.OUTPUT_NOT_FINITE: Unsupported,
    Reason.QUEUE_FULL: QueueFull,
    Reason.MEMORY_EXHAUSTED: MemoryExhausted,
    Reason.RESERVATION_TOO_LARGE: TooLarge,
    Reason.RESERVATION_EXHAUSTED: MemoryExhausted,
    Reason.RESIDENCY_EXHAUSTED: MemoryExhausted,
    Reason.SHUTTING_DOWN: ShuttingDown,
    Reason.WORKER_CRASHED: WorkerCrashed,
    Reason.LOAD_TIMEOUT: LoadTimedOut,
    Reason.WORKER_CRASHED_MID_STREAM: WorkerCrashed,
    Reason.MODEL_UNLOADED: Unloaded,
    Reason.DEADLINE_PASSED: DeadlinePassed,
    Reason.INTERNAL: Internal,
}

BY_CODE: Mapping[str, type[VramdError]] = {
    "CANCELLED": Cancelled,
    "INVALID_ARGUMENT": InvalidRequest,
    "DEADLINE_EXCEEDED": DeadlinePassed,
    "NOT_FOUND": NotFound,
    "PERMISSION_DENIED": TokenRefused,
    "RESOURCE_EXHAUSTED": Exhausted,
    "UNIMPLEMENTED": Unimplemented,
    "INTERNAL": Internal,
    "UNAVAILABLE": Unavailable,
    "UNAUTHENTICATED": TokenRefused,
}
"""For a reason that this client does not know yet, and for failures without any."""


def class_of(reason: str, code: str) -> type[VramdError]:
    """The class for a reason, else for a status code."""
    if reason in Reason.__members__:
        return BY_REASON[Reason[reason]]
    return BY_CODE.get(code, VramdError)
