"""The chunks in which a sequence was computed: kept, taken over in part, and found again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vramd_worker.engine import Cut
from vramd_worker.llama.cuts import Cuts

lengths = st.lists(st.integers(1, 5), max_size=12)


def cut(sizes: list[int]) -> Cuts:
    cuts = Cuts()
    for tokens in sizes:
        cuts.add(Cut(tokens, tokens))
    return cuts


def test_chunks_of_one_size_are_kept_as_one() -> None:
    cuts = cut([64, 64, 64, 20, *[1] * 100])
    assert list(cuts) == [Cut(64, 64, 3), Cut(20, 20), Cut(1, 1, 100)]
    assert (cuts.tokens, cuts.chunks) == (312, 104)


def test_a_part_of_a_chunk_remembers_what_was_computed() -> None:
    part = cut([64, 64]).first(100)
    assert list(part) == [Cut(64, 64), Cut(36, 64)]
    part.add(Cut(64, 64))
    assert list(part)[-1] == Cut(64, 64), "a chunk of the same size that is whole is another"
    assert list(part.first(90)) == [Cut(64, 64), Cut(26, 64)]


@given(lengths)
def test_each_chunk_is_found_where_it_begins_and_nowhere_else(sizes: list[int]) -> None:
    cuts, starts = cut(sizes), {sum(sizes[:number]): tokens for number, tokens in enumerate(sizes)}
    for position in range(sum(sizes) + 1):
        if position in starts:
            assert cuts.at(position) == Cut(starts[position], starts[position])
        else:
            with pytest.raises(ValueError, match="no chunk begins"):
                cuts.at(position)


@given(lengths, st.data())
def test_what_is_taken_over_has_been_cut_alike(sizes: list[int], data: st.DataObject) -> None:
    cuts = cut(sizes)
    tokens = data.draw(st.integers(0, cuts.tokens))
    part = cuts.first(tokens)
    assert part.tokens == tokens
    assert list(Cuts(part)) == list(part)
    assert cuts.in_common(part) == part.in_common(cuts) == tokens
    assert list(cut(sizes)) == list(cuts), "the other is as it was"


def test_chunks_of_other_sizes_are_not_cut_alike() -> None:
    assert cut([64, 64]).in_common(cut([64, 32, 32])) == 64
    assert cut([64]).in_common(cut([32, 32])) == 0
    assert cut([64, 64]).first(100).in_common(cut([64, 64, 1]).first(100)) == 100
    one, other = cut([64, 64]).first(100), cut([64, 64]).first(90)
    for cuts in (one, other):
        cuts.add(Cut(20, 20))
    assert one.in_common(other) == 90


@given(lengths, st.integers(0, 60))
def test_the_boundary_is_the_last_that_is_not_behind(sizes: list[int], tokens: int) -> None:
    boundaries = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
    assert cut(sizes).boundary(tokens) == max(one for one in boundaries if one <= tokens)
