"""Values of the core as messages of the wire, by the names of their fields; enums by the names of their members."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from vramd_common.wire_values import words
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
from ..settings.config_diff import Effect

Filled = TypeVar("Filled", bound=Message)

_WIRE: Mapping[type[Enum], Any] = {
    ModelState: model_pb2.ModelState,
    Cause: model_pb2.Cause,
    Awaited: model_pb2.Awaited,
    Exit: model_pb2.Exit,
    Verdict: model_pb2.PlanVerdict,
    Source: model_pb2.QuoteSource,
    Lowered: model_pb2.Lowered,
    Confidence: model_pb2.QuoteConfidence,
    Priority: load_pb2.Priority,
    DeviceKind: supervisor_pb2.DeviceKind,
    Level: supervisor_pb2.Pressure,
    DecisionKind: supervisor_pb2.DecisionKind,
    Effect: supervisor_pb2.ConfigEffect,
}


def _numbers(members: type[Enum], wire: Any) -> Mapping[Any, Any]:
    """The wire's number of each member; one that the wire lacks is a KeyError, at the import."""
    known = words(wire.DESCRIPTOR)
    return {member: known[getattr(member, "word", member.name).lower()] for member in members} | {None: 0}


TABLES: Mapping[type, Mapping[Any, Any]] = {members: _numbers(members, wire) for members, wire in _WIRE.items()}


def filled(kind: type[Filled], value: object, /, **given: Any) -> Filled:
    """Makes a message with the fields that a value has under the same names; `given` has the others."""
    for field in kind.DESCRIPTOR.fields:
        if field.name not in given and (held := getattr(value, field.name, None)) is not None:
            given[field.name] = held
    return cast(Any, kind)(**{name: _plain(held) for name, held in given.items()})  # type: ignore[no-any-return]


def _plain(held: Any) -> Any:
    """Numbers for members of enums, alone or in a tuple."""
    if isinstance(held, tuple):
        return [_plain(one) for one in held]
    return TABLES[type(held)][held] if isinstance(held, Enum) else held
