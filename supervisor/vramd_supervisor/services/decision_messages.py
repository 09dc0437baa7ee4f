"""Decisions to public messages. Translates, decides nothing."""

from vramd_proto.v1 import supervisor_pb2

from ..files.journal import Record
from .enums import CAUSES, DECISION_KINDS


def decision(record: Record) -> supervisor_pb2.Decision:
    """One record of the journal."""
    made = record.decision
    return supervisor_pb2.Decision(
        id=record.number,
        time_s=record.time_s,
        kind=DECISION_KINDS[made.kind],
        model=made.model,
        incarnation=made.worker_id,
        for_whom=made.for_whom,
        cause=CAUSES[made.cause],
        message=made.message,
        reason=made.reason,
        numbers=made.numbers,
        rejected=[supervisor_pb2.Rejected(what=one.what, why=one.why) for one in made.rejected],
    )
