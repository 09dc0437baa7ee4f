"""`vramd estimate`: the rules of thumb beside the figure that vramd itself goes by, as one JSON document."""

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click
from vramd_common.json_text import json_text
from vramd_common.load_settings import LoadOptions, Settings

from ..devices.devices import find_devices
from ..devices.host_memory import usable_cores
from ..domain.catalog import ModelFile, Problem
from ..domain.config import Config
from ..domain.device_view import HOST, DeviceKind
from ..domain.quote import Answer, Quote
from ..files.discovery import read_model
from ..quoting.placement import decide
from ..quoting.rough_rules import RoughFigure, nominal_bits, rough_figures
from ..workers.once import quotes_once
from ..workers.planning import UNKNOWN_FACTS

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command("estimate")
@click.option("--params", "billions", type=_POSITIVE, help="Billions of parameters.")
@click.option("--bits", type=_POSITIVE, help="Bits per parameter.")
@click.option("--context", "context_tokens", type=click.IntRange(1), help="Tokens of the context.")
@click.option("--model", "path", type=click.Path(path_type=Path), help="GGUF file.")
def main(billions: float | None, bits: float | None, context_tokens: int | None, path: Path | None) -> None:
    """Prints what the rules say, and how far off they are where a file is at hand.

    Exit code 1 for a file that cannot be read, 2 if parameters or bits are neither given nor in a file.
    """
    file = read_model(path.absolute()) if path else None
    if file and file.problem:
        _fail(1, file.problem.text if str(file.path) in file.problem.text else f"{file.path}: {file.problem.text}")
    parameters = billions * 1e9 if billions else file.parameters if file else 0
    bits = bits or (nominal_bits(file.quantization) if file else None)
    if not parameters or not bits:
        _fail(2, "--params and --bits are needed where no --model tells them")
    figures = rough_figures(parameters, bits)
    exact = _exact(file, context_tokens) if file else None
    true_bytes = exact[1].devices[exact[0].device].total_bytes if exact else None
    document = {
        "parameters": round(parameters),
        "bits": bits,
        "context_tokens": exact[0].context_tokens if exact else context_tokens,
        "rules": [_rule(figure, true_bytes) for figure in figures],
        "exact": _shown(*exact) if exact else None,
    }
    click.echo(json_text(document, indent=2))


def _fail(code: int, text: str) -> NoReturn:
    click.echo(f"vramd: {text}", err=True)
    sys.exit(code)


async def _quote(path: Path, settings: Settings) -> Answer:
    async with quotes_once() as quotes:
        subject = await quotes.tried(await quotes.subject(path), UNKNOWN_FACTS)
        return subject.file.problem or await quotes.quote(subject, settings, UNKNOWN_FACTS)


def _exact(file: ModelFile, context_tokens: int | None) -> tuple[Settings, Quote]:
    """All of it on the first card, as the rules mean it; without a card on the host."""
    cards = [device.id for device in find_devices(Config()) if device.kind not in (DeviceKind.HOST, DeviceKind.VIRTUAL)]
    options = LoadOptions(context_tokens=context_tokens)
    settings = decide(file, options, usable_cores(0), cards[0] if cards else HOST)
    answer = asyncio.run(_quote(Path(file.path), settings))
    if isinstance(answer, Problem):
        _fail(1, f"{file.path}: {answer.text}")
    return settings, answer


def _rule(figure: RoughFigure, true_bytes: int | None) -> dict[str, object]:
    return {**asdict(figure), "error": None if true_bytes is None else figure.error(true_bytes)}


def _shown(settings: Settings, found: Quote) -> dict[str, object]:
    return {
        "device": settings.device,
        "confidence": found.confidence.value,
        "source": found.source.value,
        "total_bytes": found.devices[settings.device].total_bytes,
        "devices": {device: asdict(need) for device, need in found.devices.items()},
        "settings": asdict(settings),
    }
