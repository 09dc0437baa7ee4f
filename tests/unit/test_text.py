"""Text from bytes: whole characters, and nothing of a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vramd_worker.text import TextAssembler


def assemble(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], TextAssembler]:
    assembler = TextAssembler(stop)
    texts = [assembler.feed(piece) for piece in pieces]
    return [*texts, assembler.finish()], assembler


def test_a_character_comes_whole() -> None:
    assert assemble([b"a\xe2", b"\x82", b"\xacb"])[0] == ["a", "", "€b", ""]


def test_an_open_character_at_the_end_is_replaced() -> None:
    assert assemble([b"a\xe2\x82"])[0] == ["a", "\ufffd"]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert "".join(assemble([b"a\xff", b"b\x80c"])[0]) == "a\ufffdb\ufffdc"


def test_the_answer_ends_before_the_stop_string() -> None:
    texts, assembler = assemble([b"one two", b" three"], ("two",))
    assert texts == ["one ", "", ""]
    assert assembler.stopped


def test_what_may_begin_a_stop_string_is_held_back() -> None:
    assert assemble([b"say <", b"/e", b"nd", b">!"], ("</end>",))[0] == ["say ", "", "", "", ""]


def test_what_did_not_become_a_stop_string_is_given_back() -> None:
    assert assemble([b"a<", b"/e", b"lse"], ("</end>",))[0] == ["a", "", "</else", ""]
    assert assemble([b"a<"], ("</end>",))[0] == ["a", "<"]


def test_a_stop_string_may_cross_characters_and_pieces() -> None:
    texts, assembler = assemble(["x€".encode()[:3], "x€".encode()[3:] + b"y"], ("€y",))
    assert "".join(texts) == "x"
    assert assembler.stopped


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (("abcd", "bc"), "a"),  # "bc" is complete first
        (("bc", "abc"), ""),  # both at once: the longer one
        (("c", "d"), "ab"),
    ],
)
def test_the_stop_string_that_is_complete_first_counts(stop: tuple[str, ...], text: str) -> None:
    assert "".join(assemble([b"abcd"], stop)[0]) == text
    assert "".join(assemble([b"a", b"b", b"c", b"d"], stop)[0]) == text


def test_nothing_comes_after_a_stop() -> None:
    assembler = TextAssembler(("x",))
    assert assembler.feed(b"ax") == "a"
    assert assembler.feed(b"more") == ""
    assert assembler.finish() == ""


@given(
    data=st.lists(st.sampled_from([b"a", b"b", b"\xe2", b"\x82", b"\xac", b"\xff", "ab€".encode()]), max_size=12),
    stop=st.lists(st.text("ab€\ufffd", min_size=1, max_size=4), max_size=3),
)
def test_it_makes_no_difference_where_the_bytes_are_cut(data: list[bytes], stop: list[str]) -> None:
    whole, _ = assemble([b"".join(data)], tuple(stop))
    by_piece, _ = assemble(data, tuple(stop))
    by_byte, _ = assemble([bytes([byte]) for piece in data for byte in piece], tuple(stop))
    assert "".join(whole) == "".join(by_piece) == "".join(by_byte)
    assert all(wanted not in "".join(whole) for wanted in stop)


def test_a_name_is_looked_for_without_being_shown() -> None:
    assembler = TextAssembler(("<|end|>", "<|a|>b"))
    assert [assembler.feed(b"x"), assembler.name("<|a|>", shown=False), assembler.feed(b"c")] == ["x", "", "c"]
    assert [assembler.feed(b"y"), assembler.name("<|end|>", shown=False)] == ["y", ""]
    assert assembler.stopped


def test_a_stop_string_is_found_over_a_name_that_is_not_shown() -> None:
    assembler = TextAssembler(("one two",))
    pieces = [assembler.feed(b"say one"), assembler.name("<|a|>", shown=False), assembler.feed(b" two")]
    assert (pieces, assembler.stopped) == (["say ", "", ""], True)


def test_a_name_does_not_break_a_character() -> None:
    assembler = TextAssembler(("x",))
    euro = "€".encode()
    assert [assembler.feed(euro[:2]), assembler.name("<|a|>", shown=False), assembler.feed(euro[2:])] == ["", "", "€"]


@given(st.lists(st.tuples(st.text("ab<", max_size=3), st.booleans()), max_size=8), st.lists(st.text("ab<", min_size=1)))
def test_how_names_come_in_makes_no_difference(parts: list[tuple[str, bool]], stop: list[str]) -> None:
    assembler = TextAssembler(stop)
    text = "".join(
        assembler.name(part, shown=shown) if not shown else assembler.feed(part.encode()) for part, shown in parts
    )
    text += assembler.finish()
    shown_text = "".join(part for part, shown in parts if shown)
    assert shown_text.startswith(text)
    assert assembler.stopped or text == shown_text
    assert not any(one in text for one in stop)
