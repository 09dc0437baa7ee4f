"""Comments of the .proto files, and the enums of the wire as those of C#. Pure."""

import re
from functools import cache
from pathlib import Path

from csharp_text import doc, file, pascal
from google.protobuf.descriptor import EnumDescriptor
from vramd.enum_words import words
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

FOLDER = Path(__file__).parents[3] / "proto" / "vramd" / "v1"
MODULES = (inference_pb2, load_pb2, model_pb2, supervisor_pb2)
OTHER_NAMES = {"PlanVerdict": "Verdict"}
"""Enums that Python calls otherwise."""
NOT_PUBLIC = {"OutputRule"}
"""One half of a setting that C# has as one type."""
SAID = {
    "None: a model without weights, from the configuration.": "No engine: a model without weights.",
    "RESUME.": "As `Resume`.",
    "PRIVATE.": "As `Private`.",
    "max_tokens or the context was reached.": "The most tokens that were asked for, or the context, was reached.",
}
"""Comments that name a value as the .proto files do, and what C# says."""


def enums() -> str:
    """Returns Enums.g.cs."""
    body: list[str] = []
    for enum in (one for module in MODULES for one in module.DESCRIPTOR.enum_types_by_name.values()):
        if enum.name not in NOT_PUBLIC:
            body += [*_enum(enum), ""]
    return file("proto/vramd/v1", (), body[:-1])


def enum_name(enum: EnumDescriptor) -> str:
    """Returns the name of an enum in C#."""
    return OTHER_NAMES.get(enum.name, enum.name)


@cache
def comments() -> dict[str, str]:
    """Returns the comments by name: of messages and enums by theirs, of fields and values by Owner.name."""
    found: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.proto")):
        owner, said = "", ""
        for line in map(str.strip, path.read_text("utf-8").splitlines()):
            if line.startswith("//"):
                said += f"{line[2:].strip()} "
                continue
            if opened := re.match(r"(?:message|enum|service) (\w+) \{", line):
                owner = opened[1]
                found[owner] = said.strip()
            elif named := re.match(r"(?:(?:optional|repeated) )?(?:[\w.<>, ]+ )?(\w+) = \d+;", line):
                found[f"{owner}.{named[1]}"] = said.strip()
            said = ""
    return found


def _enum(enum: EnumDescriptor) -> list[str]:
    lines = [*doc(comments()[enum.name], ""), f"public enum {enum_name(enum)}", "{"]
    for number, word in words(enum).items():
        said = comments()[f"{enum.name}.{enum.values_by_number[number].name}"]
        said = SAID.get(said, said) or (f"`{word.lower()}`." if number else "Not given.")
        lines += [*doc(said), f"    {pascal(word)} = {number},", ""]
    return [*lines[:-1], "}"]
