"""The one table of errors: reason, canonical code, whether and when to try again, keys of its metadata.

Supervisor, worker and SDK read it; nothing else maps errors. The reason is sent as google.rpc.ErrorInfo.reason in the
domain `vramd`. Pure: the standard library only.
"""

from dataclasses import dataclass
from enum import Enum

DOMAIN = "vramd"


@dataclass(frozen=True)
class Meaning:
    """Meaning of a reason on the wire."""

    code: str
    """Name of a canonical gRPC status code."""
    text: str
    """Situation in which it is given."""
    metadata: tuple[str, ...] = ()
    """Keys of its metadata, lowerCamelCase."""
    told_if_known: tuple[str, ...] = ()
    """Further keys, which are there if they mean something."""
    retry_after_s: float | None = None
    """Seconds after which the same call may succeed; None: waiting does not help."""


_SENT = ("tokensSent",)
"""Tokens of an answer that the caller has had before its end."""


class Reason(Enum):
    """Why a call failed. The member's name is sent."""

    FIELD_INVALID = Meaning("INVALID_ARGUMENT", "a field of the request is missing or out of range", ("field",))
    CONTEXT_OVERFLOW = Meaning(
        "INVALID_ARGUMENT", "the prompt is longer than the context", ("promptTokens", "contextTokens")
    )
    PROMPT_TOO_LARGE = Meaning("INVALID_ARGUMENT", "the request has more bytes than are taken", ("bytes", "limitBytes"))
    REQUEST_UNREADABLE = Meaning("INVALID_ARGUMENT", "the request could not be decoded")
    TOKEN_MISSING = Meaning("UNAUTHENTICATED", "the call carries no token")
    TOKEN_INVALID = Meaning("UNAUTHENTICATED", "the call carries a token that is not valid here")
    SCOPE_DENIED = Meaning("PERMISSION_DENIED", "the token is for use only, and the call is not", ("scope",))
    CONFIG_INVALID = Meaning(
        "INVALID_ARGUMENT", "the configuration file is wrong, so nothing of it is taken in", ("file", "line", "key")
    )
    MODEL_NOT_FOUND = Meaning("NOT_FOUND", "no model has this id", ("model",))
    MODEL_FILE_MISSING = Meaning("NOT_FOUND", "the model's file is not there", ("model", "path"))
    FILE_UNANSWERED = Meaning(
        "UNAVAILABLE", "a file or folder does not answer: its drive may be gone", ("path",), retry_after_s=5.0
    )
    MODEL_PATH_INVALID = Meaning("FAILED_PRECONDITION", "the model's path is no regular file", ("model", "path"))
    MODEL_FILE_INVALID = Meaning("FAILED_PRECONDITION", "the model's file is damaged or no GGUF", ("model",))
    MODEL_UNSUPPORTED = Meaning("FAILED_PRECONDITION", "this llama.cpp cannot run the model", ("model",))
    MODEL_TOO_LARGE = Meaning(
        "FAILED_PRECONDITION",
        "the model needs more than a device may ever give",
        ("model", "device", "neededBytes", "budgetBytes"),
    )
    MODEL_LOADED_DIFFERENTLY = Meaning(
        "FAILED_PRECONDITION",
        "the model is loaded with other settings than the call asks for",
        ("model", "differences"),
    )
    MODEL_NOT_LOADED = Meaning("FAILED_PRECONDITION", "there is nothing to unload", ("model",))
    ENGINE_MISSING = Meaning("FAILED_PRECONDITION", "the model's engine is not installed", ("model", "engine"))
    DEVICE_UNUSABLE = Meaning(
        "FAILED_PRECONDITION", "the device is unknown or cannot hold the model", ("model", "device")
    )
    GPU_LOST = Meaning("FAILED_PRECONDITION", "the device does not answer its driver any more", ("model", "device"))
    EMBEDDING_UNSUPPORTED = Meaning("FAILED_PRECONDITION", "the model gives no embeddings", ("model",))
    GENERATION_UNSUPPORTED = Meaning("FAILED_PRECONDITION", "the model gives embeddings only", ("model",))
    CHAT_TEMPLATE_UNUSABLE = Meaning(
        "FAILED_PRECONDITION", "the model has no chat template, or it refuses these messages", ("model",)
    )
    OUTPUT_NOT_FINITE = Meaning(
        "FAILED_PRECONDITION",
        "what the model computed for this request is no number: its weights are damaged there, or overflow",
        ("model",),
    )
    QUEUE_FULL = Meaning(
        "RESOURCE_EXHAUSTED", "too many requests wait", ("model", "queued", "limit"), retry_after_s=2.0
    )
    MEMORY_EXHAUSTED = Meaning(
        "RESOURCE_EXHAUSTED",
        "what is free, or could be made free, is less than the model needs",
        ("model", "device", "neededBytes", "freeBytes", "heldBy"),
        retry_after_s=5.0,
    )
    RESIDENCY_EXHAUSTED = Meaning(
        "RESOURCE_EXHAUSTED",
        "models that may not be evicted keep it out: of its group, or as many as may be there at once",
        ("model", "heldBy"),
        retry_after_s=5.0,
    )
    RESERVATION_TOO_LARGE = Meaning(
        "FAILED_PRECONDITION",
        "the reservation is for more than the device may ever give",
        ("device", "neededBytes", "budgetBytes"),
    )
    RESERVATION_EXHAUSTED = Meaning(
        "RESOURCE_EXHAUSTED",
        "what is free, or could be made free, is less than the reservation is for",
        ("device", "neededBytes", "freeBytes", "heldBy"),
        retry_after_s=5.0,
    )
    FD_EXHAUSTED = Meaning(
        "RESOURCE_EXHAUSTED", "the supervisor may open no more files and connections", retry_after_s=5.0
    )
    PROCESSES_EXHAUSTED = Meaning(
        "RESOURCE_EXHAUSTED", "the system allows no more processes or threads", retry_after_s=5.0
    )
    SHUTTING_DOWN = Meaning("UNAVAILABLE", "the supervisor ends", retry_after_s=2.0)
    DRAINING = Meaning("UNAVAILABLE", "the supervisor admits nothing new until it is undrained")
    WORKER_CRASHED = Meaning(
        "UNAVAILABLE",
        "the model's process ended before it said anything, and again where the call was run again; what can be run "
        "again already was",
        ("model", "exit"),
    )
    MODEL_QUARANTINED = Meaning(
        "FAILED_PRECONDITION",
        "the model's processes died too often: it is not loaded for a while, or until it is reset",
        ("model", "strikes", "exit", "untilS"),
    )
    REQUEST_QUARANTINED = Meaning(
        "FAILED_PRECONDITION",
        "two processes died while they worked on this very request: it is not run again for a while",
        ("model", "untilS"),
        _SENT,
    )
    HOST_OOM = Meaning(
        "RESOURCE_EXHAUSTED",
        "the machine ran out of memory under the model's process, also with settings that take less",
        ("model",),
    )
    WORKER_HUNG = Meaning(
        "UNAVAILABLE", "the model's process made no progress before its answer and was ended", ("model", "exit")
    )
    LOAD_TIMEOUT = Meaning("UNAVAILABLE", "the load took too long and was ended", ("model", "limitS"))
    WORKER_CRASHED_MID_STREAM = Meaning(
        "ABORTED",
        "the model's process ended in the middle of an answer, which could not go on in another process",
        ("model", "exit"),
        _SENT,
    )
    MODEL_UNLOADED = Meaning("ABORTED", "the model was unloaded while the request ran or waited", ("model",), _SENT)
    READER_STALLED = Meaning("ABORTED", "the caller read nothing of the answer for too long", ("limitS",))
    DEADLINE_PASSED = Meaning("DEADLINE_EXCEEDED", "the request took longer than it may", ("limitS",), _SENT)
    INTERNAL = Meaning("INTERNAL", "a fault of vramd; the log says more under the incident's id", ("incidentId",))
