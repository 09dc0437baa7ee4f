"""Which model serves a task: frozen values, as those of `vramd.values`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Considered:
    """A model that came into question, and was not chosen.

    >>> client.select("code_generation").considered[0]
    Considered(model='talker', score=61.0, why_not='a general model, not made for code')
    """

    model: str
    score: float
    """The higher the better; comparable within one answer only."""
    why_not: str


@dataclass(frozen=True)
class Selection:
    """The model for a task, and why.

    >>> selection = client.select("code_generation", role="architect")
    >>> selection.model, selection.loaded, selection.reasons[0]
    ('coder', False, 'made for code: its name says so')
    """

    model: str
    score: float
    """The higher the better; comparable within one answer only."""
    loaded: bool
    """It answers at once."""
    fits: bool
    """It could be loaded now, after victims have gone."""
    reasons: tuple[str, ...]
    """What spoke for it, the weightiest first."""
    considered: tuple[Considered, ...]
    """The others, best first."""
