"""What is kept, shared and dropped: by random texts on memories that check what is done with them."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vramd_worker.engine import Cut
from vramd_worker.llama.cuts import Cuts
from vramd_worker.llama.prefixes import (
    LAST_TEXTS,
    LEAST_REUSED_TOKENS,
    WORTH_WAITING_TOKENS,
    Held,
    Owner,
    Prefixes,
    common,
)


class Cell(NamedTuple):
    number: int
    token: int
    scope: str


@dataclass
class FakeMemory:
    """Lists the cells of each sequence."""

    slots: int = 2
    shelves: int = 3
    cells: int = 120
    drops_ends: bool = True
    window_tokens: int = 0
    splits: bool = False
    """Whether each sequence has cells of its own."""
    places: dict[int, list[Cell]] = field(default_factory=dict)
    made: int = 0
    shared: set[int] = field(default_factory=set)
    """Numbers of cells that all scopes may use."""

    def copy(self, source: int, target: int, tokens: int | None) -> None:
        assert not self.places.get(target), "the place is empty"
        assert target < self.slots + self.shelves
        assert self.drops_ends or tokens is None
        copied = self.places[source][:tokens]
        self.places[target] = [self.made_of(cell) for cell in copied] if self.splits else copied

    def drop_end(self, place: int, tokens: int) -> bool:
        if not self.drops_ends:
            return len(self.places[place]) <= tokens
        del self.places[place][tokens:]
        return True

    def forget(self, place: int) -> None:
        self.places.pop(place, None)

    def first_position(self, place: int) -> int:
        return max(0, len(self.places[place]) - 2 * self.window_tokens) if self.window_tokens else 0

    def compute(self, held: Held, tokens: list[int], prompt_tokens: int) -> None:
        assert held.place < self.slots
        cells = self.places.setdefault(held.place, [])
        for token in tokens:
            cells.append(self.made_of(Cell(0, token, held.owner.scope)))
        self.share(held, prompt_tokens)

    def share(self, held: Held, prompt_tokens: int) -> None:
        """A caller may share what it has had for itself before."""
        if held.owner.shares:
            self.shared |= {cell.number for cell in self.places.get(held.place, [])[:prompt_tokens]}

    def made_of(self, cell: Cell) -> Cell:
        self.made += 1
        if cell.number in self.shared:
            self.shared.add(self.made)
        return cell._replace(number=self.made)

    def may_have(self, scope: str, cells: list[Cell]) -> bool:
        return all(cell.scope == scope or cell.number in self.shared for cell in cells)

    @property
    def taken(self) -> int:
        return len({cell.number for cells in self.places.values() for cell in cells})


@dataclass
class Text:
    tokens: list[int]
    prompt_tokens: int
    held: Held

    def computed(self, memory: FakeMemory) -> int:
        return len(memory.places.get(self.held.place, []))


class Story:
    """Texts that come and go, at most as many as there are slots."""

    def __init__(self, memory: FakeMemory) -> None:
        self.memory = memory
        self.prefixes = Prefixes(memory)
        self.running: list[Text] = []

    def begin(self, tokens: list[int], owner: Owner) -> Text | None:
        if len(self.running) == self.memory.slots:
            return None
        held = self.prefixes.begin(tokens, owner, len(tokens))
        text = Text(tokens, len(tokens), held)
        there = self.memory.places.get(held.place, [])
        assert [cell.token for cell in there] == tokens[: held.reused]
        assert held.reused < len(tokens)
        assert self.memory.may_have(owner.scope, there)
        self.memory.share(held, len(tokens))
        assert all(held.place != other.held.place for other in self.running)
        self.running.append(text)
        return text

    def compute(self, text: Text, most: int) -> None:
        place = text.computed(self.memory)
        if place == len(text.tokens):
            text.tokens.append(100 + place)
        tokens = text.tokens[place : place + most]
        running = {cell.number for one in self.running for cell in self.memory.places.get(one.held.place, [])}
        fits = self.prefixes.make_room(len(tokens))
        assert fits or self.memory.splits or len(running) + len(tokens) > self.memory.cells, "kept texts give way"
        if fits:
            self.memory.compute(text.held, tokens, text.prompt_tokens)
            self.prefixes.extend(text.held, Cut(len(tokens), len(tokens)))

    def end(self, text: Text, *, keep: bool = True, pinned: bool = False) -> None:
        self.running.remove(text)
        self.prefixes.end(text.held, text.tokens[: text.computed(self.memory)] if keep else None, pinned=pinned)

    def check(self) -> None:
        memory, kept = self.memory, self.prefixes.kept
        assert memory.splits or memory.taken <= memory.cells
        used = [text.held.place for text in self.running] + [held.place for held in kept]
        assert len(set(used)) == len(used)
        assert {place for place, cells in memory.places.items() if cells} <= set(used), "no cell is lost"
        for held in kept:
            assert [cell.token for cell in memory.places[held.place]] == held.tokens.tolist()
            assert memory.may_have("of another", memory.places[held.place][: held.shared_tokens])
            assert memory.may_have(held.owner.scope, memory.places[held.place])


A = Owner("a")
KINDS: dict[str, Callable[[], FakeMemory]] = {
    "cells for all": FakeMemory,
    "cells of their own": lambda: FakeMemory(slots=3, shelves=0, splits=True, cells=400),
    "a window": lambda: FakeMemory(window_tokens=12),
    "windows in slots": lambda: FakeMemory(slots=3, shelves=0, window_tokens=12),
    "no way back": lambda: FakeMemory(slots=3, shelves=0, drops_ends=False),
    "one slot": lambda: FakeMemory(slots=1, shelves=1),
}
OWNERS = st.builds(Owner, st.sampled_from("ab"), st.sampled_from(["", "talk"]), st.booleans())
PROMPTS = st.lists(st.sampled_from([(1,) * 10, (2,) * 12, (3, 4, 5) * 5, (6,)]), min_size=1, max_size=5).map(
    lambda parts: [token for part in parts for token in part]
)
DEEDS = st.tuples(
    st.sampled_from(["begin", "compute", "compute", "mark", "end", "fail"]),
    st.integers(0, 2),
    st.integers(1, 30),
    PROMPTS,
    OWNERS,
)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_no_cell_is_lost_and_none_is_told_to_others(kind: str, data: st.DataObject) -> None:
    story = Story(KINDS[kind]())
    for deed, which, most, prompt, owner in data.draw(st.lists(DEEDS, max_size=30)):
        if deed == "begin":
            story.begin(list(prompt), owner)
        elif which < len(story.running):
            text = story.running[which]
            if deed == "mark":
                if text.computed(story.memory) <= text.prompt_tokens:
                    story.prefixes.mark(text.held)
            elif deed == "compute":
                story.compute(text, most)
            else:
                story.end(text, keep=deed == "end")
        story.check()
    for text in list(story.running):
        story.end(text, keep=False)
    while story.prefixes.drop_least_used():
        pass
    assert story.memory.taken == story.prefixes.running_cells == 0


def said(
    story: Story, tokens: list[int], owner: Owner = A, *, pinned: bool = False, answer: Sequence[int] = ()
) -> Text:
    """A text that was computed, and has ended."""
    text = story.begin(tokens, owner)
    assert text
    text.tokens = [*tokens, *answer]
    story.compute(text, 1000)
    story.end(text, pinned=pinned)
    return text


def reused(story: Story, tokens: list[int], owner: Owner = A) -> int:
    text = story.begin(tokens, owner)
    assert text
    story.end(text, keep=False)
    return text.held.reused


def counted(first: int, tokens: int) -> list[int]:
    return list(range(first, first + tokens))


def test_the_longest_beginning_is_taken() -> None:
    story = Story(FakeMemory())
    said(story, counted(0, 20))
    said(story, counted(0, 15) + counted(50, 20))
    assert reused(story, counted(0, 15) + counted(50, 10)) == 24


def test_the_conversation_of_a_session_is_gone_on_with() -> None:
    """Its old end is gone, while that of another conversation stays."""
    story = Story(FakeMemory())
    said(story, counted(0, 30), Owner("a", "talk"))
    said(story, [*counted(0, 20), 99], Owner("a", "talk"))
    assert len(story.prefixes.kept) == 1
    said(story, [*counted(0, 20), 98], Owner("a", "other"))
    assert len(story.prefixes.kept) == 2


def test_what_one_text_begins_with_is_not_kept_twice() -> None:
    story = Story(FakeMemory())
    said(story, counted(0, 20))
    said(story, counted(0, 30))
    assert [held.tokens.tolist() for held in story.prefixes.kept] == [counted(0, 30)]


def test_of_texts_without_a_conversation_the_last_ones_stay() -> None:
    """They begin alike, as those of a program that asks one thing after another do."""
    story = Story(FakeMemory(shelves=20, cells=1000))
    common_tokens = counted(0, 40)
    for number in range(1, 13):
        said(story, common_tokens + counted(100 * number, 20))
    assert [held.tokens[-20] for held in story.prefixes.kept] == [100 * number for number in range(5, 13)]
    assert reused(story, [*common_tokens, 7]) == 40


def test_conversations_stay_until_room_is_needed() -> None:
    """One has a name, one was gone on with, and of one the last turn was asked twice."""
    story = Story(FakeMemory(slots=1, shelves=20, cells=1000))
    said(story, counted(0, 30), Owner("a", "talk"))
    for more in (0, 20, 40):
        said(story, counted(100, 30 + more))
    said(story, counted(200, 30))
    for answer in (1, 2):
        said(story, counted(200, 50), answer=[answer] * 3)
    for number in range(3, 13):
        said(story, counted(100 * number, 20))
    kept = [(held.tokens[0], len(held.tokens)) for held in story.prefixes.kept]
    assert kept == [(0, 30), (100, 70), (200, 53), (200, 53), *((100 * number, 20) for number in range(5, 13))]


@pytest.mark.parametrize("beginning", [40, 14])
@pytest.mark.parametrize("question", [0, 3])
def test_what_is_asked_alike_again_and_again_is_no_conversation(beginning: int, question: int) -> None:
    """Samples of one answer, and short questions that a template writes something behind."""
    story = Story(FakeMemory(shelves=20, cells=1000))
    for number in range(1, 13):
        asked = [1000 * number + place for place in range(question)]
        said(story, [*counted(0, beginning), *asked, *counted(500, 5)], answer=[number] * 3)
    assert len(story.prefixes.kept) == LAST_TEXTS


def test_a_conversation_stays_one_when_a_turn_was_cancelled() -> None:
    story = Story(FakeMemory(slots=1, shelves=20, cells=1000))
    for length in (30, 60):
        said(story, counted(0, length))
    cancelled = story.begin(counted(0, 100), A)
    assert cancelled
    story.compute(cancelled, 10)
    story.end(cancelled)
    said(story, counted(0, 100))
    for number in range(2, 2 + LAST_TEXTS):
        said(story, counted(100 * number, 20))
    assert reused(story, counted(0, 130)) == 100


def test_what_begins_as_a_conversation_that_is_being_computed_is_none() -> None:
    story = Story(FakeMemory(shelves=20, cells=1000))
    talk = story.begin(counted(0, 100), Owner("a", "talk"))
    assert talk
    story.compute(talk, 20)
    for number in range(1, 13):
        said(story, counted(0, 20) + counted(1000 * number, 20))
    assert len(story.prefixes.kept) == LAST_TEXTS


def test_a_turn_is_known_whose_end_a_template_writes_in_another_way() -> None:
    story = Story(FakeMemory(slots=1, shelves=20, cells=1000))
    said(story, [*counted(0, 30), 7, 7, 7, 7])
    said(story, [*counted(0, 30), *counted(50, 20), 7, 7, 7, 7])
    for number in range(2, 2 + LAST_TEXTS):
        said(story, counted(100 * number, 20))
    assert reused(story, counted(0, 30)) == 29


def test_what_goes_on_from_a_prompt_for_all_is_no_conversation() -> None:
    story = Story(FakeMemory(slots=1, shelves=20, cells=1000))
    said(story, counted(0, 30), Owner("", shares=True), pinned=True)
    for number in range(1, 13):
        said(story, counted(0, 30) + counted(100 * number, 20))
    assert len(story.prefixes.kept) == 1 + LAST_TEXTS


def test_a_pinned_text_goes_last() -> None:
    story = Story(FakeMemory(cells=100))
    said(story, counted(0, 30), Owner("", shares=True), pinned=True)
    for number in range(1, 9):
        said(story, counted(100 * number, 60))
        assert reused(story, [*counted(0, 30), 7], Owner("b")) == 30
    said(story, counted(2000, 90))
    assert reused(story, [*counted(0, 30), 7], Owner("b")) < 30


def test_a_text_waits_for_its_twin_if_that_is_worth_it() -> None:
    story = Story(FakeMemory(slots=3))
    prompt = counted(0, 60)
    first = story.begin([*prompt, 1], Owner("a"))
    assert first
    twin = story.prefixes.twin([*prompt, 2], Owner("a"))
    assert twin is not None
    assert twin == (first.held, 60)
    assert story.prefixes.twin([*prompt, 2], Owner("b")) is None, "its scope must not profit"
    assert story.prefixes.twin(prompt[: WORTH_WAITING_TOKENS - 1], Owner("a")) is None
    story.compute(first, 30)
    assert story.prefixes.is_awaited(twin)
    assert story.prefixes.twin([*prompt, 2], Owner("a")) is None, "half is there: the rest is soon computed"
    story.compute(first, 30)
    assert not story.prefixes.is_awaited(twin)
    assert reused(story, [*prompt, 2]) == 60


def test_nobody_waits_for_a_text_that_has_gone() -> None:
    story = Story(FakeMemory())
    first = story.begin(counted(0, 60), Owner("a"))
    assert first
    twin = story.prefixes.twin(counted(0, 60), Owner("a"))
    assert twin
    story.compute(first, 20)
    story.end(first)
    assert not story.prefixes.is_awaited(twin)
    assert reused(story, counted(0, 60)) == 20


def test_a_memory_that_cannot_go_back_counts_what_it_refuses() -> None:
    story = Story(FakeMemory(slots=2, shelves=0, drops_ends=False))
    said(story, counted(0, 20))
    assert reused(story, [*counted(0, 15), 99]) == 0
    assert story.prefixes.refused == 1
    assert reused(story, counted(0, 25)) == 20


def test_a_window_that_has_passed_is_refused() -> None:
    story = Story(FakeMemory(window_tokens=12))
    said(story, counted(0, 60))
    assert reused(story, [*counted(0, 50), 99]) == 50
    assert reused(story, [*counted(0, 40), 99]) == 0


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)), st.integers(0, 9))
def test_the_common_beginning(one: list[int], other: list[int], most: int) -> None:
    expected = 0
    while expected < min(most, len(one), len(other)) and one[expected] == other[expected]:
        expected += 1
    assert common(array("i", one), array("i", other), most) == expected


def test_the_least_is_not_worth_other_roundings() -> None:
    story = Story(FakeMemory())
    said(story, counted(0, LEAST_REUSED_TOKENS - 1))
    assert not story.prefixes.kept


def test_a_text_that_must_be_cut_as_before_takes_only_what_was_cut_so() -> None:
    story = Story(FakeMemory())
    text = story.begin(counted(0, 50), A)
    assert text
    for size in (20, 20, 10):
        story.compute(text, size)
    story.end(text)
    for sizes, length in (((20, 10, 10, 10), 20), ((30, 20), 0), ((20, 20, 30), 40), ((20, 20, 10), 50)):
        alike = Cuts([Cut(size, size) for size in sizes])
        held = story.prefixes.begin(counted(0, 90), A, 90, alike)
        assert held.reused == length
        story.prefixes.end(held, None)
