"""Finds settings with which several models fit together. Pure; a generator like a placement."""

from collections.abc import Generator, Mapping, Sequence
from typing import TypeAlias

from vramd_common.load_settings import LoadOptions

from ..domain.catalog import Model
from ..domain.errors import Refusal
from ..domain.quote import Plan
from .degradation import LEAST_CONTEXT_TOKENS, fits
from .placement import LoadPlans

Wanted: TypeAlias = tuple[Model, LoadOptions, Mapping[str, int]]
"""Question for the ways to load a model: the model, options, and the bytes that it could have on each device."""


def together(
    models: Sequence[Model], available: Mapping[str, int]
) -> Generator[Wanted, "LoadPlans | Refusal", tuple[Plan, ...]]:
    """Returns one plan for each model, in order; none if they do not fit together.

    Each device is divided in proportion to the bytes that the models need there with their usual settings.
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
