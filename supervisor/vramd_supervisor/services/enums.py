"""Enums and words of the core as enums of the wire: by name, so that a member that the wire lacks is found at once."""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from vramd_proto.v1 import load_pb2, model_pb2, supervisor_pb2

from ..core.forecast import Verdict
from ..core.pressure import Level
from ..core.state import ModelState
from ..domain.causes import Awaited, Cause
from ..domain.config import Priority
from ..domain.decisions import DecisionKind
from ..domain.device_view import DeviceKind
from ..domain.quote import Confidence, Lowered, Source
from ..domain.receipt import Exit

Member = TypeVar("Member", bound=Enum)
Value = TypeVar("Value", bound=int)
Filled = TypeVar("Filled", bound=Message)


def _of(members: Iterable[Member], value_of: Callable[[str], Value], prefix: str) -> dict[Member, Value]:
    return {member: value_of(f"{prefix}_{member.name}") for member in members}


STATES = _of(ModelState, model_pb2.ModelState.Value, "MODEL_STATE")
CAUSES: Mapping[Cause | None, "model_pb2.Cause.ValueType"]
CAUSES = {None: model_pb2.CAUSE_UNSPECIFIED} | _of(Cause, model_pb2.Cause.Value, "CAUSE")
AWAITED: Mapping[Awaited | None, "model_pb2.Awaited.ValueType"]
AWAITED = {None: model_pb2.AWAITED_UNSPECIFIED} | _of(Awaited, model_pb2.Awaited.Value, "AWAITED")
EXITS: Mapping[Exit | None, "model_pb2.Exit.ValueType"]
EXITS = {None: model_pb2.EXIT_UNSPECIFIED} | _of(Exit, model_pb2.Exit.Value, "EXIT")
VERDICTS = _of(Verdict, model_pb2.PlanVerdict.Value, "PLAN_VERDICT")
SOURCES = _of(Source, model_pb2.QuoteSource.Value, "QUOTE_SOURCE")
LOWERED = _of(Lowered, model_pb2.Lowered.Value, "LOWERED")
CONFIDENCES = _of(Confidence, model_pb2.QuoteConfidence.Value, "QUOTE_CONFIDENCE")
PRIORITIES = _of(Priority, load_pb2.Priority.Value, "PRIORITY")
DEVICE_KINDS = {kind: supervisor_pb2.DeviceKind.Value(f"DEVICE_KIND_{kind.word.upper()}") for kind in DeviceKind}
LEVELS = _of(Level, supervisor_pb2.Pressure.Value, "PRESSURE")
DECISION_KINDS = _of(DecisionKind, supervisor_pb2.DecisionKind.Value, "DECISION_KIND")

_TABLES: Mapping[type, Mapping[Any, int]] = {
    ModelState: STATES,
    Cause: CAUSES,
    Awaited: AWAITED,
    Exit: EXITS,
    Verdict: VERDICTS,
    Source: SOURCES,
    Confidence: CONFIDENCES,
    Priority: PRIORITIES,
    DeviceKind: DEVICE_KINDS,
    Level: LEVELS,
    DecisionKind: DECISION_KINDS,
}


def filled(kind: type[Filled], value: object, /, **given: Any) -> Filled:
    """Makes a message with the fields that a value has under the same names; `given` has the others."""
    for field in kind.DESCRIPTOR.fields:
        if field.name not in given and (held := getattr(value, field.name, None)) is not None:
            given[field.name] = _TABLES[type(held)][held] if isinstance(held, Enum) else held
    return cast(Any, kind)(**given)  # type: ignore[no-any-return]
