"""What would happen if a load came now. Pure; changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from typing_extensions import assert_never
from vramd_common.reasons import Reason

from ..domain.catalog import Simulation
from ..domain.causes import Awaited
from ..domain.errors import Refusal, in_words
from ..domain.quote import Plan
from ..quoting.placement import Ways, differences
from .admission import find_now
from .room import Begin, Evict, Wait, Wish
from .state import Entry, ModelState
from .world import World


@dataclass(frozen=True)
class Victim:
    """A process that would have to go."""

    model: str
    """Empty for the spare."""
    incarnation: int
    gives_back: Mapping[str, int]
    """Bytes per device."""


class Verdict(Enum):
    """What a load would come to now."""

    BEGINS = auto()
    """It would begin at once."""
    EVICTS = auto()
    """It would begin once the victims have gone."""
    WAITS = auto()
    """It would wait."""
    NO_ROOM = auto()
    """It would be refused: what may not go for it holds too much."""
    TOO_LARGE = auto()
    """It would be refused, whoever went for it."""
    LOADED = auto()
    """It is loaded like this."""
    LOADED_DIFFERENTLY = auto()
    """It is loaded with other settings."""


@dataclass(frozen=True)
class Foresight:
    """The end of a load that was not begun."""

    plan: Plan
    verdict: Verdict
    fits: bool
    """It could be loaded now, after the victims have gone."""
    victims: tuple[Victim, ...]
    """In the order in which they would go."""
    message: str
    """What would be waited for, or why it does not fit."""
    expected_load_s: float | None
    nearest: tuple[Plan, ...]
    """What would fit instead."""
    awaited: Awaited | None = None
    """What it would wait for."""


def foresee(world: World, entry: Entry, ways: Ways) -> Foresight:
    """Asks the rules that a load would be put to. A model that is loaded already counts as one of the victims."""
    wish = Wish(entry.model.id, [plan.quote.needs for plan in ways.plans])
    decision = find_now(world, wish, anew=entry)
    victims: tuple[Victim, ...] = ()
    awaited: Awaited | None = None
    match decision:
        case Begin(way):
            verdict, plan, fits, message = Verdict.BEGINS, ways.plans[way], True, ""
        case Evict(incarnations, missing, way):
            verdict, plan, fits = Verdict.EVICTS, ways.plans[way], True
            message = ", ".join(f"{in_words(size)} are missing on {device}" for device, size in missing.items())
            victims = tuple(_victim(world, incarnation) for incarnation in incarnations)
        case Wait(_, awaited, message, way):
            verdict, plan, fits = Verdict.WAITS, ways.plans[way], True
        case Refusal():
            large = decision.reason is Reason.MODEL_TOO_LARGE
            verdict, plan, fits = Verdict.TOO_LARGE if large else Verdict.NO_ROOM, ways.plans[0], False
            message = decision.message
        case _:
            assert_never(decision)
    if entry.state is ModelState.READY and entry.current and entry.current.plan:
        differs = differences(entry.model, entry.current.plan.settings, plan.settings.again(0.0))
        verdict = Verdict.LOADED_DIFFERENTLY
        message = f"it is loaded with other settings: {differs}; `vramd load --reload` gives it these"
        if not differs:
            verdict, fits, message = Verdict.LOADED, True, "it is loaded like this: a load answers at once"
    nearest = () if fits else ways.nearest
    load_s = _expected_load_s(world, entry, plan)
    return Foresight(plan, verdict, fits, victims, message, load_s, nearest, awaited)


def _victim(world: World, incarnation: int) -> Victim:
    owner = world.owners.get(incarnation)
    return Victim(owner.model.id if owner else "", incarnation, dict(world.ledger.rows[incarnation]))


def _expected_load_s(world: World, entry: Entry, plan: Plan) -> float | None:
    """As long as the last time, else at the pace of the last load of another file; None before the first."""
    if isinstance(entry.model.source, Simulation):
        return entry.model.source.load_s
    if entry.load_s is not None:
        return entry.load_s
    weights_bytes = sum(need.weights_bytes for need in plan.quote.devices.values())
    return weights_bytes / world.load_bytes_per_s if world.load_bytes_per_s else None
