"""What a model's vocabulary can spell, read once at load: llama.cpp ends the process for a text that it cannot.

None of its tokenizers reports a text that it has no tokens for: some throw, which nobody here can catch, some assert,
one loops for ever, others leave the characters out. So that is known before a text is handed over.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby, repeat, takewhile
from types import ModuleType
from typing import NamedTuple

from vramd_worker.llama.model import NativeModel

_UNKNOWN, _CONTROL, _USER_DEFINED, _STRIPS_LEFT, _STRIPS_RIGHT = 1 << 0, 1 << 3, 1 << 4, 1 << 7, 1 << 8
"""Attributes of tokens, by their numbers in llama.h."""

_SPACE = "\u2581"
"""A space, as vocabularies write it that have no alphabet of bytes."""
_BYTE_NAME_BYTES = len("<0x0A>")
_UTF_8_BYTES = frozenset({*range(0xF5)} - {0xC0, 0xC1})
"""Those that occur in UTF-8."""
_GPT2_OWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_GPT2_OTHERS = tuple(byte for byte in range(256) if byte not in _GPT2_OWN)
"""GPT-2's alphabet writes the first as the characters of their numbers, the others as those from 256 on."""
_RWKV_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))", re.DOTALL)
_RWKV_NAMES = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


class Kind(IntEnum):
    """Tokenizers of llama.cpp, by their numbers in llama.h."""

    NONE = 0
    SPM = 1
    BPE = 2
    WPM = 3
    UGM = 4
    RWKV = 5
    PLAMO2 = 6
    TEST = 7


_COMPLETING = frozenset({Kind.SPM, Kind.BPE, Kind.UGM})
"""Tokenizers that put tokens around a text if the file says so."""


class Control(NamedTuple):
    """A token that is no text."""

    token: int
    strips_left: bool
    """White space in front of it counts for nothing."""
    strips_right: bool


class Around(NamedTuple):
    """What a tokenizer puts around a text that it is to complete."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    missing: str
    """The token that should be there and is not in the vocabulary, in words; empty if all are there."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one model."""

    kind: Kind
    longest_bytes: int
    """No token stands for more bytes of a text."""
    controls: Mapping[str, Control]
    """By the texts that name them."""
    defined: Mapping[str, Control]
    """Tokens that llama.cpp reads in every text, whether or not control tokens are to be read; by their texts."""
    puts_space: bool
    """The tokenizer puts a space in front of what it is given."""
    unwritten: frozenset[int]
    """Bytes, of those that occur in UTF-8, for which there is no token."""
    characters: frozenset[str]
    """That are tokens; empty where all bytes are written."""
    keeps: bool
    """Nothing of a text is left out by intention, and nothing is made alike."""
    anchor: str
    """A character that no token has beside others: what stands behind it is read as if nothing stood before.

    Empty if there is none, or if there is no use for it.
    """

    @property
    def may_drop(self) -> bool:
        """Characters that it has no tokens for would be left out of a text without a word."""
        return self.kind is Kind.BPE and bool(self.unwritten)

    @property
    def is_lossless(self) -> bool:
        """Every byte of a text is in one of its tokens."""
        return self.keeps and not self.may_drop and self.kind in {Kind.SPM, Kind.BPE, Kind.RWKV, Kind.PLAMO2}

    def unspelled(self, text: str) -> str | None:
        """A character for which llama.cpp would end the process, or not come to an end, if there is one in the text."""
        if not self.unwritten or self.kind not in {Kind.SPM, Kind.RWKV}:
            return None
        used = set(text) | ({" "} if self.puts_space and text else set())
        return next((one for one in sorted(used - self.characters) if self._lacks(one)), None)

    def _lacks(self, character: str) -> bool:
        written = _SPACE if self.kind is Kind.SPM and character == " " else character
        return not self.unwritten.isdisjoint(written.encode("utf-8", "replace"))


def vocabulary_of(library: ModuleType, model: NativeModel) -> Vocabulary:
    """Reads it; a quarter of a second for the largest. The model must have a tokenizer."""
    ids, handle = range(model.vocabulary_tokens), repeat(model.vocabulary)
    texts = map(library.llama_vocab_get_text, handle, ids)
    attributes = map(library.llama_vocab_get_attr, handle, ids)
    kind = Kind(library.llama_vocab_type(model.vocabulary))
    stated = model.metadata("tokenizer.ggml.add_space_prefix")
    puts_space = kind is Kind.SPM if stated is None else stated == "true"
    tokens = zip(texts, attributes, strict=True)
    return read(kind, tokens, puts_space and kind in {Kind.SPM, Kind.UGM}, model.metadata("tokenizer.ggml.model"))


def read(kind: Kind, tokens: Iterable[tuple[bytes, int]], puts_space: bool, tokenizer: str | None = None) -> Vocabulary:
    """From the texts and attributes of all tokens, in their order; `tokenizer` is the name that the file gives it."""
    longest_bytes = 1
    controls: dict[str, Control] = {}
    defined: dict[str, Control] = {}
    short: set[bytes] = set()
    beside: set[int] = set()
    beginnings: set[int] = set()
    anchored = kind is Kind.SPM and puts_space
    for token, (text, attributes) in enumerate(tokens):
        size = len(text)
        if size > longest_bytes:  # noqa: PLR1730  no call for each of a quarter of a million
            longest_bytes = size
        if attributes & (_CONTROL | _UNKNOWN | _USER_DEFINED) and size:
            found = Control(token, bool(attributes & _STRIPS_LEFT), bool(attributes & _STRIPS_RIGHT))
            (defined if attributes & _USER_DEFINED else controls)[text.decode("utf-8", "replace")] = found
        if anchored and size > 1 and not attributes & (_CONTROL | _UNKNOWN):
            if not (size == _BYTE_NAME_BYTES and text.startswith(b"<0x")):
                beside.update(text)
        elif kind is Kind.RWKV:
            text = _RWKV_ESCAPE.sub(_unescaped, text)  # noqa: PLW2901  from here on it is what the token stands for
            beginnings.update(text[:1])
        if len(text) <= _BYTE_NAME_BYTES:
            short.add(text)
    if kind is Kind.RWKV:
        # A longer token that begins so and ends otherwise has llama.cpp begin anew at the start of the text, for ever.
        unwritten = frozenset(byte for byte in beginnings if bytes([byte]) not in short)
    else:
        unwritten = frozenset(byte for byte in _UTF_8_BYTES if short.isdisjoint(_writings(byte, kind)))
    decoded = (text.decode("utf-8", "replace") for text in short) if unwritten and kind is Kind.SPM else ()
    characters = {" " if one == _SPACE else one for one in decoded if len(one) == 1}
    # An anchor is read with a space in front, which not every vocabulary can spell.
    anchored = anchored and (" " in characters or unwritten.isdisjoint(_SPACE.encode()))
    anchors = (0x0A, 0x09, *range(0x21, 0x7F)) if anchored else ()
    written = (chr(one) for one in anchors if one not in beside and (one not in unwritten or chr(one) in characters))
    named = (*controls.values(), *defined.values())
    keeps = tokenizer != "whitespace" and not any(one.strips_left or one.strips_right for one in named)
    return Vocabulary(
        kind, longest_bytes, controls, defined, puts_space, unwritten, frozenset(characters), keeps, next(written, "")
    )


def around(library: ModuleType, model: NativeModel) -> Around:
    """What the tokenizer of a model puts around a text."""
    kind = Kind(library.llama_vocab_type(model.vocabulary))
    before: list[tuple[str, int | None]] = []
    after: list[tuple[str, int | None]] = []
    if kind is Kind.WPM or (model.adds_bos and kind in _COMPLETING):
        before.append(("begin-of-sequence token", model.bos))
    if kind is Kind.WPM:
        after.append(("separator", model.separator))
    elif kind in _COMPLETING and library.llama_vocab_get_add_eos(model.vocabulary):
        after.append(("end-of-sequence token", model.eos))
    missing = next((name for name, token in (*before, *after) if token is None), "")
    return Around(_known(before), _known(after), missing)


def _known(tokens: Iterable[tuple[str, int | None]]) -> tuple[int, ...]:
    return tuple(token for _, token in tokens if token is not None)


def _writings(byte: int, kind: Kind) -> tuple[bytes, ...]:
    """Texts of tokens that stand for this byte and nothing else."""
    name = f"<0x{byte:02X}>".encode()
    if kind is Kind.BPE:
        return name, chr(byte if byte in _GPT2_OWN else 256 + _GPT2_OTHERS.index(byte)).encode()
    return (name, bytes([byte])) if byte < 0x80 else (name,)


def _unescaped(found: "re.Match[bytes]") -> bytes:
    number, name = found[1], found[2]
    return bytes([int(number, 16)]) if number else _RWKV_NAMES.get(name, name)


def one_of(names: Iterable[str]) -> "re.Pattern[str] | None":
    """Finds the longest of these names that stands at a place; None if there are none."""
    ordered = sorted(set(filter(None, names)))
    if not ordered:
        return None
    try:
        return re.compile(_branches(ordered))
    except RecursionError:  # hundreds of them begin with each other
        return re.compile("|".join(map(re.escape, sorted(ordered, key=len, reverse=True))))


def _branches(names: Sequence[str]) -> str:
    """Sorted names as an expression in which they share their beginnings: a search tries few of thousands."""
    # What the first and the last share, all that are sorted between them share.
    pairs = zip(names[0], names[-1], strict=False)
    common = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    rests = [name[len(common) :] for name in names if name != common]
    if not rests:
        return re.escape(common)
    inner = "|".join(_branches([*group]) for _, group in groupby(rests, key=lambda rest: rest[0]))
    return f"{re.escape(common)}(?:{inner}){'?' if common in names else ''}"
