"""Turns messages about decisions into values. Pure; shared by all clients."""

from vramd_proto.v1 import supervisor_pb2

from vramd.decision_values import Decision, Rejected


def decisions(message: supervisor_pb2.ListDecisionsResponse) -> tuple[Decision, ...]:
    """Newest first, as they come."""
    return tuple(map(_decision, message.decisions))


def _decision(message: supervisor_pb2.Decision) -> Decision:
    return Decision(
        id=message.id,
        time_s=message.time_s,
        kind=message.kind,
        model=message.model,
        incarnation=message.incarnation,
        for_whom=message.for_whom,
        cause=message.cause,
        numbers=dict(sorted(message.numbers.items())),  # the wire keeps no order
        rejected=tuple(Rejected(one.what, one.why) for one in message.rejected),
    )
