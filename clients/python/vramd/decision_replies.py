"""Turns messages about decisions into values. Pure; shared by all clients."""

from vramd_proto.v1 import model_pb2, supervisor_pb2

from vramd.decision_values import Decision, Rejected
from vramd.enum_words import word


def decisions(message: supervisor_pb2.ListDecisionsResponse) -> tuple[Decision, ...]:
    """Newest first, as they come."""
    return tuple(map(_decision, message.decisions))


def _decision(message: supervisor_pb2.Decision) -> Decision:
    return Decision(
        id=message.id,
        time_s=message.time_s,
        kind=word(supervisor_pb2.DecisionKind, message.kind).lower(),
        model=message.model,
        incarnation=message.incarnation,
        for_whom=message.for_whom,
        cause=word(model_pb2.Cause, message.cause).lower(),
        reason=message.reason or None,
        message=message.message,
        numbers=dict(sorted(message.numbers.items())),  # the wire keeps no order
        rejected=tuple(Rejected(one.what, one.why) for one in message.rejected),
    )
