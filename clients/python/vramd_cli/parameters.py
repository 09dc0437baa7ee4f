"""Parameter types that several commands share, and options grouped under headings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem
from vramd import VramdError
from vramd_common.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vramd_supervisor.domain.config import Size

Command = Callable[..., None]

STAYS_S = -1.0
"""Means for ever, to the supervisor."""

_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_PARTS = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|min|m|h|d)", re.ASCII)
_PLAIN = re.compile(r"\d{1,9}(?:\.\d{1,3})?", re.ASCII)


class Duration(click.ParamType):  # type: ignore[type-arg]  # older versions of click take no argument
    """A duration in seconds: 90, 90s, 10m, 1h30m, 1.5h, 2d."""

    name = "time"

    def __init__(self, stays: bool = False) -> None:
        """`stays` allows -1 and forever."""
        self._stays = stays

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Called by click, with the text or with a default that is a number already."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip()
        if self._stays and text in ("-1", "-1.0", "forever"):
            return STAYS_S
        if _PLAIN.fullmatch(text):
            return float(text)
        parts = _PARTS.findall(text)
        if not parts or "".join(map("".join, parts)) != text:
            examples = "90s, 10m, 2h, 0, forever" if self._stays else "90s, 10m, 2h"
            self.fail(f"{value!r} is no duration; for example {examples}", param, ctx)
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


class Parsed(click.ParamType):  # type: ignore[type-arg]
    """A value that a function parses; the text of its ValueError is the error message."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:
        try:
            return self._parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _card_size(text: str) -> int:
    size_bytes = parse_size(text)
    if not size_bytes:
        raise ValueError("a card has more than 0 bytes")
    return size_bytes


def _device_size(text: str) -> tuple[str, Size]:
    from vramd_supervisor.domain.sizes import parse_budget

    return parse_budget(text)


CARD_SIZE = Parsed("size", _card_size)
DEVICE_SIZE = Parsed("device=size", _device_size)


class ModelId(click.ParamType):  # type: ignore[type-arg]
    """The id of a model, or a task; shells complete the ids that the supervisor knows."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002  click's signature
        """Completes ids; none if no supervisor answers at once."""
        from vramd import Client

        try:
            with Client(ctx.params.get("runtime_dir"), address=ctx.params.get("address")) as client:
                found: Sequence[str] = [model.id for model in client.models(timeout_s=2)]
        except VramdError:
            return []
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]


class Headed(click.Option):
    """An option with a heading in the help."""

    def __init__(self, *names: Any, heading: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.heading = heading

    @classmethod
    def add(cls, *names: str, heading: str, **settings: Any) -> Callable[[Command], Command]:
        return click.option(*names, cls=cls, heading=heading, **settings)


class HeadedCommand(click.Command):
    """A command whose help groups the options by heading, those without one first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            # Newer versions of click have a record of arguments too; the usage names those.
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
