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
    packed = pack(refusal.reason, refusal.message, refusal.metadata, retry=refusal.retry)
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


def from_worker(error: grpc.aio.AioRpcError) -> Refusal | None:
    """Returns a worker's refusal; None if the call failed without one, that is, if the connection broke.

    Only reasons of the table pass, so a worker cannot make up statuses.
    """
    details = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    told = unpack(details) if isinstance(details, bytes) else None
    if told is None or told.reason not in Reason.__members__:
        return None
    return Refusal(Reason[told.reason], told.message, told.metadata)
