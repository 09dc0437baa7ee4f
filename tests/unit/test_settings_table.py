"""One row for each setting: the file and the wire take the same values of it, and refuse others in the same words."""

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from vramd_common import wire_values
from vramd_common.load_settings import LOAD_SETTINGS, LoadOptions, Settings
from vramd_common.sampling import CACHES, CONTROL_TOKENS, DELIVERY, LIMITS, SAMPLING
from vramd_common.settings_table import Setting
from vramd_proto.v1 import inference_pb2, load_pb2
from vramd_supervisor.domain.config import Config
from vramd_supervisor.domain.errors import RefusedError
from vramd_supervisor.services import validation
from vramd_supervisor.settings.settings_file import ConfigError, Flags, load_config

LARGEST = {int: (1 << 31) - 1, float: 1e308}
"""What the file can say and the wire can carry."""


def edges(row: Setting) -> Iterator[Any]:
    if row.kind is bool:
        yield from (True, False)
    elif row.characters:
        yield from ("d" * row.characters, "d" * (row.characters + 1), "a\nb", "")
    else:
        yield from row.words
    if row.least is not None:
        most = row.most if row.most is not None else LARGEST[row.kind]
        numbers = (row.least - 1, row.least, row.least + 1, most - 1, most, most + 1, *row.also, -7)
        yield from ((float if row.kind is float else int)(number) for number in numbers)


CASES = [(row, value) for row in LOAD_SETTINGS for value in edges(row)]


def of_file(folder: Path, row: Setting, value: object) -> object:
    """The value as the configuration has it, or the words in which it is refused."""
    written = repr(value) if isinstance(value, float) else json.dumps(value)
    text = f'[devices.{"d" * 64}]\nkind = "virtual"\ntotal = 9\n[models.m]\n{row.name} = {written}'
    file = folder / "vramd.toml"
    file.write_text(text, "utf-8")
    try:
        config: Config = load_config(file, {}, Flags())
    except ConfigError as error:
        return error.message
    return getattr(config.models["m"].load, row.field)


def of_wire(row: Setting, value: object) -> object:
    """The value as the core gets it, or the words in which it is refused."""
    options = load_pb2.LoadOptions()
    try:
        wire_values.put(options, row.field, row.read(value))
    except ValueError:
        return "cannot be sent"
    try:
        return getattr(validation.load_options(options), row.field)
    except RefusedError as error:
        return error.refusal.message.split(": ", 1)[1]


@pytest.mark.parametrize(("row", "value"), CASES, ids=[f"{row.name}-{value}"[:40] for row, value in CASES])
def test_the_file_and_the_wire_take_the_same(tmp_path: Path, row: Setting, value: object) -> None:
    sent, written = of_wire(row, value), of_file(tmp_path, row, value)
    if sent == "cannot be sent":
        assert str(written).startswith("must be")
    elif row.field == "device" and not row.fault(value):
        assert sent == value, "which devices there are is known to the file's reader only"
    else:
        assert sent == written


def test_a_table_has_every_field_of_its_message() -> None:
    asked = {*load_pb2.LoadOptions.DESCRIPTOR.fields_by_name} - {"output_tokens", "output_rule"}
    assert {row.field for row in LOAD_SETTINGS} == asked | {"outputs"}
    assert [row.field for row in LOAD_SETTINGS] == [one.name for one in fields(LoadOptions)]
    assert {row.field for row in SAMPLING} == {*inference_pb2.Sampling.DESCRIPTOR.fields_by_name}
    assert {row.field for row in LIMITS} == {*inference_pb2.Limits.DESCRIPTOR.fields_by_name}
    for request in (inference_pb2.GenerateRequest, inference_pb2.ChatRequest):
        assert {row.field for row in (*CONTROL_TOKENS, *DELIVERY)} < {*request.DESCRIPTOR.fields_by_name}


def test_words_are_those_of_the_wire() -> None:
    for row in LOAD_SETTINGS:
        if row.kind is str and row.words:
            enum = wire_values.carrier(load_pb2.LoadOptions(), row.field, is_word=True).enum_type
            assert tuple(wire_values.words(enum)) == row.words
    assert tuple(wire_values.words(inference_pb2.PromptCache.DESCRIPTOR)) == CACHES


def test_what_is_compared_is_what_a_load_is_done_with() -> None:
    decided = {one.name for one in fields(Settings)}
    assert {row.field for row in LOAD_SETTINGS if not row.applied} == decided - {"shares"}
    assert {row.field for row in LOAD_SETTINGS if row.applied}.isdisjoint(decided)


@pytest.mark.parametrize("given", [-1, "all", "-1"])
def test_all_layers_are_said_in_several_ways(given: object) -> None:
    (row,) = (row for row in LOAD_SETTINGS if row.name == "gpu_layers")
    assert row.read(given) == -1
    assert row.read("24") == 24
    assert LoadOptions(gpu_layers=row.read("auto"), device="auto").chosen() == LoadOptions()


def test_auto_stands_over_the_setting_of_the_configuration() -> None:
    asked = LoadOptions(gpu_layers=-2).over(LoadOptions(gpu_layers=3, parallel=2)).chosen()
    assert asked == LoadOptions(parallel=2)


def test_defaults_are_values_of_their_rows() -> None:
    for row in (*SAMPLING, *LIMITS):
        assert row.kind is tuple or row.least is not None
    assert not any(asdict(LoadOptions()).values())
