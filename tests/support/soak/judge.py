"""Judges the requests of a soak: which ended as they may, which a fault explains, and which nothing does. Pure."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from support.soak.faults import Window
from support.soak.requests import OK, Request

UNLOADED = "MODEL_UNLOADED"
CLIENT_KILLED = "its client was killed"
SETTLES_S = 1.0
"""A fault may show itself to requests that end so long before it, by the clocks, or begin so long after it."""


@dataclass
class Verdict:
    """All requests of a soak."""

    ends: "Counter[tuple[str, str]]" = field(default_factory=Counter)
    """By kind and end."""
    unaccounted: list[Request] = field(default_factory=list)
    """They began and never ended, though their client lived."""
    unexpected: list[Request] = field(default_factory=list)
    """They failed as the fault that hit them does not explain."""
    untouched: list[Request] = field(default_factory=list)
    """They failed, and no fault had hit their model or client."""


def judge(requests: Sequence[Request], windows: Sequence[Window], killed_clients: Collection[int]) -> Verdict:
    verdict = Verdict()
    unloads = [request for request in requests if request.unloads]
    for request in requests:
        if request.end is None:
            killed = request.client in killed_clients
            verdict.ends[request.kind, CLIENT_KILLED if killed else "unaccounted"] += 1
            if not killed:
                verdict.unaccounted.append(request)
            continue
        verdict.ends[request.kind, request.end] += 1
        if request.end in request.may:
            continue
        if request.end == UNLOADED and any(_hits(request, unload) for unload in unloads):
            continue
        hits = [window for window in windows if _is_hit(request, window)]
        if not hits:
            verdict.untouched.append(request)
        elif not any(request.end in window.allows for window in hits):
            verdict.unexpected.append(request)
    return verdict


def _is_hit(request: Request, window: Window) -> bool:
    aimed = request.model in window.models or request.client in window.clients
    return aimed and request.overlaps(window.began_s - SETTLES_S, window.ended_s + SETTLES_S)


def _hits(request: Request, unload: Request) -> bool:
    ended_s = unload.ended_s if unload.ended_s is not None else float("inf")
    return request.model == unload.model and request.overlaps(unload.began_s - SETTLES_S, ended_s + SETTLES_S)


def unfed(windows: Sequence[Window], requests: Sequence[Request], within_s: float) -> list[Window]:
    """The windows before or behind which no request of a client was answered: a soak without traffic shows nothing."""
    answered = sorted(one.ended_s for one in requests if one.client and one.end == OK and one.ended_s is not None)
    return [
        window
        for window in windows
        if not any(window.began_s - within_s <= moment < window.began_s for moment in answered)
        or not any(window.began_s < moment <= window.began_s + within_s for moment in answered)
    ]
