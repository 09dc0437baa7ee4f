"""Encodes the timeline of an answered call as compact JSON in the trailing metadata. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

KEY = "vramd-timeline"
"""Trailing metadata key of every answered inference call; the value is printable ASCII."""

PHASES = ("queued_s", "drained_s", "spawned_s", "loaded_s", "prompt_s", "decode_s")
"""Phases in order. A timeline omits those that its call did not go through."""

EXACT, APPROXIMATE = "exact", "approximate"
"""How an answer went on: computed again as it was, or with other rounding, so that it may go on differently."""

_DIGITS = 6
"""Decimal places: a step of a fast model takes some microseconds."""


@dataclass(frozen=True)
class Told:
    """Decoded value of `KEY`."""

    model: str
    worker_id: int
    seconds: Mapping[str, float]
    """Seconds by phase."""
    resumes: int = 0
    """Number of processes that the answer has lost and went on from."""
    resume: str = ""
    """EXACT or APPROXIMATE if it did."""
    cached_prompt_tokens: int = 0
    """Tokens of the prompt that were in the model's cache: `prompt_s` is the time of the others."""


def pack(told: Told) -> str:
    """Encodes the value of `KEY`. Phases that `PHASES` does not name are dropped."""
    seconds = {phase: round(told.seconds[phase], _DIGITS) for phase in PHASES if phase in told.seconds}
    values: dict[str, object] = {**seconds, "model": told.model, "worker_id": told.worker_id}
    if told.resumes:
        values |= {"resumes": told.resumes, "resume": told.resume}
    if told.cached_prompt_tokens:
        values["cached_prompt_tokens"] = told.cached_prompt_tokens
    line = json.dumps(values, separators=(",", ":"))
    return line.replace("\x7f", "\\u007f")  # the one character that JSON allows and metadata does not


def unpack(value: str) -> Told | None:
    """Decodes the value of `KEY`; None if it is invalid. Phases that only another version knows are dropped."""
    try:
        raw = json.loads(value)
        seconds = {phase: float(raw[phase]) for phase in PHASES if phase in raw}
        resumes, resume = int(raw.get("resumes", 0)), str(raw.get("resume", ""))
        cached = int(raw.get("cached_prompt_tokens", 0))
        return Told(str(raw["model"]), int(raw["worker_id"]), seconds, resumes, resume, cached)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
