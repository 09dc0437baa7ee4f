"""Who is served next."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from vramd_supervisor.core.queues import PriorityQueue
from vramd_supervisor.domain.config import Priority


@dataclass(frozen=True)
class One:
    order: int
    priority: Priority
    since_s: float


def line(*ones: One, age_s: float = 10.0) -> PriorityQueue[One]:
    made: PriorityQueue[One] = PriorityQueue(age_s)
    for one in ones:
        made.add(one)
    return made


def order(made: PriorityQueue[One]) -> list[int]:
    return [one.order for one in made]


def test_by_priority_and_within_one_by_arrival() -> None:
    ones = [One(1, Priority.BATCH, 0), One(2, Priority.NORMAL, 1), One(3, Priority.INTERACTIVE, 2)]
    assert order(line(*ones, One(4, Priority.INTERACTIVE, 3))) == [3, 4, 2, 1]


def test_who_has_waited_long_enough_is_as_urgent_as_the_next_priority() -> None:
    assert order(line(One(1, Priority.NORMAL, 0), One(2, Priority.INTERACTIVE, 9))) == [2, 1]
    assert order(line(One(1, Priority.NORMAL, 0), One(2, Priority.INTERACTIVE, 11))) == [1, 2]
    assert order(line(One(1, Priority.BATCH, 0), One(2, Priority.INTERACTIVE, 21))) == [1, 2]


def test_one_may_stand_ahead_of_all() -> None:
    made = line(One(1, Priority.INTERACTIVE, 0))
    made.add_ahead(One(2, Priority.BATCH, 5))
    assert order(made) == [2, 1]
    assert made.first().order == 2
    assert len(made) == 2


def test_who_leaves_is_no_longer_there() -> None:
    made = line(One(1, Priority.NORMAL, 0), One(2, Priority.NORMAL, 1))
    removed = made.remove(1)
    assert removed is not None
    assert removed.order == 1
    assert made.remove(1) is None
    assert (order(made), 1 in made, 2 in made, len(made)) == ([2], False, True, 1)
    made.remove(2)
    assert not made


@given(st.lists(st.tuples(st.sampled_from(Priority), st.floats(0, 100)), max_size=30))
def test_nobody_is_overtaken_by_who_came_later_and_is_no_more_urgent(waiting: list[tuple[Priority, float]]) -> None:
    waiting = sorted(waiting, key=lambda one: one[1])
    ones = [One(number, priority, since_s) for number, (priority, since_s) in enumerate(waiting)]
    served = list(line(*ones))
    assert sorted(one.order for one in served) == list(range(len(ones)))
    for place, one in enumerate(served):
        assert all(later.priority > one.priority or later.since_s >= one.since_s for later in served[place:])
        # Nobody with a head start of the ageing time for each priority is overtaken by a more urgent one.
        assert all(
            one.since_s - later.since_s <= 10 * (later.priority - one.priority) + 1e-9 for later in served[place:]
        )
