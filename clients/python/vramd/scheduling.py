"""How a call waits, and which model it is for, as it travels. Pure; raises InvalidRequest for what cannot be said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from vramd_proto.v1 import load_pb2, model_pb2

from vramd.errors import InvalidRequest

PRIORITIES: Mapping[str, load_pb2.Priority.ValueType] = {
    "interactive": load_pb2.PRIORITY_INTERACTIVE,
    "normal": load_pb2.PRIORITY_NORMAL,
    "batch": load_pb2.PRIORITY_BATCH,
}
PREFERENCES: Mapping[str, load_pb2.Prefer.ValueType] = {"light_now": load_pb2.PREFER_LIGHT_NOW}

SCHEDULING_FIELDS = ("priority", "prefer")
"""Settings that travel in one message."""

Value = TypeVar("Value")


def scheduling(settings: Mapping[str, object], progress: bool = False) -> load_pb2.Scheduling | None:
    """None where nothing is asked for. `progress`: a stream is to tell what it waits for."""
    asked = load_pb2.Scheduling(
        priority=priority(settings.get("priority")), prefer=_prefer(settings.get("prefer")), progress=progress
    )
    return asked if asked.ListFields() else None


def priority(word: object) -> load_pb2.Priority.ValueType:
    """How urgent something is; None leaves it to the configuration."""
    return _one_of("priority", word, PRIORITIES, load_pb2.PRIORITY_UNSPECIFIED)


def select(task: str, role: str, context: int, prefer: str | None) -> model_pb2.SelectModelRequest:
    """A task that a model is wanted for."""
    request = model_pb2.SelectModelRequest(prefer=_prefer(prefer))
    for field, value in {"task": task, "role": role, "context_tokens": context}.items():
        try:
            setattr(request, field, value)
        except (TypeError, ValueError) as error:
            raise _invalid(field, f"cannot be sent: {error}") from error
    return request


def _prefer(word: object) -> load_pb2.Prefer.ValueType:
    return _one_of("prefer", word, PREFERENCES, load_pb2.PREFER_UNSPECIFIED)


def _one_of(field: str, word: object, words: Mapping[str, Value], unsaid: Value) -> Value:
    if word is None:
        return unsaid
    if not isinstance(word, str) or word not in words:
        raise _invalid(field, f"{word!r} is not one of {', '.join(words)}")
    return words[word]


def _invalid(field: str, problem: str) -> InvalidRequest:
    return InvalidRequest("FIELD_INVALID", f"{field}: {problem}", {"field": field})
