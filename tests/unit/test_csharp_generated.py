"""What the .NET client has of Python's definitions is what they are now."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import csharp_errors
import csharp_protos
import csharp_settings
import csharp_values
import pytest
import vramd
from google.protobuf.descriptor import EnumDescriptor
from vramd.failures import BY_CODE, BY_REASON
from vramd.values import answers, configuration, devices, events, models, plans
from vramd_common import timeline
from vramd_common.load_settings import ALL_LAYERS, AUTO_LAYERS, LOAD_SETTINGS
from vramd_common.reasons import Reason
from vramd_common.sampling import CONTROL_TOKENS, DELIVERY, LIMITS, SAMPLING
from vramd_common.settings_table import Setting
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

ROOT = Path(__file__).parents[2]
CSHARP = ROOT / "clients" / "csharp"
GENERATED = CSHARP / "src" / "Vramd.Client" / "Generated"


ENUMS = [
    enum
    for module in (inference_pb2, load_pb2, model_pb2, supervisor_pb2)
    for enum in module.DESCRIPTOR.enum_types_by_name.values()
    if enum.name != "OutputRule"  # one half of a setting
]
VALUES = [
    kind
    for module in (answers, configuration, devices, events, models, plans)
    for kind in vars(module).values()
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__module__ == module.__name__
]
BY_HAND = {answers.Embeddings, answers.Piece, devices.Reservation, events.Event}
OTHER_NAMES = {"pid": "ProcessId", "seconds": "Duration", "exit_s": "ExitTime", "release_s": "ReleaseTime"}


def generated(name: str) -> str:
    return (GENERATED / f"{name}.g.cs").read_text("utf-8")


def test_the_files_are_what_the_generator_makes() -> None:
    command = [sys.executable, str(CSHARP / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_phrase_that_is_adapted_is_still_said() -> None:
    package = ROOT / "clients" / "python" / "vramd"
    files = [*package.glob("values/*.py"), *(ROOT / "proto" / "vramd" / "v1").glob("*.proto")]
    files += [package / name for name in ("errors.py", "settings.py", "option_types.py")]
    said = " ".join(re.sub(r"\s*//", "", path.read_text("utf-8")) for path in files).split()
    phrases = csharp_errors.WORDS | csharp_protos.SAID | csharp_settings.SAID | csharp_values.SAID
    assert [phrase for phrase in phrases if " ".join(phrase.split()) not in " ".join(said)] == []


def test_every_key_that_is_described_is_sent() -> None:
    sent = {key for kind in csharp_errors.classes() for key in csharp_errors.keys(kind)}
    assert sent == set(csharp_errors.KEYS)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_constant_and_gives_the_class_of_python(reason: Reason) -> None:
    constant = re.search(rf'public const string (\w+) = "{reason.name}";', generated("Reasons"))
    assert constant
    arm = re.search(rf"Reasons\.{constant[1]}\s+(?:or\s+Reasons\.\w+\s+)*=>\s+new (\w+)\(", generated("Exceptions"))
    assert arm and arm[1] == f"{BY_REASON[reason].__name__}Exception"


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_a_reason_of_the_future_gives_the_class_of_its_code(code: str, kind: type) -> None:
    assert f'"{code}" => new {kind.__name__}Exception(' in generated("Exceptions")


def test_every_class_of_errors_has_a_twin() -> None:
    classes = set(re.findall(r"public (?:sealed )?class (\w+)Exception :", generated("Exceptions")))
    errors = {name for name, one in vars(vramd.errors).items() if isinstance(one, type) and issubclass(one, Exception)}
    assert classes == errors - {"VramdError", "WrongContext"}


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.name)
def test_every_enum_has_the_numbers_of_the_wire(enum: EnumDescriptor) -> None:
    name = {"PlanVerdict": "Verdict"}.get(enum.name, enum.name)
    body = re.search(rf"public enum {name}\n{{(.*?)\n}}", generated("Enums"), re.DOTALL)
    assert body
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    words = {value.name.removeprefix(prefix).replace("_", "").lower(): value.number for value in enum.values}
    assert {word.lower(): int(number) for word, number in re.findall(r"(\w+) = (\d+),", body[1])} == words


@pytest.mark.parametrize("kind", [kind for kind in VALUES if kind not in BY_HAND], ids=lambda kind: kind.__name__)
def test_every_value_is_a_record_with_its_fields(kind: Any) -> None:
    body = re.search(rf"partial record {kind.__name__}\b.*?\n{{(.*?)\n}}", generated("Values"), re.DOTALL)
    assert body
    properties = {name.lower() for name in re.findall(r"public \S+(?: \S+>)? (\w+) { get; init; }", body[1])}
    bases = filter(dataclasses.is_dataclass, kind.__mro__[1:-1])
    inherited = {field.name for base in bases for field in dataclasses.fields(base)}
    for field in dataclasses.fields(kind):
        name = OTHER_NAMES.get(field.name, field.name.removesuffix("_s").replace("_", "")).lower()
        assert field.name in inherited or {name, f"{name}tokens"} & properties


@pytest.mark.parametrize(
    "row", (*LOAD_SETTINGS, *SAMPLING, *LIMITS, *CONTROL_TOKENS, *DELIVERY), ids=lambda row: row.name
)
def test_every_setting_is_a_property_and_is_sent(row: Setting) -> None:
    settings = generated("Settings").lower()
    name = {"keep_alive_s": "keepalive", "max_tokens_per_s": "maxtokenspersecond"}.get(row.field, row.field)
    name = name.replace("_", "")
    assert re.search(rf"public \S+\? {name} {{ get; init; }}", settings)
    assert f"if ({name} is {{ }} {name})" in settings


def test_words_for_layers_are_the_numbers_of_python() -> None:
    source = (GENERATED.parent / "Values" / "GpuLayers.cs").read_text("utf-8")
    assert f"All => new({ALL_LAYERS});" in source
    assert f"Auto => new({AUTO_LAYERS});" in source


def test_every_phase_of_a_timeline_is_read() -> None:
    reading = (GENERATED.parent / "Reading" / "Reading.Answers.cs").read_text("utf-8")
    assert set(re.findall(r'Phase\(told, "(\w+)"\)', reading)) == set(timeline.PHASES)
    assert f'TimelineKey = "{timeline.KEY}"' in reading
