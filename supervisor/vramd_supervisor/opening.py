"""The first lines of a supervisor's log, with a warning for each setting that is hardly intended."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from vramd_common.load_settings import AUTO

from .core.ledger import Account
from .domain.catalog import Model, ModelFile
from .domain.config import Config
from .domain.errors import in_words
from .settings.settings_checks import nearest
from .settings.settings_file import stray_variables

MOST_NAMED = 5
Line = tuple[int, str]
"""How loud, and what."""


def lines(
    version: str,
    file: Path | None,
    config: Config,
    environment: Mapping[str, str],
    models: Iterable[Model],
    accounts: Mapping[str, Account],
) -> Iterator[Line]:
    """All of them, once the devices and models are known."""
    known = list(models)
    yield logging.INFO, f"vramd {version}, {f'configuration {file}' if file else 'no configuration file'}"
    yield logging.INFO, _models(config, known)
    limits = (f"{in_words(a.budget_bytes)} of {in_words(a.total_bytes)} on {device}" for device, a in accounts.items())
    yield logging.INFO, f"may be taken: {', '.join(limits)}"
    doubts = (*stray_variables(environment), *_doubts(config, known, accounts))
    yield from ((logging.WARNING, text) for text in doubts)


def _models(config: Config, known: list[Model]) -> str:
    folders = [
        *config.server.models,
        *(["LM Studio's folder"] if config.server.lm_studio else []),
        *(["the Hugging Face cache"] if config.server.hugging_face else []),
    ]
    text = f"{len(known)} model{'' if len(known) == 1 else 's'}, from {', '.join(folders) or 'no folder'}"
    broken = [model.id for model in known if _problem(model)]
    if not broken:
        return text
    named = ", ".join(broken[:MOST_NAMED]) + (", …" if len(broken) > MOST_NAMED else "")
    return f"{text}; {len(broken)} cannot be loaded, `vramd models` says why: {named}"


def _problem(model: Model) -> str:
    return model.source.problem.text if isinstance(model.source, ModelFile) and model.source.problem else ""


def _doubts(config: Config, known: list[Model], accounts: Mapping[str, Account]) -> Iterator[str]:
    for model in known:
        if model.id in config.models and (problem := _problem(model)):
            yield f"models.{model.id}: {problem}"
    there = (AUTO, *accounts)
    for id_, settings in config.models.items():
        if settings.load.device and settings.load.device not in there:
            hint = nearest(settings.load.device, there) or f"; there are {', '.join(accounts)}"
            yield f"models.{id_}.device: there is no {settings.load.device} here{hint}"
    for device, limits in config.devices.items():
        if limits.kind is None and limits.budget and (account := accounts.get(device)):
            yield from _budget(device, limits.budget, account)
    scheduling = config.scheduling
    if 2 * scheduling.stop_s >= scheduling.starvation_bound_s:
        yield (
            f"scheduling.stop_s is {scheduling.stop_s:g}, which is not less than half of starvation_bound_s "
            f"({scheduling.starvation_bound_s:g}): loads may wait for longer than that"
        )


def _budget(device: str, budget_bytes: int, account: Account) -> Iterator[str]:
    if budget_bytes > account.budget_bytes:
        yield (
            f"devices.{device}.budget is {in_words(budget_bytes)}, and {device} has {in_words(account.total_bytes)}: "
            "all of that may be taken, and nothing is left to other programs"
        )
