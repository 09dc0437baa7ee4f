"""How the timeline of an answered call travels: compact JSON in the trailing metadata. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

KEY = "vramd-timeline"
"""Trailing metadata of every inference call that was answered; the value is printable ASCII."""

PHASES = ("queued_s", "drained_s", "spawned_s", "loaded_s", "prompt_s", "decode_s")
"""In the order in which they come. Left out are those that a call did not go through."""

_DIGITS = 6
"""Of the fraction: a step of a fast model takes some microseconds."""


@dataclass(frozen=True)
class Told:
    """What the value of `KEY` says."""

    model: str
    incarnation: int
    seconds: Mapping[str, float]
    """By phase."""


def pack(told: Told) -> str:
    """The value of `KEY`. Phases that the table does not name are left out."""
    seconds = {phase: round(told.seconds[phase], _DIGITS) for phase in PHASES if phase in told.seconds}
    line = json.dumps({**seconds, "model": told.model, "incarnation": told.incarnation}, separators=(",", ":"))
    return line.replace("\x7f", "\\u007f")  # the one that JSON lets pass and metadata does not


def unpack(value: str) -> Told | None:
    """None if it is not in our words; phases that only another version knows are left out."""
    try:
        raw = json.loads(value)
        seconds = {phase: float(raw[phase]) for phase in PHASES if phase in raw}
        return Told(str(raw["model"]), int(raw["incarnation"]), seconds)
    except (ValueError, KeyError, TypeError):
        return None
