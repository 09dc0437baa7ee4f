"""The count of cells: as many as a memory takes that marks each cell with its sequences."""

from hypothesis import given
from hypothesis import strategies as st
from vramd_worker.llama.cells import Cells

PLACES = st.integers(0, 4)
DEEDS = st.lists(st.tuples(st.sampled_from(("extend", "copy", "shorten", "drop")), PLACES, PLACES, st.integers(0, 9)))


@given(DEEDS)
def test_it_counts_as_a_memory_that_lists_all_cells(deeds: list[tuple[str, int, int, int]]) -> None:
    cells, held, made = Cells(), dict[int, list[int]](), 0
    for deed, place, other, number in deeds:
        has = held.get(place)
        if deed == "extend":
            held.setdefault(place, []).extend(range(made, made + number))
            made += number
            cells.extend(place, number)
        elif deed == "drop":
            held.pop(place, None)
            cells.drop(place)
        elif has is None:
            continue
        elif deed == "copy" and other not in held:
            held[other] = has[:number]
            cells.copy(place, other, min(number, len(has)))
        elif deed == "shorten":
            del has[number:]
            cells.shorten(place, number)
        assert cells.taken == len(set().union(*held.values()))
        assert {place: cells.tokens(place) for place in held} == {place: len(has) for place, has in held.items()}
        for some in ([place], [place, other], [0, 1, 2]):
            assert cells.of(some) == len(set[int]().union(*(held.get(one, []) for one in some)))
        for one, has in held.items():
            others = set[int]().union(*(theirs for another, theirs in held.items() if another != one))
            assert cells.own(one) == len(set(has) - others)
        assert all((place in cells) == (place in held) for place in range(5))
