"""Settings under which models would fit beside each other. Pure; a generator, as a placement is."""

from collections.abc import Generator, Mapping, Sequence
from typing import TypeAlias

from vramd_common.load_settings import LoadOptions

from ..domain.catalog import Model
from ..domain.errors import Refusal
from ..domain.quote import Plan
from .degradation import LEAST_CONTEXT_TOKENS, fits
from .placement import Ways

Wanted: TypeAlias = tuple[Model, LoadOptions, Mapping[str, int]]
"""The ways to load a model under options, with the bytes of each device that it could have."""


def together(
    models: Sequence[Model], available: Mapping[str, int]
) -> Generator[Wanted, "Ways | Refusal", tuple[Plan, ...]]:
    """One plan for each model, in their order; none if they would not fit together.

    Each gets the part of every device that its usual settings would take of what those of all would.
    """
    needs = []
    for model in models:
        usual = yield model, LoadOptions(), available
        if isinstance(usual, Refusal):
            return ()
        needs.append(usual.plans[0].quote.needs)
    smaller = LoadOptions(degrade=True, least_context_tokens=LEAST_CONTEXT_TOKENS)
    found = []
    for model, need in zip(models, needs, strict=True):
        part = {
            device: size * need.get(device, 0) // max(1, sum(one.get(device, 0) for one in needs))
            for device, size in available.items()
        }
        ways = yield model, smaller, part
        if isinstance(ways, Refusal) or not fits(ways.plans[0].quote, part):
            return ()
        found.append(ways.plans[0])
    return tuple(found)
