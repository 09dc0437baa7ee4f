"""What a call can raise: one class per thing that a caller can act on, and the one table from reasons to classes.

Every class is a `VramdError`; where Python has a name for the same thing, it is that too (`except LookupError` catches
`NotFound`). Pure: no gRPC, no protobuf.
"""

from collections.abc import Mapping

from vramd_proto.v1.reasons import Reason


class VramdError(Exception):
    """A call failed. `str(error)` says why, for people.

    `reason` is a name of the table of reasons, or the status code's name where the failure has none. `metadata` has the
    numbers and names of the message. `retry_after_s` is set where the same call may succeed later. `code` is the name
    of the gRPC status code; empty where no call was made.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.code = code

    def __reduce__(self) -> tuple[type["VramdError"], tuple[object, ...]]:
        return type(self), (self.reason, self.message, self.metadata, self.retry_after_s, self.code)


class InvalidRequest(VramdError, ValueError):
    """A field is missing or out of range; `metadata["field"]` names it."""


class PromptTooLong(InvalidRequest):
    """The prompt does not fit: shorten it, or load the model with more context."""


class TokenRefused(VramdError, PermissionError):
    """The call carried no token, or that of another supervisor."""


class NotFound(VramdError, LookupError):
    """No model has this id."""


class FileMissing(NotFound):
    """The model is known, but its file is gone."""


class FileUnusable(VramdError):
    """The model's file is damaged, or no regular file."""


class Unsupported(VramdError):
    """The model, or the llama.cpp that is installed, cannot do what was asked."""


class ChatTemplateUnusable(Unsupported):
    """The model has no chat template, or it refuses these messages; `generate` works without one."""


class TooLarge(VramdError, MemoryError):
    """The model needs more than a device may ever give: fewer layers, less context, or a larger budget may help."""


class LoadedDifferently(VramdError):
    """The model is loaded with other settings than the call asks for: unload it first, or ask for nothing special."""


class NotLoaded(VramdError):
    """There is nothing to unload."""


class EngineMissing(VramdError):
    """The model's engine is not installed; the message names the line that installs it."""


class DeviceUnusable(VramdError):
    """The device is unknown or cannot hold the model."""


class Exhausted(VramdError):
    """There is too little of something at this moment."""


class QueueFull(Exhausted):
    """Too many requests wait."""


class MemoryExhausted(Exhausted, MemoryError):
    """What is free, or could be made free, is less than the model needs; `metadata["heldBy"]` says who has it."""


class Unavailable(VramdError):
    """The same call may succeed later."""


class SupervisorUnreachable(Unavailable, ConnectionError):
    """Nothing answers at the supervisor's address."""


class SupervisorNotFound(SupervisorUnreachable):
    """No supervisor runs in the runtime folder; the message says how to start one."""


class ShuttingDown(Unavailable):
    """The supervisor ends."""


class LoadTimedOut(Unavailable, TimeoutError):
    """The load took too long and was ended."""


class WorkerCrashed(VramdError):
    """The model's process ended before or in the middle of the answer; what was received until then is true."""


class Unloaded(VramdError):
    """The model was unloaded while the request ran or waited."""


class DeadlinePassed(VramdError, TimeoutError):
    """The call took longer than its `timeout_s`, or than the supervisor allows."""


class Cancelled(VramdError):
    """The call was ended from elsewhere: its client was closed, or the supervisor gave it up."""


class Unimplemented(VramdError, NotImplementedError):
    """The supervisor does not know this call: it is older than this client."""


class Internal(VramdError):
    """A fault of vramd; the supervisor's log says more under `metadata["incidentId"]`."""


BY_REASON: Mapping[Reason, type[VramdError]] = {
    Reason.FIELD_INVALID: InvalidRequest,
    Reason.CONTEXT_OVERFLOW: PromptTooLong,
    Reason.PROMPT_TOO_LARGE: PromptTooLong,
    Reason.TOKEN_MISSING: TokenRefused,
    Reason.TOKEN_INVALID: TokenRefused,
    Reason.MODEL_NOT_FOUND: NotFound,
    Reason.MODEL_FILE_MISSING: FileMissing,
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
    Reason.QUEUE_FULL: QueueFull,
    Reason.MEMORY_EXHAUSTED: MemoryExhausted,
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
