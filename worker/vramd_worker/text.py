"""Turns the bytes of tokens into text to show: whole characters only, and nothing of a stop string."""

import codecs
import re
from collections.abc import Iterator, Sequence
from itertools import compress

_PART_OF_ANSWER = re.compile(
    r"think|thought|reason|tool|function|python_tag|channel|<\|message\|>|constrain|\[(args|call_id)\]|(start|end)_(action|response)",
    re.IGNORECASE,
)


def is_part_of_answer(name: str) -> bool:
    """Whether a control token of this name marks a part of an answer, such as thinking or a tool call."""
    return _PART_OF_ANSWER.search(name) is not None


class TextAssembler:
    """Assembles the text of one answer.

    The answer ends before the stop string that is complete first; of several complete at the same character, before the
    longest. How the bytes are cut into pieces makes no difference. Invalid UTF-8 becomes U+FFFD. Stop strings are found
    in names of control tokens too, even in those that are not shown.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._shown: tuple[bool, ...] = ()
        """Whether each held character is to be shown."""
        self.stopped = False
        """Whether a stop string was found; no more text comes then."""

    def feed(self, data: bytes) -> str:
        """Takes the bytes of the next token; returns the text that is now certain, which may be empty."""
        return self._take(self._decoder.decode(data), shown=True)

    def name(self, name: str, *, shown: bool) -> str:
        """Takes the name of a control token, shown or not; returns the text that is now certain."""
        if not shown:
            return self._take(name, shown=False) if self._stop else ""
        open_ = self._decoder.decode(b"", final=True)
        return self._take(open_ + name, shown=True)

    def finish(self) -> str:
        """Ends the text; returns what was held back, and U+FFFD for an unfinished character."""
        text = self._take(self._decoder.decode(b"", final=True), shown=True)
        rest, self._held, self._shown = _visible(self._held, self._shown), "", ()
        return text + rest

    def _take(self, fresh: str, *, shown: bool) -> str:
        if self.stopped:
            return ""
        text, mask = self._held + fresh, self._shown + (shown,) * len(fresh)
        if (end := self._first_stop(text, mask)) is not None:
            self.stopped, self._held, self._shown = True, "", ()
            return _visible(text[:end], mask[:end])
        certain = self._certain(text, mask)
        self._held, self._shown = text[certain:], mask[certain:]
        return _visible(text[:certain], mask[:certain])

    def _first_stop(self, text: str, mask: Sequence[bool]) -> int | None:
        """Returns where to cut the text, if a stop string is in it."""
        found = [
            (places[at + len(stop) - 1], places[at])
            for seen, places in _views(text, mask)
            for stop in self._stop
            if (at := seen.find(stop)) >= 0
        ]
        return min(found)[1] if found else None

    def _certain(self, text: str, mask: Sequence[bool]) -> int:
        """Returns where a stop string may have begun whose end is still to come; else the end of the text."""
        longest = max(map(len, self._stop), default=1) - 1
        return min(
            (
                places[len(seen) - length]
                for seen, places in _views(text, mask)
                for length in range(1, min(len(seen), longest) + 1)
                if any(len(stop) > length and seen.endswith(stop[:length]) for stop in self._stop)
            ),
            default=len(text),
        )


def _views(text: str, mask: Sequence[bool]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yields the whole text and the text as shown, each with the positions of its characters."""
    yield text, range(len(text))
    if not all(mask):
        yield _visible(text, mask), tuple(compress(range(len(text)), mask))


def _visible(text: str, mask: Sequence[bool]) -> str:
    return text if all(mask) else "".join(compress(text, mask))
