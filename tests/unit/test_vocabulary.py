"""What can be told of a vocabulary without llama.cpp."""

import pytest
from vramd_worker.llama.vocabulary import Kind, Vocabulary, read

NORMAL, CONTROL, STRIPS_RIGHT = 1 << 2, 1 << 3, 1 << 8
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "\u2581"]


def vocabulary(kind: Kind, *texts: str, puts_space: bool = False) -> Vocabulary:
    return read(kind, [(b"<s>", CONTROL), *((text.encode(), NORMAL) for text in texts)], puts_space)


def test_a_vocabulary_with_all_bytes_spells_everything() -> None:
    found = vocabulary(Kind.SPM, *BYTES, "\u2581", "\u2581the")
    assert found.unspelled("the é 漢 \n\0") is None
    assert found.is_lossless


@pytest.mark.parametrize(
    ("text", "character"),
    [("abc", None), ("a b", None), ("é", "é"), ("a\nb", "\n"), ("a 漢", "漢"), ("aB", "B"), ("", None)],
)
def test_the_character_that_a_vocabulary_of_letters_cannot_spell_is_told(text: str, character: str | None) -> None:
    assert vocabulary(Kind.SPM, *LETTERS).unspelled(text) == character


def test_the_space_that_a_tokenizer_puts_in_front_has_to_be_spelled_too() -> None:
    assert vocabulary(Kind.SPM, "a", "b", puts_space=True).unspelled("ab") == " "
    assert vocabulary(Kind.SPM, "a", "b").unspelled("ab") is None


def test_a_greedy_tokenizer_does_not_end_on_a_beginning_that_is_no_token() -> None:
    found = vocabulary(Kind.RWKV, "the", "a", "\\n", "\\x20c", "c")
    assert [found.unspelled(text) for text in ("t", "ac", "a\n", "a c", "z")] == ["t", None, None, " ", None]


def test_bytes_that_an_alphabet_of_bytes_lacks_are_noticed() -> None:
    assert vocabulary(Kind.BPE, *map(chr, range(0x21, 0x7F)), "Ġ").may_drop
    alphabet = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100), *range(256, 256 + 68)]
    assert not vocabulary(Kind.BPE, *map(chr, alphabet)).may_drop


def test_white_space_that_counts_for_nothing_makes_a_text_as_long_as_it_likes() -> None:
    assert read(Kind.SPM, [(text.encode(), NORMAL) for text in BYTES], puts_space=False).is_lossless
    tokens = [(b"<s>", CONTROL | STRIPS_RIGHT), *((text.encode(), NORMAL) for text in BYTES)]
    assert not read(Kind.SPM, tokens, puts_space=False).is_lossless


def test_an_anchor_is_a_character_that_stands_in_no_token_beside_others() -> None:
    assert vocabulary(Kind.SPM, *BYTES, "\u2581", puts_space=True).anchor == "\n"
    assert vocabulary(Kind.SPM, *BYTES, "\u2581", "\n\n", "a\tb", puts_space=True).anchor == "!"
    assert not vocabulary(Kind.SPM, *BYTES, "\u2581").anchor


@pytest.mark.parametrize("texts", [BYTES[:64], [*BYTES[:64], "a", "\u2581the"], ["\n", "a"]])
def test_there_is_no_anchor_where_the_space_before_it_cannot_be_spelled(texts: list[str]) -> None:
    assert not vocabulary(Kind.SPM, *texts, puts_space=True).anchor
