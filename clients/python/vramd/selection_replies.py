"""Turns messages about selected models into values. Pure; shared by all clients."""

from vramd_proto.v1 import model_pb2

from vramd.selection_values import Considered, Selection


def selection(message: model_pb2.SelectModelResponse) -> Selection:
    """The model for a task."""
    return Selection(
        model=message.model,
        score=message.score,
        loaded=message.loaded,
        fits=message.fits,
        reasons=tuple(message.reasons),
        considered=tuple(Considered(other.model, other.score, other.why_not) for other in message.considered),
    )
