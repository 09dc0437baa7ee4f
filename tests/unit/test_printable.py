"""Text of others, made fit to be printed or written as JSON."""

import json
import math
import unicodedata
from pathlib import Path

import pytest
import vramd_cli
from hypothesis import given
from hypothesis import strategies as st
from vramd_common.json_text import json_text
from vramd_common.printable import one_line, printable, printable_answer

VISIBLE_SIGNS = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
"""Format characters that are drawn: signs before Arabic numbers, hieroglyphs."""
ORDINARY = [
    "plain words, 100 %",
    "\N{MAN}\u200d\N{WOMAN}\u200d\N{GIRL}",
    "\N{HEAVY BLACK HEART}\ufe0f",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with a joiner that is part of its spelling
    "\u0915\u094d\u200d\u0937",
    "\u0661\u0662\u0663 \u05e9\u05dc\u05d5\u05dd",
    "\u30e2\u30c7\u30eb\u3000\u65e5\u672c",
    "caf\u0065\u0301",
]
HOSTILE = [
    ("\x1b[31mred", "\\x1b[31mred"),
    ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
    ("\x9b31m", "\\x9b31m"),
    ("a\r\nb\vc\fd", "a\\r\\nb\\x0bc\\x0cd"),
    ("a\x85b\u2028c\u2029d", "a\\x85b\\u2028c\\u2029d"),
    ("x\u202egnp.\u2066\u200e\u061c", "x\\u202egnp.\\u2066\\u200e\\u061c"),
    ("bytes \udcff", "bytes \\udcff"),
    ("ghost\u200b\u200d\u2060\ufeff\U000e0041", "ghost\\u200b\\u200d\\u2060\\ufeff\\U000e0041"),
    ("del\x7f\x08\x00", "del\\x7f\\x08\\x00"),
]


@pytest.mark.parametrize("text", ORDINARY)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert (printable(text), printable_answer(text)) == (text, text)


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_what_does_harm_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_no_character_that_controls_or_hides_is_left() -> None:
    harmful = ("Cc", "Cf", "Cs", "Zl", "Zp")
    everything = (chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in harmful)
    assert {ord(one) for one in everything if printable(one) == one} <= VISIBLE_SIGNS


def test_an_answer_keeps_its_lines_and_its_script_and_nothing_that_a_terminal_obeys() -> None:
    text = "one\r\n\ttwo\n\u0e2a\u200b\u0e27\u200d \x1b]0;x\x07\r\u202e\x9b1m\u2028"
    assert printable_answer(text) == ("one\n\ttwo\n\u0e2a\u200b\u0e27\u200d \\x1b]0;x\\x07\\r\\u202e\\x9b1m\\u2028")


@given(st.text(st.characters(), max_size=100), st.integers(3, 60))
def test_a_message_is_one_line_within_its_bound(text: str, most_bytes: int) -> None:
    line = one_line(text, most_bytes)
    assert len(line.encode()) <= most_bytes
    assert not {"\n", "\r", "\x1b", "\x85", "\u2028", "\u202e"} & set(line)


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
