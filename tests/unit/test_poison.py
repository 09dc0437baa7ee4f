"""A request under which two processes died is refused, and others are not."""

import pytest
from support.core_scenes import Memory, refused, state, three
from vramd_common.reasons import Reason
from vramd_supervisor.core.actions import Refuse
from vramd_supervisor.core.events import ModelReset
from vramd_supervisor.core.state import ModelState
from vramd_supervisor.core.suspects import REMEMBERED_S, Suspects
from vramd_supervisor.domain.receipt import Exit


def world() -> Memory:
    return Memory(three())


def kill(told: Memory, how: Exit = Exit.CRASHED) -> None:
    told.crash(*told.alive, how=how)
    told.wait(2.0)


def test_marks_are_forgotten() -> None:
    suspects = Suspects()
    assert not suspects.mark("p", "a", 0.0)
    assert suspects.is_marked("p", REMEMBERED_S - 1)
    assert not suspects.mark("p", "a", REMEMBERED_S), "the first one is forgotten"
    assert suspects.mark("p", "a", REMEMBERED_S + 1)
    assert suspects.left_s("p", REMEMBERED_S + 1) == REMEMBERED_S
    assert suspects.left_s("q", 0.0) == 0.0
    suspects.forget("a")
    assert not suspects.is_marked("p", REMEMBERED_S + 1)


def test_a_request_under_which_two_processes_died_is_refused_and_the_model_serves_others() -> None:
    told = world()
    told.request("a", fingerprint="poison")
    told.wait(1.0)
    kill(told)
    assert refused(told.brought) == [], "it runs again, unseen"
    waits = told.request("a", fingerprint="poison")
    told.crash(*told.alive)
    assert refused(told.actions) == [Reason.REQUEST_QUARANTINED] * 2, "the one that ran and the one that waited"
    assert waits not in told.open_requests
    told.request("a", fingerprint="poison")
    assert refused(told.actions) == [Reason.REQUEST_QUARANTINED]
    (why,) = [action.refusal for action in told.actions if isinstance(action, Refuse)]
    assert why.metadata == {"model": "a", "untilS": "600"}
    other = told.request("a", fingerprint="harmless")
    told.wait(1.0)
    assert other in told.granted
    model = told.core.model("a")
    assert model
    assert model.deaths
    assert model.deaths.strikes == 1, "the second death counts against the request"
    told.tell(ModelReset(told.now_s, "a"))
    told.request("a", fingerprint="poison")
    assert refused(told.actions) == []


def test_who_ran_beside_it_is_not_refused() -> None:
    told = world()
    guilty, innocent = told.request("a", fingerprint="poison"), told.request("a", fingerprint="harmless")
    told.wait(1.0)
    told.crash(*told.alive)
    told.wait(2.0)
    assert list(told.granted) == [guilty], "one after the other, so that one alone is to blame"
    told.crash(*told.alive)
    assert refused(told.actions) == [Reason.REQUEST_QUARANTINED]
    told.wait(2.0)
    assert list(told.granted) == [innocent]


@pytest.mark.parametrize("goes_on", ["stream", "cancel"])
def test_others_begin_once_a_suspect_has_had_something_or_has_left(goes_on: str) -> None:
    told = world()
    suspect, other = told.request("a", fingerprint="suspect"), told.request("a", fingerprint="other")
    told.wait(1.0)
    told.crash(*told.alive)
    told.wait(2.0)
    assert list(told.granted) == [suspect]
    told.caller(suspect, goes_on)
    assert other in told.granted


@pytest.mark.parametrize("how", [Exit.KILLED, Exit.DRIVER_LOST, Exit.FORCED])
def test_what_no_request_can_have_caused_marks_none(how: Exit) -> None:
    told = world()
    told.request("a", fingerprint="p")
    told.wait(1.0)
    kill(told, how)
    kill(told, how)
    assert not told.core.state.suspects.is_marked("p", told.now_s)


def test_a_process_that_hangs_marks_what_ran_on_it() -> None:
    told = world()
    for _ in range(2):
        told.request("a", fingerprint="p") if not told.granted else None
        told.wait(2.0)
        told.stall(*told.granted.values())
        told.wait(2.0)
    assert Reason.REQUEST_QUARANTINED in refused(told.brought)
    assert state(told, "a") is not ModelState.QUARANTINED
