"""Chat templates: Jinja programs of model files, rendered as Hugging Face's tools do."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser

from vramd_worker.engine import Message
from vramd_worker.llama.template_limits import MOST_CHARACTERS, LimitedEnvironment, TooMuchWorkError, Work
from vramd_worker.llama.template_marks import Marks, unescaped
from vramd_worker.llama.tokenizing import Segment
from vramd_worker.text import is_part_of_answer

MOST_SOURCE_CHARACTERS = 128 * 1024

_LIKE_A_CONTROL = re.compile("<\\|.*\\|>|<\uff5c.*\uff5c>")
"""Names of control tokens that llama.cpp, for some models, turns into tokens that it reads in every text."""

Content = str | list[dict[str, str]]
_TALKS = (("system", "user", "assistant", "user"), ("user", "assistant", "user"), ("system", "user"), ("user",))
"""Roles of trial conversations, of which a template takes at least one."""


class UnusableTemplateError(Exception):
    """Raised for a template that cannot render a conversation."""


class ChatTemplate:
    """The chat template of one model. Compiling and rendering may raise any exception."""

    def __init__(self, source: str, controls: Collection[str], defined: Iterable[str], bos: str, eos: str) -> None:
        """`controls` names all control tokens; `defined` names tokens that are read in every text."""
        if len(source) > MOST_SOURCE_CHARACTERS:
            raise UnusableTemplateError(f"it has {len(source)} characters, at most {MOST_SOURCE_CHARACTERS} are taken")
        own = [name for name in defined if name in source or _LIKE_A_CONTROL.fullmatch(name)]
        self._marks = Marks((*controls, *own), source, (bos, eos))
        self._names = {"bos_token": self._marks.sign(bos), "eos_token": self._marks.sign(eos)}
        self._environment = LimitedEnvironment(("jinja2.ext.loopcontrols", _Generation), self._marks.as_in)
        self._environment.globals["raise_exception"] = _raise_exception
        self._environment.globals["strftime_now"] = _strftime_now
        self._environment.filters["tojson"] = self._environment.limited("tojson", _tojson)
        self._environment.filters["spelled_"] = self._spelled
        program = self._environment.parse(source)
        self._marks.mark(program)
        self._environment.limit(program)
        self._template = self._environment.from_string(program)
        self._as_parts = self._find_parts()
        seen = self._marks.seen
        self.turn_marks = frozenset(
            name for name in own if name in seen or _LIKE_A_CONTROL.fullmatch(name) or not is_part_of_answer(name)
        )
        """The `defined` tokens that separate turns: no message may write one."""

    def render(
        self, messages: Sequence[Message], unwanted: Callable[[], bool] = lambda: False, *, parse_special: bool = False
    ) -> list[Segment]:
        """Renders a conversation as a prompt that ends where the answer begins.

        Control tokens are those that the template writes, and with `parse_special` also those that messages name.
        Rendering is given up once the result is `unwanted`.
        """
        said = str if parse_special else self._marks.said
        role = str if parse_special else self._marks.role
        turns = [_turn(role(one.role), said(one.text), self._takes_parts(one.role)) for one in messages]
        rendered = self._rendered(turns, unwanted)
        if parse_special:
            return [Segment(self._marks.spell(rendered), special=True)]
        return self._marks.segments(rendered, {message.role for message in messages})

    def _rendered(self, messages: Sequence[Mapping[str, Content]], unwanted: Callable[[], bool] = lambda: False) -> str:
        characters = sum(len(str(message["content"])) for message in messages)
        self._environment.work = work = Work(len(messages), characters, unwanted)
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(
                messages=messages, add_generation_prompt=True, tools=None, documents=None, **self._names
            ):
                pieces.append(piece)
                size += len(piece)
                work.spend(1)
                if size > MOST_CHARACTERS:
                    raise TooMuchWorkError(f"it writes more than {MOST_CHARACTERS} characters")
        except TooMuchWorkError:
            raise
        except Exception as error:  # a template is a program: it may raise whatever Python can
            raise UnusableTemplateError(self._marks.spell(str(error)) or type(error).__name__) from error
        return "".join(pieces)

    def _find_parts(self) -> frozenset[str]:
        """Finds the roles whose content the template wants as a list of parts.

        Raises UnusableTemplateError if it leaves out what the user says, either way. If it takes none of the trial
        conversations, the first real one will show why.
        """
        rendered = False
        for roles in _TALKS:
            for tried in (frozenset[str](), frozenset(("user",)), frozenset(roles)):
                parts, shown = tried, self._rendered_roles(roles, tried)
                rendered = rendered or shown is not None
                if shown is None or "user" not in shown:
                    continue
                for role in sorted(set(roles) - shown):
                    if self._rendered_roles(roles, parts ^ {role}) == shown | {role}:
                        parts, shown = parts ^ {role}, shown | {role}
                return parts
        if rendered:
            raise UnusableTemplateError("it leaves out what the user says, as a text and as a list of parts")
        return frozenset()

    def _takes_parts(self, role: str) -> bool:
        """Whether a role gets a list of parts; a role that was not tried gets what the user gets."""
        return (role if role in _TALKS[0] else "user") in self._as_parts

    def _rendered_roles(self, roles: Sequence[str], parts: Collection[str]) -> frozenset[str] | None:
        """Returns the roles whose words appear in the prompt; None if this conversation cannot be rendered."""
        try:
            rendered = self._rendered([_turn(role, f"said{role}", role in parts) for role in roles])
        except UnusableTemplateError:
            return None
        self._marks.learn(rendered)
        plain = rendered.casefold()
        return frozenset(role for role in roles if f"said{role}" in plain)

    def _spelled(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._marks.spell(value)
        return [self._spelled(one) for one in value] if isinstance(value, list | tuple) else value


def _turn(role: str, text: str, as_parts: bool) -> dict[str, Content]:
    return {"role": role, "content": [{"type": "text", "text": text}] if as_parts else text}


class _Generation(Extension):
    """Renders the block of `{% generation %}` as it is; the mark is for training only."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Parser) -> Node | list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return unescaped(text) if ensure_ascii else text
