"""The values that calls return as records, and their reading from messages of the wire. Pure."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from itertools import pairwise
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from csharp_protos import MODULES, comments, enum_name
from csharp_text import doc, file, pascal, prose
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from vramd.values import answers, configuration, devices, events, models, plans
from vramd_proto.v1 import supervisor_pb2

HOMES: tuple[ModuleType, ...] = (answers, configuration, devices, events, models, plans)
BY_HAND = {answers.Embeddings, answers.Piece, devices.Reservation, events.Event}
"""Values that C# has in another form, written by hand."""
MESSAGES: Mapping[type, str] = {
    answers.Timeline: "",
    configuration.Reloaded: "ReloadConfigResponse",
    devices.Drained: "DrainResponse",
    devices.StandingReservation: "Reservation",
    devices.Status: "GetStatusResponse",
    models.Held: "HoldModelResponse",
    models.LoadProgress: "LoadModelResponse",
    models.Rescan: "RescanModelsResponse",
    plans.Plan: "PlanLoadResponse",
    plans.PlanSettings: "Settings",
    plans.Selection: "SelectModelResponse",
}
"""The messages that are not called like their value; "" for what no message has."""
EVENTS = {kind for kind in get_args(events.Detail) if kind is not models.Receipt}
NAMES = {
    "batch": "BatchTokens",
    "context": "ContextTokens",
    "exit_s": "ExitTime",
    "pid": "ProcessId",
    "release_s": "ReleaseTime",
    "seconds": "Duration",
    "ubatch": "UbatchTokens",
}
"""Fields whose properties are called otherwise."""
KEEP_ALIVES = {"keep_alive_s"}
"""Durations where -1 is for ever."""
DOCS = {
    "after": "What it is now.",
    "before": "What it was.",
    "budget_bytes": "The most that vramd may promise.",
    "bytes": "The memory that it would free there.",
    "cause": "The cause of the change.",
    "changes": "The keys that differ.",
    "confidence": "How exact the figures are.",
    "devices": "The devices, one by one.",
    "effect": "What the change comes to.",
    "engine": "The engine that runs it.",
    "gives_back": "The memory that it would free, by device.",
    "has_chat_template": "Its file has a chat template.",
    "id": "Its id.",
    "kind": "Its kind.",
    "kv_type": "Type of the KV cache.",
    "model": "Id of the model.",
    "models": "Ids of the models.",
    "pid": "Id of the process; None while there is none.",
    "pinned": "Never evicted, nor unloaded for being idle.",
    "prompt_s": "Computing the prompt.",
    "quote": "The memory that it needs.",
    "reason": "The reason of the end.",
    "rejected": "The alternatives that were rejected.",
    "reserved_bytes": "Bytes that vramd has promised there.",
    "settings": "The settings of the load.",
    "size_bytes": "Bytes that it is for.",
    "state": "The state of the model.",
    "supervisor": "The supervisor's process.",
    "SupervisorInfo.pid": "Id of the process.",
    "uptime_s": "The time since it started.",
    "usage": "The tokens and the time that it took.",
    "version": "Its version.",
    "weights_bytes": "The weights.",
    "why": "The reason, in words.",
    "worker_id": "Counts the processes of the model.",
}
"""Documentation of fields that neither Python nor the .proto files describe."""
SAID = {
    "-1 stays": "`Timeout.InfiniteTimeSpan`: it stays",
    "in seconds; None for": "as durations; None for",
    "Unix time.": "The time at which it happened.",
    '"unspecified"': "`Unspecified`",
    "no_room and too_large are": "`NoRoom` and `TooLarge` are",
    '"declared": by': "`Declared`: by",
    '"learned": by': "`Learned`: by",
    '"auto", "on" or "off".': "Whether attention is computed without its whole matrix in memory.",
    "Only in the answer of `Client.model`.": "Only in the answer of `VramdClient.ModelAsync`.",
    "The first READY says that it is warm; READY comes": "The first `Ready` says that it is warm; it comes",
    "Seconds ": "The time ",
    "One of CAUSE_EVICTED_FOR_…": "One of those that begin with `EvictedFor`",
    "for ReleaseMemory": "for `VramdClient.ReleaseAsync`",
    "How observed_bytes was measured, or why it is unset.": "How `observed_bytes` was measured, or why it is None.",
    "bytes end in _bytes, seconds in _s": "bytes end in `_bytes`, seconds in `_s`",
}
"""Phrases of the docstrings that say how things are in Python, and what C# says."""
ELSEWHERE = {"Timeout.InfiniteTimeSpan": '<see cref="System.Threading.Timeout.InfiniteTimeSpan"/>'}
USINGS = ("System", "System.Collections.Generic", "System.Linq")


@dataclass(frozen=True)
class Field:
    """One property of a record."""

    name: str
    type: str
    """In C#, with a question mark where it may be null."""
    default: str
    """Initial value; empty for that of the type."""
    read: str
    """The expression that reads it from `message`; empty if no message has it."""
    doc: str


def values() -> str:
    """Returns Values.g.cs: the records."""
    body: list[str] = []
    for kind in kinds():
        body += [*_record(kind), ""]
    return file("clients/python/vramd/values", USINGS[:2], body[:-1])


def reading() -> str:
    """Returns Reading.g.cs: what makes the records of messages."""
    text = (
        "Makes values of messages: null is what the wire does not set; where it cannot tell, zero and the empty text."
    )
    body = [*doc(text, ""), "internal static partial class Reading", "{"]
    for kind in kinds():
        if message := descriptor(kind):
            body += [*_reader(kind, message), ""]
    return file("clients/python/vramd/values and proto/vramd/v1", USINGS, [*body, *_event_reader(), "}"])


def kinds() -> list[Any]:
    """Returns the dataclasses that become records, in order."""
    every = [(home, one) for home in HOMES for one in vars(home).values() if inspect.isclass(one)]
    return [one for home, one in every if one.__module__ == home.__name__ and one not in BY_HAND]


@cache
def descriptor(kind: type) -> Descriptor | None:
    """Returns the message that a value is read from."""
    name = MESSAGES.get(kind, kind.__name__)
    found = (module.DESCRIPTOR.message_types_by_name.get(name) for module in MODULES)
    return next(filter(None, found)) if name else None


@cache
def record_fields(kind: Any) -> list[Field]:
    """Returns the properties of a record, those of its base first."""
    message, base = descriptor(kind), inherited(kind)
    own = list(get_type_hints(kind).items())[len(base) :]
    return [*base, *(_field(kind, name, hint, message) for name, hint in own)]


def inherited(kind: Any) -> list[Field]:
    """Returns the properties that a record has from its base."""
    base: Any = kind.__mro__[1]
    return record_fields(base) if _is_value(base) else []


def _field(kind: Any, name: str, hint: Any, message: Descriptor | None) -> Field:
    known = message.fields_by_name if message else {}
    wire = known.get(name) or known.get(f"{name}_tokens")
    source = f"message.{pascal(wire.name)}" if wire else ""
    plain, may_be_null = _plain(hint), type(None) in get_args(hint)
    if get_origin(plain) is tuple:
        type_, default, read = _list(name, _plain(get_args(plain)[0]), wire, source)
    elif get_origin(plain) is Mapping:
        type_, default, read = (
            "IReadOnlyDictionary<string, double>",
            "new Dictionary<string, double>()",
            f"Sorted({source})",
        )
    else:
        type_, default, convert = _scalar(name, plain, wire)
        read = convert.format(source)
    if may_be_null:
        type_, default, read = f"{type_}?", "", _or_null(wire, source, read) if wire else ""
    property_name = NAMES.get(name, pascal(name.removesuffix("_s")))
    return Field(property_name, type_, default, read if wire else "", _said(kind, name, message, wire))


def _plain(hint: Any) -> Any:
    """Returns what a type is beside None, or a newer version's words."""
    return next((one for one in get_args(hint) if one is not type(None)), hint) if _is_union(hint) else hint


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _is_value(kind: Any) -> bool:
    return is_dataclass(kind)


def _scalar(name: str, hint: Any, wire: FieldDescriptor | None) -> tuple[str, str, str]:
    """Returns the type in C#, its initial value, and the conversion of what the wire has."""
    if wire and wire.enum_type:
        return enum_name(wire.enum_type), "", f"({enum_name(wire.enum_type)}){{}}"
    if _is_value(hint):
        return hint.__name__, "new()", "Read({} ?? new())"
    if hint is int:
        is_long = (wire.type == FieldDescriptor.TYPE_UINT64 and name != "pid") if wire else name == "worker_id"
        return ("long", "", "(long){}") if is_long else ("int", "", "(int){}")
    if hint is float and name == "time_s":
        return "DateTimeOffset", "", "Durations.Moment({})"
    if hint is float and (name.endswith("_s") or name == "seconds"):
        return "TimeSpan", "", "Durations.KeepAlive({})" if name in KEEP_ALIVES else "Durations.FromSeconds({})"
    return {str: ("string", '""', "{}"), bool: ("bool", "", "{}"), float: ("double", "", "{}")}[hint]


def _list(name: str, hint: Any, wire: FieldDescriptor | None, source: str) -> tuple[str, str, str]:
    element, _, convert = _scalar(name, hint, wire)
    read = f"{source}.ToArray()" if convert == "{}" else f"Each({source}, one => {convert.format('one')})"
    if _is_value(hint):
        read = f"Each({source}, Read)"
    return f"IReadOnlyList<{element}>", f"Array.Empty<{element}>()", read


def _or_null(wire: FieldDescriptor, source: str, read: str) -> str:
    if wire.message_type:
        return f"Maybe({source}, Read)"
    if wire.has_presence:
        return f"message.Has{pascal(wire.name)} ? {read} : null"
    return f"{source}{'.Length > 0' if wire.type == FieldDescriptor.TYPE_STRING else ' is not 0'} ? {read} : null"


def _said(kind: Any, name: str, message: Descriptor | None, wire: FieldDescriptor | None) -> str:
    """Returns the documentation of a property: Python's, else that of the field on the wire."""
    on_wire = comments()[f"{message.name}.{wire.name}"] if message and wire else ""
    on_wire = re.sub(r"\b(empty|unset|0) (?=if|where|while|before)", "None ", on_wire)
    text = docstrings(kind).get(name) or on_wire or DOCS.get(f"{kind.__name__}.{name}") or DOCS.get(name, "")
    if not text:
        raise LookupError(f"nothing says what {kind.__name__}.{name} is")
    return in_csharp(text)


def in_csharp(text: str) -> str:
    """Converts phrases about Python."""
    for phrase, other in SAID.items():
        text = text.replace(phrase, other)
    return text


@cache
def docstrings(kind: Any) -> dict[str, str]:
    """Returns the texts below the fields of a dataclass."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    return {
        before.target.id: " ".join(text.value.value.split())
        for before, text in pairwise(tree.body)
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _names(kind: Any) -> dict[str, str]:
    """Returns what backticks around the fields' names become."""
    properties = dict(zip(get_type_hints(kind), record_fields(kind), strict=True))
    return {name: f'<see cref="{one.name}"/>' for name, one in properties.items()} | ELSEWHERE


def _record(kind: Any) -> Iterator[str]:
    base = kind.__mro__[1].__name__ if inherited(kind) else "VramdEvent" if kind in EVENTS else ""
    yield from doc(in_csharp(prose(inspect.getdoc(kind) or "")), "", _names(kind))
    sealed = "" if kind.__subclasses__() else "sealed "
    yield f"public {sealed}partial record {kind.__name__}{f' : {base}' if base else ''}"
    yield "{"
    for index, one in enumerate(record_fields(kind)[len(inherited(kind)) :]):
        if index:
            yield ""
        yield from doc(one.doc, names=_names(kind))
        default = f" = {one.default};" if one.default else ""
        yield f"    public {one.type} {one.name} {{ get; init; }}{default}"
    yield "}"


def _reader(kind: Any, message: Descriptor) -> Iterator[str]:
    base = inherited(kind)
    yield f"    internal static {kind.__name__} Read(V1.{message.name} message)"
    yield "    {"
    if base:  # they are a message of their own
        yield "        var settings = message.Settings ?? new();"
    yield "        return new()"
    yield "        {"
    for index, one in enumerate(record_fields(kind)):
        read = one.read.replace("message.", "settings.") if index < len(base) else one.read
        if read:
            yield f"            {one.name} = {read},"
    yield "        };"
    yield "    }"


def _event_reader() -> Iterator[str]:
    message = supervisor_pb2.WatchEventsResponse.DESCRIPTOR
    yield "    internal static VramdEvent Read(V1.WatchEventsResponse message) => Detail(message) with"
    yield "    {"
    yield "        Sequence = (long)message.Sequence,"
    yield "        Time = Durations.Moment(message.TimeS),"
    yield "        Kind = (EventKind)message.Kind,"
    yield "    };"
    yield ""
    yield "    private static VramdEvent Detail(V1.WatchEventsResponse message) => message.DetailCase switch"
    yield "    {"
    for part in message.oneofs_by_name["detail"].fields:
        read = f"Read(message.{pascal(part.name)})"
        read = f"new Released {{ Receipt = {read} }}" if part.name == "released" else read
        yield f"        V1.WatchEventsResponse.DetailOneofCase.{pascal(part.name)} => {read},"
    yield "        _ => new UnknownEvent(),"
    yield "    };"
