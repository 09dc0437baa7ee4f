"""Forecasts the outcome of a load if it were requested now. Pure; changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from typing_extensions import assert_never
from vramd_common.reasons import Reason

from ..domain.catalog import Simulation
from ..domain.causes import Awaited
from ..domain.errors import Refusal, in_words
from ..domain.quote import Plan
from ..quoting.placement import LoadPlans, differences, with_other_settings
from .core_state import CoreState
from .room import Begin, Claim, Evict, Wait, decide_admission
from .state import ModelRuntime, ModelState


@dataclass(frozen=True)
class Victim:
    """A process that would be evicted."""

    model: str
    """Empty for the spare."""
    worker_id: int
    gives_back: Mapping[str, int]
    """Bytes per device."""


class Verdict(Enum):
    """Outcome of a load if it came now."""

    BEGINS = auto()
    EVICTS = auto()
    """It would begin once the victims have gone."""
    WAITS = auto()
    NO_ROOM = auto()
    """It would be refused: protected models hold too much."""
    TOO_LARGE = auto()
    """It would be refused, whatever were evicted."""
    LOADED = auto()
    LOADED_DIFFERENTLY = auto()


@dataclass(frozen=True)
class LoadForecast:
    plan: Plan
    verdict: Verdict
    fits: bool
    """It could be loaded now, once the victims are gone."""
    victims: tuple[Victim, ...]
    """In the order in which they would be evicted."""
    message: str
    """Reason for waiting, or why it does not fit."""
    expected_load_s: float | None
    alternatives: tuple[Plan, ...]
    """Settings that would fit instead."""
    awaited: Awaited | None = None


def plan_load(state: CoreState, model: ModelRuntime, ways: LoadPlans) -> LoadForecast:
    """Applies the rules of a load. The process of a model that is loaded already counts as one of the victims."""
    claim = Claim(model.id, [plan.quote.needs for plan in ways.plans])
    decision = decide_admission(state, claim, replaced=model)
    victims: tuple[Victim, ...] = ()
    awaited: Awaited | None = None
    match decision:
        case Begin(way=way):
            verdict, plan, fits, message = Verdict.BEGINS, ways.plans[way], True, ""
        case Evict(worker_ids=worker_ids, missing_bytes=missing, way=way):
            verdict, plan, fits = Verdict.EVICTS, ways.plans[way], True
            message = ", ".join(f"{in_words(size)} are missing on {device}" for device, size in missing.items())
            victims = tuple(_victim(state, worker_id) for worker_id in worker_ids)
        case Wait(awaited=awaited, message=message, way=way):
            verdict, plan, fits = Verdict.WAITS, ways.plans[way], True
        case Refusal():
            large = decision.reason is Reason.MODEL_TOO_LARGE
            verdict, plan, fits = Verdict.TOO_LARGE if large else Verdict.NO_ROOM, ways.plans[0], False
            message = decision.message
        case _:
            assert_never(decision)
    if model.state is ModelState.READY and model.current and model.current.plan:
        differs = differences(model.spec, model.current.plan.settings, plan.settings.again(0.0))
        verdict = Verdict.LOADED_DIFFERENTLY
        message = f"{with_other_settings('it', differs)}; `vramd load --reload` gives it these"
        if not differs:
            verdict, fits, message = Verdict.LOADED, True, "it is loaded like this: a load answers at once"
    alternatives = () if fits else ways.alternatives
    load_s = _expected_load_s(state, model, plan)
    return LoadForecast(plan, verdict, fits, victims, message, load_s, alternatives, awaited)


def _victim(state: CoreState, worker_id: int) -> Victim:
    owner = state.workers[worker_id].owner
    return Victim(owner.id if owner else "", worker_id, dict(state.ledger.rows[worker_id]))


def _expected_load_s(state: CoreState, model: ModelRuntime, plan: Plan) -> float | None:
    """As long as its last load, else at the pace of the last load of another file; None before the first."""
    if isinstance(model.spec.source, Simulation):
        return model.spec.source.load_s
    if model.load_s is not None:
        return model.load_s
    weights_bytes = sum(need.weights_bytes for need in plan.quote.devices.values())
    return weights_bytes / state.load_bytes_per_s if state.load_bytes_per_s else None
