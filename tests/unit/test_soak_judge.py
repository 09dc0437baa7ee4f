"""The judge of a soak finds what no fault explains."""

import math

import pytest
from support.soak.faults import CRASHED, Window
from support.soak.judge import judge, unfed
from support.soak.requests import Request

BEGAN_S, ENDED_S = 100.0, 110.0


def request(end: str | None, model: str = "a", began_s: float = 104, ended_s: float = 106, client: int = 1) -> Request:
    ended = ended_s if end else None
    return Request(client, "stream", model, frozenset({"OK", "CANCELLED"}), began_s, ended_s=ended, end=end)


def window(fault: str = "SIGKILL", ended_s: float = ENDED_S) -> Window:
    return Window(fault, BEGAN_S, frozenset({"a"}), frozenset({7}), CRASHED, ended_s)


def sorts(*requests: Request, windows: tuple[Window, ...] = (window(),)) -> tuple[int, int, int]:
    verdict = judge(requests, windows, killed_clients={9})
    assert sum(verdict.ends.values()) == len(requests)
    return len(verdict.unaccounted), len(verdict.unexpected), len(verdict.untouched)


FINE, UNACCOUNTED, UNEXPECTED, UNTOUCHED = (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)


@pytest.mark.parametrize(
    ("one", "sort"),
    [
        (request("OK"), FINE),
        (request("CANCELLED", model="b"), FINE),
        (request("WORKER_CRASHED"), FINE),
        (request("WORKER_CRASHED", began_s=50, ended_s=101), FINE),
        (request("WORKER_CRASHED", began_s=50, ended_s=90), UNTOUCHED),
        (request("WORKER_CRASHED", began_s=120, ended_s=121), UNTOUCHED),
        (request("WORKER_CRASHED", model="b"), UNTOUCHED),
        (request("WORKER_CRASHED", model="b", client=7), FINE),
        (request("INTERNAL"), UNEXPECTED),
        (request("WRONG_TEXT"), UNEXPECTED),
        (request("WRONG_TEXT", model="b"), UNTOUCHED),
        (request(None), UNACCOUNTED),
        (request(None, client=9), FINE),
    ],
)
def test_a_request_is_of_its_sort(one: Request, sort: tuple[int, int, int]) -> None:
    assert sorts(one) == sort


def test_a_fault_that_is_not_over_explains_what_comes() -> None:
    late = request("WORKER_CRASHED", began_s=900, ended_s=901)
    assert sorts(late, windows=(window(ended_s=math.inf),)) == FINE
    assert sorts(late) == UNTOUCHED


def test_an_unload_by_another_client_explains_its_own_reason_only() -> None:
    unload = Request(2, "unload", "a", frozenset({"OK"}), 104.5, unloads=True, ended_s=105, end="OK")
    assert sorts(unload, request("MODEL_UNLOADED"), windows=()) == FINE
    assert sorts(unload, request("WORKER_CRASHED"), windows=()) == UNTOUCHED
    assert sorts(unload, request("MODEL_UNLOADED", model="b"), windows=()) == UNTOUCHED


def test_a_fault_without_traffic_shows_nothing() -> None:
    before, behind = request("OK", ended_s=99), request("OK", ended_s=101)
    assert unfed([window()], [before, behind], 5) == []
    for too_few in ([before], [behind], [before, request("WORKER_CRASHED", ended_s=101)]):
        assert len(unfed([window()], too_few, 5)) == 1
