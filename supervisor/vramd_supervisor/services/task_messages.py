"""Wishes and choices of a model, to and from public messages. Translates, decides nothing."""

from vramd_common.load_settings import MOST_TOKENS
from vramd_proto.v1 import load_pb2, model_pb2

from ..domain.catalog import why_no_task
from ..selection.tasks import Choice, Wish
from .validation import bad, name


def wish(request: model_pb2.SelectModelRequest) -> Wish:
    """What is asked for. Raises RefusedError."""
    if request.context_tokens > MOST_TOKENS:
        bad("context_tokens", f"must be 0 to {MOST_TOKENS}, not {request.context_tokens}")
    return Wish(
        named("task", request.task),
        name("role", request.role),
        request.context_tokens,
        light_now=request.prefer == load_pb2.PREFER_LIGHT_NOW,
    )


def named(field: str, task: str) -> str:
    """The name of a task, if it can be one. Raises RefusedError."""
    if why := why_no_task(task):
        bad(field, why)
    return task


def choice(chosen: Choice) -> model_pb2.SelectModelResponse:
    """The model that was chosen, and why."""
    return model_pb2.SelectModelResponse(
        model=chosen.model,
        score=chosen.score,
        loaded=chosen.loaded,
        fits=chosen.fits,
        reasons=chosen.reasons,
        considered=[
            model_pb2.Considered(model=other.model, score=other.score, why_not=other.why_not)
            for other in chosen.considered
        ],
    )
