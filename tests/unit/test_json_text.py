"""What is printed as JSON is JSON."""

import json
import math
from pathlib import Path

import pytest
import vramd_cli
from vramd_common.json_text import json_text


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": [1.5, math.nan]}, {"a": [1.5, None]}),
        ((math.inf, {"b": -math.inf}), [None, {"b": None}]),
        (math.nan, None),
        ({"text": "NaN", "n": 1, "none": None}, {"text": "NaN", "n": 1, "none": None}),
    ],
)
def test_what_is_no_number_is_null(value: object, plain: object) -> None:
    def refuse(word: str) -> object:
        raise AssertionError(word)

    assert json.loads(json_text(value, indent=2), parse_constant=refuse) == plain


def test_no_command_writes_json_in_another_way() -> None:
    folder = Path(vramd_cli.__file__).parent
    assert [file.name for file in folder.rglob("*.py") if "json.dump" in file.read_text("utf-8")] == []
