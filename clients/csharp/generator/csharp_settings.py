"""The settings of calls as records, and how they are sent. Pure."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from csharp_protos import enum_name
from csharp_text import doc, file, pascal, prose
from csharp_values import docstrings
from google.protobuf.descriptor import Descriptor
from vramd.option_types import LoadSettings
from vramd.settings import SCHEDULING_FIELDS, AnswerSettings, AskSettings
from vramd_common.load_settings import LOAD_SETTINGS
from vramd_common.sampling import CONTROL_TOKENS, DELIVERY, LIMITS, SAMPLING
from vramd_common.settings_table import Setting
from vramd_proto.v1 import inference_pb2, load_pb2

NAMES = {"keep_alive_s": "KeepAlive", "max_tokens_per_s": "MaxTokensPerSecond"}
OWN_TYPES = {"gpu_layers": "GpuLayers", "outputs": "Outputs"}
"""Settings that take a number or a word: they have types of their own, written by hand."""
SAID = {
    "Seconds that the model stays": "The time that the model stays",
    "; 0 leaves at once, -1 stays.": "; zero leaves at once, `Timeout.InfiniteTimeSpan` stays.",
    "Default: 300.": "Default: 300 s.",
    'else "interactive"': "else interactive",
    'at most twice; "fail" ends it': "at most twice; `OnCrash.Fail` ends it",
}
"""Phrases that say how things are in Python, and what C# says."""
SEE = {
    "Timeout.InfiniteTimeSpan": '<see cref="System.Threading.Timeout.InfiniteTimeSpan"/>',
    "OnCrash.Fail": '<see cref="Vramd.OnCrash.Fail"/>',
}
TIMEOUT = """
The time that the call may take. None: a call with one answer has `VramdClientOptions.Timeout`, a stream any time.
"""
WAITING = """
Receives what the request waits for, before the answer and where it is interrupted.
"""


@dataclass(frozen=True)
class Row:
    """One property of the settings."""

    name: str
    type: str
    doc: str
    fill: str
    """The statement that sets the field of `message` from the `value` of the property."""
    key: str = ""
    """Its name in Python and in the configuration."""


def settings() -> str:
    """Returns Settings.g.cs."""
    load, (*asked, timeout) = load_rows(), ask_rows()
    sampling, limits, special, waiting = answer_parts()
    body = [
        *_record("LoadSettings", inspect.getdoc(LoadSettings), load),
        *_message("LoadOptions", "Load", load),
        "}",
        "",
        *_record("AskSettings : LoadSettings", inspect.getdoc(AskSettings), [*asked, timeout]),
        *_message("Scheduling", "Schedule", asked, "bool progress = false", " { Progress = progress }"),
        "",
        *_filler("EmbedRequest", ("Load = Load()", "Scheduling = Schedule()"), ()),
        "}",
        "",
        *_record(
            "AnswerSettings : AskSettings", inspect.getdoc(AnswerSettings), [*sampling, *limits, *special, waiting]
        ),
    ]
    parts = ("Sampling = Sample()", "Limits = Limit()", "Load = Load()", "Scheduling = Schedule(Waiting is not null)")
    for request in ("ChatRequest", "GenerateRequest"):
        body += [*_filler(request, parts, special), ""]
    body += [*_message("Sampling", "Sample", sampling), "", *_message("Limits", "Limit", limits), "}"]
    usings = ("System", "System.Collections.Generic", "System.Linq")
    return file("proto/vramd_common/load_settings.py and sampling.py", usings, body)


def load_rows() -> list[Row]:
    """Returns the settings of a load."""
    return [_row(one, load_pb2.LoadOptions.DESCRIPTOR) for one in LOAD_SETTINGS]


def ask_rows() -> list[Row]:
    """Returns what a call has beside those; the last is no field of the wire."""
    said = docstrings(AskSettings)
    asked = [_enum(name, said[name], load_pb2.Scheduling.DESCRIPTOR) for name in SCHEDULING_FIELDS]
    return [*asked, Row("Timeout", "TimeSpan", TIMEOUT, "", "timeout_s")]


def answer_parts() -> tuple[list[Row], list[Row], list[Row], Row]:
    """Returns what an answer has beside those: sampling, limits and control tokens; and what is no field."""
    sampling = [_row(one, inference_pb2.Sampling.DESCRIPTOR) for one in SAMPLING]
    limits = [_row(one, inference_pb2.Limits.DESCRIPTOR) for one in LIMITS]
    special = [_row(one, inference_pb2.ChatRequest.DESCRIPTOR) for one in (*CONTROL_TOKENS, *DELIVERY)]
    return sampling, limits, special, Row("Waiting", "IProgress<Waiting>", WAITING, "")


def _row(setting: Setting, message: Descriptor) -> Row:
    return replace(_typed(setting, message), key=setting.name)


def _typed(row: Setting, message: Descriptor) -> Row:
    name = NAMES.get(row.field, pascal(row.field))
    wire = message.fields_by_name.get(row.field)
    if wire and wire.enum_type:
        return _enum(row.field, row.described, message)
    target = f"message.{pascal(row.field)}"
    described = row.described + (" Applied, never compared." if row.applied else "")
    if row.field in OWN_TYPES:
        return Row(name, OWN_TYPES[row.field], described, "value.Fill(message)")
    if row.kind is tuple:
        fill = f'{target}.AddRange(value.Select(one => Requests.Text("{row.name}", one)))'
        return Row(name, "IReadOnlyList<string>", described, fill)
    if row.kind is int and (row.most or 0) < 1 << 31:
        return Row(name, "int", described, f'{target} = Requests.Number("{row.name}", value)')
    if row.kind is str:
        return Row(name, "string", described, f'{target} = Requests.Text("{row.name}", value)')
    if row.field == "keep_alive_s":
        return Row(name, "TimeSpan", described, f"{target} = Durations.KeepAliveSeconds(value)")
    kind = {int: "uint", bool: "bool", float: "float"}[row.kind]
    return Row(name, kind, described, f"{target} = value")


def _enum(field: str, described: str, message: Descriptor) -> Row:
    type_ = message.fields_by_name[field].enum_type
    assert type_
    enum = enum_name(type_)
    return Row(pascal(field), enum, described, f"message.{pascal(field)} = (V1.{enum})value", field)


def _record(head: str, docstring: str | None, rows: Iterable[Row]) -> Iterator[str]:
    yield from doc(prose(docstring or ""), "")
    yield f"public {'sealed ' if head.startswith('Answer') else ''}record {head}"
    yield "{"
    for row in rows:
        text = row.doc
        for phrase, other in SAID.items():
            text = text.replace(phrase, other)
        yield from doc(text, names=SEE)
        yield f"    public {row.type}? {row.name} {{ get; init; }}"
        yield ""


def _message(message: str, method: str, rows: Sequence[Row], parameter: str = "", begin: str = "()") -> Iterator[str]:
    """Yields the method that makes a message; null if it says nothing."""
    yield f"    internal V1.{message}? {method}({parameter})"
    yield "    {"
    yield f"        var message = new V1.{message}{begin};"
    yield from _filled(rows)
    yield ""
    yield "        return message.CalculateSize() > 0 ? message : null;"
    yield "    }"


def _filler(request: str, parts: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    yield f"    internal void Fill(V1.{request} message)"
    yield "    {"
    yield from (f"        message.{part};" for part in parts)
    yield from _filled(rows)
    yield "    }"


def _filled(rows: Sequence[Row]) -> Iterator[str]:
    for index, row in enumerate(rows):
        local = row.name[0].lower() + row.name[1:]
        if index:
            yield ""
        yield f"        if ({row.name} is {{ }} {local})"
        yield "        {"
        yield f"            {row.fill.replace('value', local)};"
        yield "        }"
