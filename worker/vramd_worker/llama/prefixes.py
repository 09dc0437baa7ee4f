"""Decides which texts stay in a model's memory, and how much of a new one is there already. Pure: no llama.cpp.

A sequence of the memory has a place: a slot, where it is computed, or a shelf, where it is kept and takes no more than
its cells. A memory without shelves keeps texts in slots that nothing else wants. The least recently used go first.

Each step looks over all used cells, so what is kept takes time. A program that asks one thing after another never goes
on with its texts: of those that show no sign of a conversation, only the last ones stay.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from vramd_worker.engine import Cut
from vramd_worker.llama.cells import Cells
from vramd_worker.llama.cuts import Cuts

LEAST_REUSED_TOKENS = 8
"""What is shorter is not worth other roundings: it is computed in no time."""
WORTH_WAITING_TOKENS = 32
"""Tokens that another computes just now, and that are worth waiting for: more than a step of one token costs."""
LAST_TEXTS = 8
"""As many conversations may begin beside each other and still find what they began with."""
_REWRITTEN_TOKENS = 8
"""Most tokens at the end of a prompt that templates write in another way once its answer is there."""
_CUT_TOKENS = 64
"""Tokens that a kept text loses at once, so that not each step has to take one."""


class Memory(Protocol):
    """A model's memory of several sequences. Its places are numbered: first the slots, then the shelves."""

    slots: int
    cells: int
    """Tokens that it holds in all."""
    drops_ends: bool
    """Whether the end of a sequence can be dropped; else what is computed stays as a whole, or goes as a whole."""
    window_tokens: int
    """Tokens that it holds for certain before the end of a sequence, if it drops older ones; 0: it holds all."""

    @property
    def shelves(self) -> int: ...

    def copy(self, source: int, target: int, tokens: int | None) -> None:
        """Puts the first tokens of a sequence, None: all of them, into an empty place too."""

    def drop_end(self, place: int, tokens: int) -> bool:
        """Drops what is behind this many tokens; false if it cannot, and has not."""

    def forget(self, place: int) -> None:
        """Empties a place."""

    def first_position(self, place: int) -> int:
        """Returns the position of the oldest token that it holds of a sequence."""


class Owner(NamedTuple):
    """For whom a text is computed."""

    scope: str
    """What is computed for one scope is not used for another, as far as it is not shared."""
    session: str = ""
    """Name of its conversation within the scope, if it has one."""
    shares: bool = False
    """Whether other scopes may use its prompt."""


@dataclass(eq=False)
class Held:
    """A text in the memory, running or kept."""

    place: int
    owner: Owner
    tokens: "array[int]"
    """Of one that runs, those that were known as it began: they may still have to be computed."""
    prompt_tokens: int
    """Tokens before its answer."""
    shared_tokens: int
    """Tokens at its beginning that other scopes may use too."""
    converses: bool = False
    """Whether it has a session, is shared, took up another's conversation, or another took up its: it stays until its
    cells are needed. Of other texts the last stay: `LAST_TEXTS`, or as many as there are slots if these are more."""
    reused: int = 0
    """Tokens that were in the memory as it began."""
    pinned: bool = False
    """Whether all others go before it."""
    cuts: Cuts = field(default_factory=Cuts)
    """The chunks in which what the memory holds of it was computed, by whichever text."""


class Twin(NamedTuple):
    """A running text that will have computed what another begins with."""

    held: Held
    tokens: int


class Prefixes:
    """Keeps the books of one memory. All that changes its sequences, but computing, goes through here."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._cells = Cells()
        self._running: dict[int, Held] = {}
        self._kept: list[Held] = []
        """The least recently used first."""
        self.refused = 0
        """Times that a memory that cannot drop the end of a text had to compute a beginning again that it had."""

    def twin(self, tokens: Sequence[int], owner: Owner) -> Twin | None:
        """Returns a running text that is about to compute enough of what this one begins with."""
        if not self._memory.drops_ends:
            return None
        prompt = array("i", tokens)
        best = max((length for _, length in self._found(prompt, owner)), default=0) + WORTH_WAITING_TOKENS
        twin = None
        for held in self._running.values():
            length = _usable(held, prompt, owner)
            if length >= best and length > self.length(held):
                twin, best = Twin(held, length), length + 1
        return twin

    def is_awaited(self, twin: Twin) -> bool:
        """Whether that text still runs, and has not yet computed so much."""
        held, tokens = twin
        return self._running.get(held.place) is held and self.length(held) < tokens

    def begin(self, tokens: Sequence[int], owner: Owner, prompt_tokens: int, alike: Cuts | None = None) -> Held:
        """Gives a text a slot, with as much of its beginning as there is; `alike`: that was computed in these chunks.

        There must be a slot that is not running.
        """
        prompt = array("i", tokens)
        source, length = self._source(prompt, owner, alike)
        shared = prompt_tokens if owner.shares else min(source.shared_tokens, length) if source else 0
        cuts = source.cuts.first(length) if source else Cuts()
        converses = bool(owner.session) or owner.shares
        if source is not None and self._takes_up(source, length, prompt_tokens):
            source.converses = converses = True
        slot = self._slot_with(source, length, owner)
        held = Held(slot, owner, prompt, prompt_tokens, shared, converses, length, cuts=cuts)
        self._cells.extend(held.place, 0)
        self._running[held.place] = held
        return held

    def extend(self, held: Held, computed: Cut) -> None:
        """A chunk more of a running text has been computed."""
        self._cells.extend(held.place, computed.tokens)
        held.cuts.add(computed)

    def mark(self, held: Held) -> None:
        """Keeps a running text as it is now, beside it, where the memory could not go back to this point later.

        It takes a slot that is free, or that of a text with which it begins. Called before anything is computed behind
        the tokens with which it began.
        """
        length = self.length(held)
        if self._memory.drops_ends or length < LEAST_REUSED_TOKENS:
            return
        place = next((slot for slot in range(self._memory.slots) if slot not in self._cells), None)
        if place is None:
            begun_with = self._begun_with(held, length)
            if not begun_with:
                return
            place = begun_with[0].place
            self._drop(begun_with[0])
        self._memory.copy(held.place, place, None)
        self._cells.copy(held.place, place, length)
        shared = min(held.shared_tokens, length)
        cuts = held.cuts.first(length)
        self._kept.append(Held(place, held.owner, held.tokens[:length], length, shared, held.converses, cuts=cuts))

    def length(self, held: Held) -> int:
        """Returns how many tokens of a text the memory holds."""
        return self._cells.tokens(held.place)

    def end(self, held: Held, tokens: Sequence[int] | None, *, pinned: bool = False) -> None:
        """A running text has ended. It is kept with these tokens, which are computed; None: it is forgotten.

        All others go before one that is `pinned`.
        """
        del self._running[held.place]
        if tokens is None or len(tokens) < LEAST_REUSED_TOKENS or not self._memory.drop_end(held.place, len(tokens)):
            self._forget(held.place)
            return
        held.tokens, held.cuts, held.pinned = array("i", tokens), held.cuts.first(len(tokens)), pinned
        self._cells.shorten(held.place, len(tokens))
        if self._memory.drops_ends and not self._memory.window_tokens:
            for other in self._begun_with(held, len(tokens)):
                self._drop(other)
        if self._memory.shelves:
            shelf = self._free_place(range(self._memory.slots, self._memory.slots + self._memory.shelves))
            self._move(held, shelf)
        self._kept.append(held)
        passing = [other for other in self._kept if not (other.converses or other.pinned)]
        for other in passing[: -max(self._memory.slots, LAST_TEXTS)]:
            self._drop(other)

    def make_room(self, tokens: int) -> bool:
        """Frees cells for this many tokens as far as kept texts have them; true if there are so many now."""
        while (missing := self._cells.taken + tokens - self._memory.cells) > 0:
            if self._cells.taken == self.running_cells:
                return False
            least = next((held for held in self._by_use() if self._cells.own(held.place)), None)
            if least is None:
                self.drop_least_used()
            else:
                self._cut(least, min(self._cells.own(least.place), max(missing, _CUT_TOKENS)))
        return True

    def drop_least_used(self) -> bool:
        """Forgets the kept text that was used least recently; false if there is none."""
        least = next(self._by_use(), None)
        if least is not None:
            self._drop(least)
        return least is not None

    @property
    def running_cells(self) -> int:
        """Cells that running texts have."""
        return self._cells.of(self._running)

    @property
    def kept(self) -> Sequence[Held]:
        """Kept texts, the least recently used first."""
        return self._kept

    def lose_all(self) -> None:
        """The memory holds nothing any more. Running texts keep their slots."""
        self._kept.clear()
        self._cells.clear()
        for place, held in self._running.items():
            held.reused, held.cuts = 0, Cuts()
            self._cells.extend(place, 0)

    def _found(self, prompt: "array[int]", owner: Owner, alike: Cuts | None = None) -> Iterator[tuple[Held, int]]:
        """Texts whose beginning is of use, and how much of it there is; the most recently used first."""
        for held in (*reversed(self._kept), *self._running.values()):
            length = min(_usable(held, prompt, owner), self.length(held))
            if alike is not None:
                length = alike.boundary(min(length, held.cuts.in_common(alike)))
            if length >= LEAST_REUSED_TOKENS:
                yield held, length

    def _source(self, prompt: "array[int]", owner: Owner, alike: Cuts | None) -> tuple[Held | None, int]:
        def worth(found: tuple[Held, int]) -> tuple[int, bool, bool]:
            held, length = found
            return length, self._is_same_session(held, owner), length == self.length(held)

        refused = False
        for held, length in sorted(self._found(prompt, owner, alike), key=worth, reverse=True):
            if self._can_leave(held, length):
                self.refused += refused
                return held, length
            refused = True
        self.refused += refused
        return None, 0

    def _can_leave(self, held: Held, length: int) -> bool:
        """Whether a text can go on behind this many tokens of another."""
        memory = self._memory
        if length == self.length(held):
            return True
        if not memory.drops_ends:
            return False
        return not memory.window_tokens or memory.first_position(held.place) <= max(0, length - memory.window_tokens)

    def _takes_up(self, source: Held, length: int, prompt_tokens: int) -> bool:
        """Whether a prompt with so many tokens of a text takes up its conversation, and not just a common beginning.

        A next turn has the prompt before it and is longer. The same prompt once more, and one that was broken off, are
        of a conversation if the text is.
        """
        if source.pinned or source.owner.shares:
            return False
        rewritten = min(_REWRITTEN_TOKENS, source.prompt_tokens // 4)
        has_prompt = length >= source.prompt_tokens - rewritten
        broken_off = source.place not in self._running and length == self.length(source)
        if source.converses and (has_prompt or broken_off):
            return True
        is_longer = prompt_tokens > source.prompt_tokens + _REWRITTEN_TOKENS
        return length > source.prompt_tokens or (has_prompt and is_longer)

    def _slot_with(self, source: Held | None, length: int, owner: Owner) -> int:
        """Returns a slot that holds this much of the source."""
        slots = range(self._memory.slots)
        if source is None:
            return self._free_place(slots)
        whole = length == self.length(source)
        is_kept = source in self._kept
        if is_kept:
            self._kept.remove(source)
        goes_on = is_kept and not source.pinned and (whole or self._is_same_session(source, owner))
        if is_kept and source.place in slots:
            others = [slot for slot in slots if slot != source.place and slot not in self._running]
            if goes_on or not others:
                self._memory.drop_end(source.place, length)
                self._cells.shorten(source.place, length)
                return source.place
            slots_left: Sequence[int] = others
        else:
            slots_left = slots
        slot = self._free_place(slots_left)
        self._memory.copy(source.place, slot, None if whole else length)
        self._cells.copy(source.place, slot, length)
        if goes_on:
            self._forget(source.place)
        elif is_kept:
            self._kept.append(source)
        return slot

    def _free_place(self, places: Sequence[int]) -> int:
        """Returns a place that holds nothing, after dropping the least used text that is there if none is free."""
        free = next((place for place in places if place not in self._cells), None)
        if free is not None:
            return free
        least = next(held for held in self._by_use() if held.place in places)
        self._drop(least)
        return least.place

    def _begun_with(self, held: Held, length: int) -> list[Held]:
        """Kept texts that this one has within its first tokens, where these are as good as they are."""
        return [
            other
            for other in self._kept
            if not other.pinned
            and other.owner.scope == held.owner.scope
            and other.shared_tokens <= held.shared_tokens
            and len(other.tokens) <= length
            and held.tokens[: len(other.tokens)] == other.tokens
        ]

    def _cut(self, held: Held, tokens: int) -> None:
        """Takes this many tokens off the end of a kept text."""
        left = len(held.tokens) - tokens
        memory = self._memory
        if left < LEAST_REUSED_TOKENS or memory.window_tokens or not memory.drop_end(held.place, left):
            self._drop(held)
            return
        del held.tokens[left:]
        held.cuts = held.cuts.first(left)
        held.shared_tokens = min(held.shared_tokens, left)
        self._cells.shorten(held.place, left)

    def _move(self, held: Held, place: int) -> None:
        self._memory.copy(held.place, place, None)
        self._cells.copy(held.place, place, len(held.tokens))
        self._forget(held.place)
        held.place = place

    def _drop(self, held: Held) -> None:
        self._kept.remove(held)
        self._forget(held.place)

    def _forget(self, place: int) -> None:
        self._memory.forget(place)
        self._cells.drop(place)

    def _by_use(self) -> Iterator[Held]:
        yield from sorted(self._kept, key=lambda held: held.pinned)

    @staticmethod
    def _is_same_session(held: Held, owner: Owner) -> bool:
        return bool(owner.session) and (held.owner.scope, held.owner.session) == (owner.scope, owner.session)


def _usable(held: Held, prompt: "array[int]", owner: Owner) -> int:
    """Returns how many tokens a prompt begins with as a text does, and may have of it.

    The last token of a prompt is computed in any case: what comes next is chosen by its result.
    """
    if held.tokens[:LEAST_REUSED_TOKENS] != prompt[:LEAST_REUSED_TOKENS]:
        return 0
    most = len(held.tokens) if held.owner.scope == owner.scope else held.shared_tokens
    return common(held.tokens, prompt, min(most, len(prompt) - 1))


def common(one: "array[int]", other: "array[int]", most: int) -> int:
    """Returns how many tokens two texts have in common at their beginning, `most` at most."""
    low, high = 0, min(most, len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
