"""Reads once, at load, what a model's vocabulary can spell: llama.cpp ends the process for other texts.

None of its tokenizers reports a text that it has no tokens for: some throw, which Python cannot catch, some assert, one
loops for ever, others drop characters. So we check a text before it is passed on.
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
"""A space, as vocabularies without a byte alphabet write it."""
_BYTE_NAME_BYTES = len("<0x0A>")
_UTF_8_BYTES = frozenset({*range(0xF5)} - {0xC0, 0xC1})
"""Bytes that occur in UTF-8."""
_GPT2_OWN = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_GPT2_OTHERS = tuple(byte for byte in range(256) if byte not in _GPT2_OWN)
"""GPT-2's alphabet writes the first as the characters of these numbers, the others as those from 256 on."""
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
    """Whether white space before it is dropped."""
    strips_right: bool


class Around(NamedTuple):
    """The tokens that a tokenizer puts around a text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    missing: str
    """A needed token that the vocabulary lacks, in words; empty if it has all."""


@dataclass(frozen=True)
class Vocabulary:
    kind: Kind
    longest_bytes: int
    """Most bytes of a text in one token."""
    controls: Mapping[str, Control]
    """By name."""
    defined: Mapping[str, Control]
    """Tokens that llama.cpp reads in every text, even where control tokens are not to be read; by name."""
    puts_space: bool
    """Whether the tokenizer puts a space in front of a text."""
    unwritten: frozenset[int]
    """Bytes of UTF-8 that no token spells."""
    characters: frozenset[str]
    """Characters that are tokens; empty where every byte has one."""
    keeps: bool
    """Whether the tokenizer neither drops nor normalises parts of a text on purpose."""
    anchor: str
    """A character that no longer token contains: text after it is read as if nothing came before.

    Empty if there is none, or if none is needed.
    """

    @property
    def may_drop(self) -> bool:
        """Whether characters without tokens would be dropped silently."""
        return self.kind is Kind.BPE and bool(self.unwritten)

    @property
    def is_lossless(self) -> bool:
        """Whether every byte of a text is in one of its tokens."""
        return self.keeps and not self.may_drop and self.kind in {Kind.SPM, Kind.BPE, Kind.RWKV, Kind.PLAMO2}

    def unspelled(self, text: str) -> str | None:
        """Returns a character of the text for which llama.cpp would end the process or loop for ever, if any."""
        if not self.unwritten or self.kind not in {Kind.SPM, Kind.RWKV}:
            return None
        used = set(text) | ({" "} if self.puts_space and text else set())
        return next((one for one in sorted(used - self.characters) if self._lacks(one)), None)

    def _lacks(self, character: str) -> bool:
        written = _SPACE if self.kind is Kind.SPM and character == " " else character
        return not self.unwritten.isdisjoint(written.encode("utf-8", "replace"))


def vocabulary_of(library: ModuleType, model: NativeModel) -> Vocabulary:
    """Reads the vocabulary; takes a quarter of a second for the largest. The model must have a tokenizer."""
    ids, handle = range(model.vocabulary_tokens), repeat(model.vocabulary)
    texts = map(library.llama_vocab_get_text, handle, ids)
    attributes = map(library.llama_vocab_get_attr, handle, ids)
    kind = Kind(library.llama_vocab_type(model.vocabulary))
    stated = model.metadata("tokenizer.ggml.add_space_prefix")
    puts_space = kind is Kind.SPM if stated is None else stated == "true"
    tokens = zip(texts, attributes, strict=True)
    return read(kind, tokens, puts_space and kind in {Kind.SPM, Kind.UGM}, model.metadata("tokenizer.ggml.model"))


def read(kind: Kind, tokens: Iterable[tuple[bytes, int]], puts_space: bool, tokenizer: str | None = None) -> Vocabulary:
    """Makes a vocabulary of the texts and attributes of all tokens; `tokenizer` is its name in the file."""
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
            text = _RWKV_ESCAPE.sub(_unescaped, text)  # noqa: PLW2901  from here on it is the unescaped token
            beginnings.update(text[:1])
        if len(text) <= _BYTE_NAME_BYTES:
            short.add(text)
    if kind is Kind.RWKV:
        # If a longer token begins with it but does not match, llama.cpp restarts at the text's beginning, for ever.
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
    """Returns the tokens that a model's tokenizer puts around a text."""
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
    """Returns the texts of tokens that spell just this byte."""
    name = f"<0x{byte:02X}>".encode()
    if kind is Kind.BPE:
        return name, chr(byte if byte in _GPT2_OWN else 256 + _GPT2_OTHERS.index(byte)).encode()
    return (name, bytes([byte])) if byte < 0x80 else (name,)


def _unescaped(found: "re.Match[bytes]") -> bytes:
    number, name = found[1], found[2]
    return bytes([int(number, 16)]) if number else _RWKV_NAMES.get(name, name)


def one_of(names: Iterable[str]) -> "re.Pattern[str] | None":
    """Makes an expression that matches the longest of these names, of which there may be thousands; None for none."""
    ordered = sorted(set(filter(None, names)))
    if not ordered:
        return None
    try:
        return re.compile(_branches(ordered))
    except RecursionError:  # hundreds of them begin with each other
        return re.compile("|".join(map(re.escape, sorted(ordered, key=len, reverse=True))))


def _branches(names: Sequence[str]) -> str:
    """Writes sorted names as an expression that shares their prefixes, so that a search tries few of thousands."""
    # A prefix of the first and the last is one of all names sorted between them.
    pairs = zip(names[0], names[-1], strict=False)
    common = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    rests = [name[len(common) :] for name in names if name != common]
    if not rests:
        return re.escape(common)
    inner = "|".join(_branches([*group]) for _, group in groupby(rests, key=lambda rest: rest[0]))
    return f"{re.escape(common)}(?:{inner}){'?' if common in names else ''}"
