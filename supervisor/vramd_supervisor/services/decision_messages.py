"""Decisions to public messages. Translates, decides nothing."""

from vramd_proto.v1 import supervisor_pb2

from ..files.journal import Record


def decision(record: Record) -> supervisor_pb2.Decision:
    """One record of the journal."""
    made = record.decision
    return supervisor_pb2.Decision(
        id=record.number,
        time_s=record.time_s,
        kind=made.kind.value,
        model=made.model,
        incarnation=made.incarnation,
        for_whom=made.for_whom,
        cause=made.cause,
        numbers=made.numbers,
        rejected=[supervisor_pb2.Rejected(what=one.what, why=one.why) for one in made.rejected],
    )
