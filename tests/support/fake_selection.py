"""What a scripted supervisor says of the models for a task."""

from vramd_proto.v1 import model_pb2


def selection() -> model_pb2.SelectModelResponse:
    """A coder that is not loaded, before a general model that is."""
    general = model_pb2.Considered(model="talker", score=61, why_not="a general model, not made for code")
    return model_pb2.SelectModelResponse(
        model="coder",
        score=87.5,
        fits=True,
        reasons=["made for code: its name says so", "there is room for it"],
        considered=[general],
    )
