"""Refusals to gRPC statuses and back. The only place of the supervisor that maps errors; the table says how."""

import uuid
from typing import Any, NoReturn, TypeAlias

import grpc
from vramd_common.reasons import Reason
from vramd_common.statuses import DETAILS_KEY, pack, unpack

from .domain.errors import Refusal

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


async def abort(context: Context, refusal: Refusal) -> NoReturn:
    """Ends a call with the status of a refusal."""
    packed = pack(refusal.reason, refusal.message, refusal.metadata, retry=refusal.retry, violations=refusal.violations)
    await context.abort(grpc.StatusCode[packed.code], packed.message, ((DETAILS_KEY, packed.details),))
    raise AssertionError("abort returned")


def time_left_s(context: Context, most_s: float) -> float:
    """Seconds that a call may still take: by its own deadline, `most_s` at most."""
    left_s: float | None = context.time_remaining()
    return most_s if left_s is None else min(left_s, most_s)


def incident(what: str) -> tuple[str, Refusal]:
    """Returns an id for the log, and the refusal for the caller, which has the id and nothing else of the fault."""
    incident_id = uuid.uuid4().hex[:12]
    text = f"{what}; the log says more under incident {incident_id}"
    return incident_id, Refusal(Reason.INTERNAL, text, {"incidentId": incident_id})


OF_WORKERS = frozenset(
    {
        Reason.FIELD_INVALID,
        Reason.CONTEXT_OVERFLOW,
        Reason.MODEL_FILE_MISSING,
        Reason.MODEL_PATH_INVALID,
        Reason.MODEL_FILE_INVALID,
        Reason.MODEL_UNSUPPORTED,
        Reason.ENGINE_MISSING,
        Reason.DEVICE_UNUSABLE,
        Reason.EMBEDDING_UNSUPPORTED,
        Reason.GENERATION_UNSUPPORTED,
        Reason.CHAT_TEMPLATE_UNUSABLE,
        Reason.OUTPUT_NOT_FINITE,
        Reason.MEMORY_EXHAUSTED,
        Reason.INTERNAL,
    }
)
"""Reasons that are a worker's to give; the others speak of the supervisor."""


def from_worker(error: grpc.aio.AioRpcError, model: str) -> Refusal | None:
    """Returns the refusal of the worker of a model; None if the call failed without one.

    Only certain reasons pass, under the code of the table and for this model, so a worker cannot make up statuses.
    """
    details = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    told = unpack(details) if isinstance(details, bytes) else None
    reason = Reason.__members__.get(told.reason) if told else None
    if told is None or reason not in OF_WORKERS:
        return None
    about = {key: value for key, value in told.metadata.items() if key in reason.value.metadata}
    return Refusal(reason, told.message, about | ({"model": model} if "model" in reason.value.metadata else {}))
