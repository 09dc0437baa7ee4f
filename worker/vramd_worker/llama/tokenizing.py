"""Turns text into tokens piece by piece: no step takes long, and the work can be given up between steps.

llama.cpp's tokenizers take time, memory and stack that grow faster than a text (they match by recursion, once for each
character). So they are given pieces, cut where hardly any vocabulary has a token across the cut.
"""

import ctypes
import re
from array import array
from collections.abc import Generator, Iterable, Iterator, Sequence
from types import ModuleType
from typing import NamedTuple, TypeAlias, TypeVar

from vramd_common.reasons import Reason

from vramd_worker.engine import EngineError
from vramd_worker.llama.model import NativeModel
from vramd_worker.llama.vocabulary import Control, Vocabulary, one_of

PIECE_CHARACTERS = 8192
"""Longest piece: a few milliseconds, and a few MiB of stack."""
_SLOW = {"superbpe": 1024}
"""Longest piece by pre-tokenizer, where time grows with the square of a number's digits."""
SEARCHED_CHARACTERS = 64 * 1024
"""Characters searched for control tokens in one step: a millisecond."""
COUNTED = 4
"""Multiple of the limit up to which the tokens of a too long input are counted, to report their number."""
_C_SPACE = " \t\n\v\f\r"
"""White space of the C library."""

Result = TypeVar("Result")
Steps: TypeAlias = Generator[None, None, Result]
"""Work in steps: between two of them other work may run, or it may be given up."""


class Segment(NamedTuple):
    """A part of a text. Tokens may reach from one part into the next."""

    text: str
    special: bool
    """Whether control tokens that it names are read as such; else they are text."""


class TooManyTokensError(Exception):
    """Raised for a text with more tokens than fit."""

    def __init__(self, tokens: int, *, counted: bool) -> None:
        super().__init__(f"{tokens} tokens")
        self.tokens = tokens
        self.counted = counted
        """Whether `tokens` is exact; else it is a lower bound."""


class Tokenizer:
    """Turns text into tokens of one model. Used by one thread at a time."""

    def __init__(self, library: ModuleType, model: NativeModel, vocabulary: Vocabulary) -> None:
        self._library = library
        self._model = model
        self._vocabulary = vocabulary
        self._most_characters = _SLOW.get(model.metadata("tokenizer.ggml.pre") or "", PIECE_CHARACTERS)
        self._controls = dict(vocabulary.controls)
        self._learn_names()
        self._control_ids = frozenset(control.token for control in self._controls.values())
        self._apart: re.Pattern[str] | None = None
        self._anchor_tokens = len(self._native(vocabulary.anchor)) if vocabulary.anchor else 0

    def set_apart(self, names: Iterable[str]) -> None:
        """Reads these tokens from now on as control tokens, though llama.cpp reads them in every text."""
        apart = {name: self._vocabulary.defined[name] for name in names}
        self._controls |= apart
        self._apart = one_of(apart)
        self._learn_names()

    def _learn_names(self) -> None:
        self._named = one_of(self._controls)
        self._longest_name = max(map(len, self._controls), default=0)

    def ids(self, segments: Iterable[Segment], field: str, most: int | None = None) -> "Steps[array[int]]":
        """Returns the tokens of these parts as one text; nothing is put around them.

        Raises TooManyTokensError if there are more than `most`, and EngineError(FIELD_INVALID) for `field` if the
        vocabulary cannot spell the text. A text whose bytes alone are too many is refused at once.
        """
        parts = list(segments)
        text = "".join(part.text for part in parts)
        if most is not None and (least := self.least_tokens(len(text.encode("utf-8", "replace")))) > most:
            raise TooManyTokensError(least, counted=False)
        ids = array("i")
        for found in self._read(text, parts, field):
            ids.extend(found)
            if most is not None and len(ids) > COUNTED * most:
                raise TooManyTokensError(len(ids), counted=False)
            yield
        if most is not None and len(ids) > most:
            raise TooManyTokensError(len(ids), counted=True)
        return ids

    def least_tokens(self, text_bytes: int) -> int:
        """Returns a lower bound of the tokens of a text of this size."""
        return -(-text_bytes // self._vocabulary.longest_bytes) if self._vocabulary.is_lossless else 0

    def _read(self, text: str, parts: Sequence[Segment], field: str) -> Iterator[Sequence[int]]:
        for fragment in self._fragments(text, parts):
            if isinstance(fragment, Control):
                yield (fragment.token,)
                continue
            if not fragment:
                yield ()
                continue
            self._check(fragment, field)
            for at, spelled in enumerate(_cut_at(self._apart, fragment)):
                for piece in self._pieces(spelled, spaced=not at):
                    yield self._as_text(piece, field)

    def _fragments(self, text: str, parts: Sequence[Segment]) -> Iterator[str | Control]:
        """Yields control tokens to be read as such and the text between them; empty text while it searches."""
        begin, after = 0, None
        for found in self._named_controls(text, parts):
            if found is None:
                yield ""
                continue
            control, start, end = found
            if between := _stripped(text[begin:start], after, control):
                yield between
            yield control
            begin, after = end, control
        if rest := _stripped(text[begin:], after, None):
            yield rest

    def _named_controls(self, text: str, parts: Sequence[Segment]) -> "Iterator[tuple[Control, int, int] | None]":
        """Yields control tokens with their start and end; None for each stretch of text that was searched."""
        if self._named is None:
            return
        begin = end = 0
        for at, part in enumerate(parts):
            end += len(part.text)
            if part.special and at + 1 < len(parts) and parts[at + 1].special:
                continue
            while part.special and begin < end:
                # A name that begins in this stretch may end after it.
                stretch = begin + SEARCHED_CHARACTERS
                for found in self._named.finditer(text, begin, min(end, stretch + self._longest_name)):
                    if found.start() >= stretch:
                        break
                    begin = found.end()
                    yield self._controls[found[0]], found.start(), found.end()
                begin = max(begin, stretch)
                yield None
            begin = end

    def _check(self, text: str, field: str) -> None:
        if (character := self._vocabulary.unspelled(text)) is not None:
            what = f"{character!r} (U+{ord(character):04X})"
            raise EngineError(Reason.FIELD_INVALID, f"the model's vocabulary cannot spell {what}", field=field)

    def _pieces(self, text: str, *, spaced: bool) -> Iterator[tuple[str, bool]]:
        """Yields pieces of a text, each with whether the tokenizer may put a space in front."""
        start = 0
        while len(text) - start > self._most_characters:
            end, at_space = _cut(text, start, self._most_characters)
            yield text[start:end], spaced
            # The tokenizer adds this space itself.
            spaced = at_space and self._vocabulary.puts_space
            start = end + spaced
        yield text[start:], spaced

    def _as_text(self, piece: tuple[str, bool], field: str) -> "array[int]":
        """Returns tokens of a piece, none of them a control token: some tokenizers merge characters into one."""
        ids = self._spelled(piece, field)
        text, spaced = piece
        if self._control_ids.isdisjoint(ids) or not (self._named and self._named.search(text)):
            return ids
        ids = array("i")
        for at, spelled in enumerate(_cut_at(self._named, text)):
            ids.extend(self._spelled((spelled, spaced and not at), field))
        return ids

    def _spelled(self, piece: tuple[str, bool], field: str) -> "array[int]":
        text, spaced = piece
        if spaced or not self._anchor_tokens:
            ids = self._native(text)
        else:
            ids = self._native(self._vocabulary.anchor + text)[self._anchor_tokens :]
        if ids and not 0 <= min(ids) <= max(ids) < self._model.vocabulary_tokens:
            raise EngineError(Reason.FIELD_INVALID, "the model's vocabulary cannot spell the text", field=field)
        if self._vocabulary.may_drop:
            self._check_kept(text, ids, field)
        return ids

    def _check_kept(self, text: str, ids: "array[int]", field: str) -> None:
        """Raises EngineError if characters were dropped, except white space, which some tokenizers do not keep."""
        kept = b"".join(map(self._model.piece, ids)).decode("utf-8", "replace")
        if sum(not c.isspace() for c in kept) < sum(not c.isspace() for c in text):
            lost = next((c for c in text if not c.isspace() and c not in kept), "")
            raise EngineError(
                Reason.FIELD_INVALID, f"the model's vocabulary cannot spell {lost!r} of the text", field=field
            )

    def _native(self, text: str) -> "array[int]":
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        ids = array("i")
        while True:
            buffer = (ctypes.c_int32 * room)()
            count = int(
                self._library.llama_tokenize(self._model.vocabulary, data, len(data), buffer, room, False, False)
            )
            if count >= 0:
                ids.frombytes(memoryview(buffer).cast("B")[: count * ctypes.sizeof(ctypes.c_int32)])
                return ids
            room = -count


def at_once(steps: Steps[Result]) -> Result:
    """Does all the steps; returns their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def _cut_at(names: "re.Pattern[str] | None", text: str) -> Iterator[str]:
    """Cuts the text after the first character of each name, so that none is read as a token."""
    begin = 0
    for found in names.finditer(text) if names else ():
        yield text[begin : found.start() + 1]
        begin = found.start() + 1
    yield text[begin:]


def _cut(text: str, start: int, most: int) -> tuple[int, bool]:
    """Returns where to end a piece, and whether that is before a space between two words.

    Such a space is preferred, then the end of a line, then any place.
    """
    least, end = start + most // 2, start + most
    at = text.rfind(" ", least, end)
    while at > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at, True
        at = text.rfind(" ", least, at)
    at = text.rfind("\n", least, end - 1)
    while at > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at + 1, False
        at = text.rfind("\n", least, at)
    return end, False


def _stripped(text: str, after: Control | None, before: Control | None) -> str:
    """Strips the white space that the control tokens on either side do not want next to them."""
    if after is not None and after.strips_right:
        text = text.lstrip(_C_SPACE)
    return text.rstrip(_C_SPACE) if before is not None and before.strips_left else text
