"""Chooses the best model for a task. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from vramd_common.reasons import Reason

from ..domain.catalog import Model, ModelFile
from ..domain.errors import Refusal, refusal
from ..quoting.closed_form import embeds
from .specialties import (
    DIALOGUE,
    EMBEDDING,
    GENERALIST,
    SPECIALIST_ELSEWHERE,
    TASKS,
    Role,
    Specialties,
    role_of,
    specialties,
    task_of,
)

SUITABLE = SPECIALIST_ELSEWHERE
"""Least suitability with which a loaded model may replace a better one that is not loaded."""

_SUITABILITY, _ROLE, _FIT, _LOADED, _SIZE = 60.0, 5.0, 15.0, 10.0, 1.5
_UNFIT_SHARE = 0.15
"""Factor on the score of a model that cannot be loaded, which puts it below any that can."""
SIZE_PRIORITIES = ((5e9, 10), (10e9, 8), (18e9, 5))
"""Priority below each number of parameters: the bands of 1-3B, 7B and 13B models; 1 above them."""
_BYTES_PER_PARAMETER = 0.606
"""Bytes per parameter in Q4_K_M (4.85 bits), for models that do not state their parameters."""


class Fit(Enum):
    """The prospect of loading a model now."""

    NOW = 1.0
    LIKELY = 0.999
    """It should fit by its file size, but has no quote yet. Counts almost as NOW: the quote comes before any use."""
    AFTER_OTHERS = 0.5
    """It fits once other models are evicted."""
    NOT = 0.0


class Readiness(Enum):
    """The state of a model that decides how soon it answers."""

    LOADED = 1.0
    BUSY = 0.6
    """Loaded, without a free slot."""
    COMING = 0.5
    ABSENT = 0.0


@dataclass(frozen=True)
class Candidate:
    model: Model
    readiness: Readiness = Readiness.ABSENT
    fit: Fit = Fit.LIKELY
    about_fit: str = ""
    """Fit in words."""
    context_tokens: int = 0
    """Context that it has or could have; 0: not known."""
    hindrance: str = ""
    """Reason why it cannot serve at all; empty if it can."""


@dataclass(frozen=True)
class Wish:
    """The task to serve, and the requirements of the caller."""

    task: str
    role: str = ""
    context_tokens: int = 0
    """Least context needed."""
    light_now: bool = False
    """Whether a loaded model is preferred to the best one."""
    vectors: bool = False
    """Whether embeddings are wanted, whatever the task's name."""


@dataclass(frozen=True)
class Considered:
    model: str
    score: float
    why_not: str


@dataclass(frozen=True)
class Choice:
    model: str
    score: float
    loaded: bool
    fits: bool
    reasons: tuple[str, ...]
    """Reasons, the weightiest first."""
    considered: tuple[Considered, ...]
    """Other models, best first."""
    better: str = ""
    """Best model, if it was passed over because it is not loaded; else empty."""


def parameters(model: Model) -> int:
    """Returns a model's number of parameters, estimated from its bytes where it is not stated."""
    if isinstance(model.source, ModelFile):
        return model.source.parameters or int(model.source.size_bytes / _BYTES_PER_PARAMETER)
    return int(sum(model.source.memory.values()) / _BYTES_PER_PARAMETER)


def size_priority(parameters: int) -> int:
    """Returns the priority of a size, from 10 for the smallest to 1 for the largest."""
    return next((priority for most, priority in SIZE_PRIORITIES if parameters < most), 1)


def choose(candidates: Sequence[Candidate], wish: Wish) -> Choice | Refusal:
    """Chooses the best model for a wish; equal scores are ordered by name.

    Suitability weighs most, then fit, then a small size (for a thorough role: a large one), then readiness. With
    `light_now`, the best suitable loaded model is preferred to a better one that would have to be loaded; never for
    embeddings, as vectors of different models cannot be compared.
    """
    guesses = [(candidate, specialties(candidate.model)) for candidate in candidates]
    role = role_of(wish.role)
    task, remarks = _settled(wish, role, {own for _, good_at in guesses for own in good_at.tasks})
    ranked = sorted(
        (_Weighed(candidate, good_at, task, wish, role) for candidate, good_at in guesses),
        key=lambda one: (-one.score, one.name),
    )
    able = [one for one in ranked if not one.hindrance]
    if not able:
        why = "; ".join(f"{one.name}: {one.hindrance}" for one in ranked[:5]) or "vramd knows no model"
        return refusal(Reason.MODEL_NOT_FOUND, f"no model serves {task!r}: {why}", model=f"task:{task}")
    chosen = best = able[0]
    if wish.light_now and not (wish.vectors or task == EMBEDDING) and not _is_there(best):
        ready = (one for one in able if _is_there(one) and one.suits >= SUITABLE)
        chosen = min(ready, key=lambda one: (one.candidate.readiness is Readiness.BUSY, -one.score), default=best)
    if chosen is not best:
        remarks.append(f"it answers at once, while {best.name} would have to be loaded first")
    if chosen.candidate.fit is Fit.NOT:
        remarks.append(f"none that could serve fits; this one: {chosen.candidate.about_fit}")
    return Choice(
        chosen.name,
        chosen.score,
        _is_there(chosen),
        chosen.candidate.fit is not Fit.NOT,
        (*remarks, *chosen.reasons()),
        tuple(Considered(one.name, one.score, one.why_not(chosen)) for one in ranked if one is not chosen),
        best.name if chosen is not best else "",
    )


def _settled(wish: Wish, role: Role | None, known: set[str]) -> tuple[str, list[str]]:
    """Returns the task, and remarks on how it was understood."""
    task, remarks = task_of(wish.task), []
    if task not in known and task not in TASKS.values():
        taken = role.task if role else DIALOGUE
        remarks.append(f"nothing is known of a task {task!r}: it is taken as {taken}")
        task = taken
    if wish.role and role is None:
        remarks.append(f"nothing is known of a role {wish.role!r}: it changes nothing")
    return task, remarks


class _Weighed:
    """A candidate with points and words for each factor."""

    def __init__(self, candidate: Candidate, good_at: Specialties, task: str, wish: Wish, role: Role | None) -> None:
        self.candidate = candidate
        self.name = candidate.model.id
        self.suits = good_at.suits(task)
        self.hindrance = candidate.hindrance or self._unable(good_at, task, wish)
        # Vectors of different models cannot be compared, so the same model must be chosen each time.
        steady = wish.vectors or task == EMBEDDING
        fit = 1.0 if steady and candidate.fit is not Fit.NOT else candidate.fit.value
        ready = 0.0 if steady else candidate.readiness.value
        self.points = {
            "suitability": (_SUITABILITY * self.suits, self._suitability(good_at, task)),
            "role": _role(good_at, task, wish, role),
            "size": _size(parameters(candidate.model), wish, role),
            "fit": (_FIT * fit, candidate.about_fit),
            "readiness": (_LOADED * ready, _READY[candidate.readiness]),
        }
        total = 0.0 if self.hindrance else sum(points for points, _ in self.points.values())
        self.score = round(total * (_UNFIT_SHARE if candidate.fit is Fit.NOT else 1), 1)

    def reasons(self) -> tuple[str, ...]:
        """Lists what favours the candidate, the weightiest first."""
        counted = sorted(self.points.values(), key=lambda one: -one[0])
        return tuple(words for points, words in counted if points and words)

    def why_not(self, chosen: "_Weighed") -> str:
        """Says what the candidate lacks most in comparison with the chosen one."""
        if self.hindrance:
            return self.hindrance
        if self.candidate.fit is Fit.NOT:
            return f"it does not fit: {self.candidate.about_fit}"
        if self.score > chosen.score:
            return "it is better, but would have to be loaded first"
        lacks = {factor: chosen.points[factor][0] - points for factor, (points, _) in self.points.items()}
        factor = max(lacks, key=lambda factor: lacks[factor])
        if lacks[factor] <= 0:
            return f"as good as {chosen.name}, which comes first by name"
        own, other = self.points[factor][1], chosen.points[factor][1]
        return f"{own or f'no {factor}'} ({chosen.name}: {other})"

    def _suitability(self, good_at: Specialties, task: str) -> str:
        if self.suits == 1:
            return f"made for {task}: {good_at.source}"
        if self.suits == GENERALIST:
            return f"a general model, not made for {task}"
        made_for = " and ".join(good_at.tasks)
        return f"made for {made_for}, not for {task}" if made_for else f"goes on with a text, not made for {task}"

    def _unable(self, good_at: Specialties, task: str, wish: Wish) -> str:
        file = self.candidate.model.source
        if (wish.vectors or task == EMBEDDING) and isinstance(file, ModelFile) and not embeds(file.shape):
            return "it gives text, and no embeddings"
        if self.suits == 0 and not wish.vectors:
            return f"it is for {' and '.join(good_at.tasks)} only"
        if 0 < self.candidate.context_tokens < wish.context_tokens:
            return f"its context has {self.candidate.context_tokens} tokens, {wish.context_tokens} are needed"
        return ""


_READY: Mapping[Readiness, str] = {
    Readiness.LOADED: "loaded, with a free place",
    Readiness.BUSY: "loaded, but all its places are taken",
    Readiness.COMING: "being loaded",
    Readiness.ABSENT: "not loaded",
}


def _is_there(one: _Weighed) -> bool:
    """Returns whether the model is loaded with suitable settings."""
    return one.candidate.readiness in (Readiness.LOADED, Readiness.BUSY) and one.candidate.fit is not Fit.NOT


def _role(good_at: Specialties, task: str, wish: Wish, role: Role | None) -> tuple[float, str]:
    if role is None or role.task == task or role.task not in good_at.tasks:
        return 0.0, f"not made for {role.task}" if role and role.task != task else ""
    return _ROLE, f"made for {role.task} too, which the role {wish.role!r} asks for"


def _size(count: int, wish: Wish, role: Role | None) -> tuple[float, str]:
    """Scores the size: a small model is fast and leaves memory free; a thorough role reverses that."""
    priority = size_priority(count)
    words = f"{count / 1e9:.1f}B parameters" if count >= 1e9 else f"{count / 1e6:.1f}M parameters"
    if role and role.thorough:
        return _SIZE * (11 - priority), f"{words}, and the role {wish.role!r} is better off with more"
    return _SIZE * priority, f"{words}, size priority {priority} of 10"
