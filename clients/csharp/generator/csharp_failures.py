"""Failures as the supervisor packs them, one for each reason, for the tests of the .NET client. Pure."""

import base64
import textwrap
from collections.abc import Iterator

from csharp_errors import kind_of, name, property_name
from csharp_text import file
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from vramd.failures import BY_REASON
from vramd_common import statuses
from vramd_common.reasons import Reason

SAMPLES = {
    "long": ("1099511627776", "1099511627776L"),
    "int": ("7", "7"),
    "TimeSpan": ("2.5", "TimeSpan.FromSeconds(2.5)"),
    "string": ("größer", '"größer"'),
}
"""Values of metadata by the type of their property, and the same in C#."""


def packed() -> str:
    """Returns PackedFailures.g.cs."""
    body = [
        "/// <summary>A failure as it comes over the wire, and what it has to become.</summary>",
        "internal sealed record PackedFailure(",
        "    string Reason, string Code, Type Class, double? RetryAfter, string Details,",
        "    Dictionary<string, object> Has);",
        "",
        "internal static class PackedFailures",
        "{",
        "    internal static readonly PackedFailure[] All =",
        "    [",
    ]
    for reason in Reason:
        body += _one(reason)
    usings = ("System", "System.Collections.Generic")
    return file("proto/vramd_common/reasons.py and statuses.py", usings, [*body, "    ];", "}"], "Vramd.Tests")


def _one(reason: Reason) -> Iterator[str]:
    meaning = reason.value
    keys = (*meaning.metadata, *meaning.told_if_known)
    details = statuses.pack(reason, meaning.text, {key: SAMPLES[kind_of(key)][0] for key in keys}).details
    retry = "null" if meaning.retry_after_s is None else f"{meaning.retry_after_s:g}"
    yield f'        new("{reason.name}", "{meaning.code}", typeof({name(BY_REASON[reason])}), {retry},'
    lines = textwrap.wrap(base64.b64encode(_in_order(details)).decode(), 100)
    yield from (f'            "{line}" +' for line in lines[:-1])
    yield f'            "{lines[-1]}",'
    yield "            new()"
    yield "            {"
    yield from (f'                ["{property_name(key)}"] = {SAMPLES[kind_of(key)][1]},' for key in keys)
    yield "            }),"


def _in_order(details: bytes) -> bytes:
    """Returns the same status with the keys of its metadata in order, which the wire does not keep."""
    status, info = Status.FromString(details), ErrorInfo()
    status.details[0].Unpack(info)
    status.details[0].Pack(info, deterministic=True)
    return status.SerializeToString(deterministic=True)
