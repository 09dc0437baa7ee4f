"""Decisions to public messages. Translates, decides nothing."""

from collections.abc import Mapping

from vramd_proto.v1 import model_pb2, supervisor_pb2

from ..core.decisions import DecisionKind
from ..files.journal import Record
from .messages import CAUSES

KINDS: Mapping[DecisionKind, "supervisor_pb2.DecisionKind.ValueType"] = {
    kind: supervisor_pb2.DecisionKind.Value(f"DECISION_KIND_{kind.name}") for kind in DecisionKind
}


def decision(record: Record) -> supervisor_pb2.Decision:
    """One record of the journal."""
    made = record.decision
    return supervisor_pb2.Decision(
        id=record.number,
        time_s=record.time_s,
        kind=KINDS[made.kind],
        model=made.model,
        incarnation=made.incarnation,
        for_whom=made.for_whom,
        cause=CAUSES[made.cause] if made.cause else model_pb2.CAUSE_UNSPECIFIED,
        message=made.message,
        numbers=made.numbers,
        rejected=[supervisor_pb2.Rejected(what=one.what, why=one.why) for one in made.rejected],
    )
