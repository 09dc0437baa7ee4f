"""From the bytes of tokens to text that can be shown: whole characters only, nothing of a stop string."""

import codecs
from collections.abc import Sequence


class TextAssembler:
    """Puts the text of one answer together.

    The answer ends before the stop string that is complete first; of several complete at the same character, before the
    longest. How the bytes were cut into pieces makes no difference. Bytes that are no UTF-8 become U+FFFD.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False
        """A stop string came; there is no more text."""

    def feed(self, data: bytes) -> str:
        """Takes the bytes of the next token; returns the text that is certain now, which may be empty."""
        return self._take(self._decoder.decode(data))

    def finish(self) -> str:
        """The rest, when no more bytes will come: what was held back, and U+FFFD for a character left open."""
        text = self._take(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return text + rest

    def _take(self, fresh: str) -> str:
        if self.stopped:
            return ""
        text = self._held + fresh
        if (end := self._first_stop(text)) is not None:
            self.stopped, self._held = True, ""
            return text[:end]
        certain = len(text) - self._possible_beginning(text)
        self._held = text[certain:]
        return text[:certain]

    def _first_stop(self, text: str) -> int | None:
        """Where the text is to be cut."""
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _possible_beginning(self, text: str) -> int:
        """Characters at the end of the text that a stop string may begin with."""
        for length in range(min(len(text), max(map(len, self._stop), default=1) - 1), 0, -1):
            if any(len(stop) > length and text.endswith(stop[:length]) for stop in self._stop):
                return length
        return 0
