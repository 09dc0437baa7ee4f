"""Counts the cells of a memory whose sequences share what they begin with. Pure.

Each sequence ends with a stretch that is its own. Where another has copied its beginning, both stretches hang on a
common one: the stretches are a tree, and each cell is in one of them.
"""

from collections.abc import Iterable


class _Stretch:
    """Cells from `start` to `end`, behind those of `before`."""

    __slots__ = ("before", "end", "followers", "start")

    def __init__(self, before: "_Stretch | None", start: int, end: int) -> None:
        self.before = before
        self.start = start
        self.end = end
        self.followers = 0
        """Stretches behind it, plus one if a sequence ends with it."""


class Cells:
    """Counts what sequences take in one memory, by their places in it."""

    def __init__(self) -> None:
        self._last: dict[int, _Stretch] = {}
        self.taken = 0
        """Cells of all sequences."""

    def __contains__(self, place: int) -> bool:
        return place in self._last

    def tokens(self, place: int) -> int:
        """Returns the length of a sequence; 0 if there is none."""
        return self._last[place].end if place in self._last else 0

    def own(self, place: int) -> int:
        """Returns the number of cells that no other sequence has."""
        cells, stretch = 0, self._last.get(place)
        while stretch is not None and stretch.followers == 1:
            cells += stretch.end - stretch.start
            stretch = stretch.before
        return cells

    def of(self, places: Iterable[int]) -> int:
        """Returns the number of cells that these sequences have, those that they share counted once."""
        seen: set[_Stretch] = set()
        for place in places:
            stretch = self._last.get(place)
            while stretch is not None and stretch not in seen:
                seen.add(stretch)
                stretch = stretch.before
        return sum(stretch.end - stretch.start for stretch in seen)

    def extend(self, place: int, tokens: int) -> None:
        """A sequence, which may be new, has grown by this many tokens."""
        if place not in self._last:
            self._end_with(place, _Stretch(None, 0, 0))
        self._last[place].end += tokens
        self.taken += tokens

    def copy(self, source: int, target: int, tokens: int) -> None:
        """A new sequence shares the first tokens of another."""
        last = self._last[source]
        stretch: _Stretch | None = last
        while stretch is not None and stretch.start >= tokens:
            stretch = stretch.before
        if stretch is not None and (stretch is last or stretch.end > tokens):
            # Those that end with a stretch or hang on it keep it: what is cut off is its beginning.
            first = _Stretch(stretch.before, stretch.start, tokens)
            first.followers = 1
            stretch.before, stretch.start = first, tokens
            stretch = first
        self._end_with(target, _Stretch(stretch, tokens, tokens))

    def shorten(self, place: int, tokens: int) -> None:
        """The end of a sequence is dropped, behind this many tokens."""
        old = self._last[place]
        if tokens < old.end:
            self.copy(place, place, tokens)
            self._free(old)

    def drop(self, place: int) -> None:
        """A sequence is dropped, if there is one."""
        if place in self._last:
            self._free(self._last.pop(place))

    def clear(self) -> None:
        self._last.clear()
        self.taken = 0

    def _end_with(self, place: int, stretch: _Stretch) -> None:
        stretch.followers = 1
        if stretch.before is not None:
            stretch.before.followers += 1
        self._last[place] = stretch

    def _free(self, stretch: _Stretch | None) -> None:
        while stretch is not None:
            stretch.followers -= 1
            if stretch.followers:
                return
            self.taken -= stretch.end - stretch.start
            stretch = stretch.before
