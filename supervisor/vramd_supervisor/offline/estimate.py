"""`vramd estimate`: the rules of thumb beside vramd's own figure."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vramd_common.load_settings import LoadOptions, Settings

from ..devices.devices import find_devices
from ..devices.host_memory import usable_cores
from ..domain.catalog import ModelFile, Problem
from ..domain.config import Config
from ..domain.device_view import HOST
from ..domain.quote import Answer, DeviceBytes
from ..files.discovery import read_model
from ..quoting.placement import decide
from ..quoting.rough_rules import nominal_bits, rough_figures
from ..workers.planning import UNKNOWN_FACTS
from ..workers.quotes import standalone_quotes


class EstimateError(Exception):
    """No estimate can be made; the text is for the user."""


class UnknownSizeError(EstimateError):
    """Parameters or bits are neither given nor in a file."""


@dataclass(frozen=True)
class Rule:
    rule: str
    """As people say it."""
    least_bytes: int
    most_bytes: int | None
    """None if it is open upwards."""
    error: float | None
    """As a share of the truth; None if that is unknown."""


@dataclass(frozen=True)
class Exact:
    """vramd's own figure for a file."""

    device: str
    """The one that all of the model is on."""
    confidence: str
    source: str
    total_bytes: int
    """On that device."""
    devices: Mapping[str, DeviceBytes]
    settings: Settings


@dataclass(frozen=True)
class Estimate:
    parameters: int
    bits: float
    context_tokens: int | None
    rules: Sequence[Rule]
    exact: Exact | None
    """None without a file."""


def estimate(billions: float | None, bits: float | None, context_tokens: int | None, path: Path | None) -> Estimate:
    """Estimates by parameters, bits per parameter and context; a file supplies what is not given.

    Raises EstimateError.
    """
    file = read_model(path.absolute()) if path else None
    if file and file.problem:
        named = str(file.path) in file.problem.text
        raise EstimateError(file.problem.text if named else f"{file.path}: {file.problem.text}")
    parameters = billions * 1e9 if billions else file.parameters if file else 0
    bits = bits or (nominal_bits(file.quantization) if file else None)
    if not parameters or not bits:
        raise UnknownSizeError("--params and --bits are needed where no --model tells them")
    figures = rough_figures(parameters, bits)
    exact = _exact(file, context_tokens) if file else None
    rules = [
        Rule(one.rule, one.least_bytes, one.most_bytes, one.error(exact.total_bytes) if exact else None)
        for one in figures
    ]
    context_tokens = exact.settings.context_tokens if exact else context_tokens
    return Estimate(round(parameters), bits, context_tokens, rules, exact)


async def _quote(path: Path, settings: Settings) -> Answer:
    async with standalone_quotes() as quotes:
        quoted = await quotes.tried(await quotes.quoted(path), UNKNOWN_FACTS)
        return quoted.file.problem or await quotes.quote(quoted, settings, UNKNOWN_FACTS)


def _exact(file: ModelFile, context_tokens: int | None) -> Exact:
    """Quotes the whole model on the first card, as the rules assume, or on the host if there is no card."""
    cards = [device.id for device in find_devices(Config()) if device.kind.is_card]
    device = cards[0] if cards else HOST
    settings = decide(file, LoadOptions(context_tokens=context_tokens), usable_cores(0), device)
    found = asyncio.run(_quote(Path(file.path), settings))
    if isinstance(found, Problem):
        raise EstimateError(f"{file.path}: {found.text}")
    needs = found.devices
    return Exact(device, found.confidence.value, found.source.value, needs[device].total_bytes, needs, settings)
