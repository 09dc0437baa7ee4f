"""Chat templates: programs in Jinja that come with a model's file, rendered as Hugging Face's tools render them."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from vramd_worker.engine import Message

if TYPE_CHECKING:
    from _typeshed import TraceFunction


class TemplateTooSlowError(Exception):
    """A template took longer than it may."""


class ChatTemplate:
    """The template of one model. Compiling and rendering may raise whatever a program can."""

    def __init__(self, source: str, bos: str, eos: str, limit_s: float) -> None:
        self._names = {"bos_token": bos, "eos_token": eos}
        self._limit_s = limit_s
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
        )
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        environment.filters["tojson"] = _tojson
        with _time_limit(limit_s):
            self._template = environment.from_string(source)

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as a prompt that ends where the answer begins. Ended after the limit."""
        with _time_limit(self._limit_s):
            return self._template.render(
                messages=[{"role": message.role, "content": message.text} for message in messages],
                add_generation_prompt=True,
                tools=None,
                documents=None,
                **self._names,
            )


class _Generation(Extension):
    """`{% generation %}` marks the model's own words for training; here they are rendered like the rest."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> Node | list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


@contextmanager
def _time_limit(limit_s: float) -> Iterator[None]:
    """Raises TemplateTooSlowError in this thread when Python code within takes longer.

    Each line that runs is looked at, so that loops in loops end too. One long call into C is not seen.
    """
    ends_s = time.monotonic() + limit_s

    def watch(_frame: FrameType, _event: str, _argument: object) -> "TraceFunction":
        if time.monotonic() > ends_s:
            raise TemplateTooSlowError(f"it took more than {limit_s:g} s")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)
