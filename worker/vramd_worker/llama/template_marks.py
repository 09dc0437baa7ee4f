"""Tells the template's control tokens in a rendered conversation from names in messages, which are text.

The template sees messages unchanged: it may look for `</think>` in an answer and cut there. So the template's own
words are marked: where its program writes the name of a control token, it writes a lone surrogate instead, which no
text from outside can have. Names that the program composes, as `<|` + role + `|>`, are broken in messages; which names
it composes is learned from a conversation whose messages have none.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from jinja2 import nodes

from vramd_worker.llama.tokenizing import Segment
from vramd_worker.llama.vocabulary import one_of

BREAK = "\udfff"
_FIRST, _MOST = 0xDC00, 0x3FF

_ESCAPED = re.compile(r"(?<!\\)(?<!\\ud[89ab]..)\\u(d[c-f]..)")
"""Matches an escaped surrogate, except the second of a pair, which is a character."""

_ROLES = frozenset(("assistant", "developer", "function", "ipython", "model", "system", "tool", "user"))
_WORD = re.compile(r"\w+")
LOOKING = frozenset(
    (
        *("count", "endswith", "find", "get", "index", "lstrip", "partition", "removeprefix", "removesuffix"),
        *("replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "startswith", "strip"),
    )
)
"""Methods that search a text for their arguments; only the second of `replace` is written."""
_WRITING = frozenset(("d", "default", "format", "join"))
"""Filters that write their arguments; others search for them."""


class Marks:
    """Marks the control tokens of one model that its template writes."""

    def __init__(self, names: Collection[str], source: str, always: Iterable[str]) -> None:
        """`names` are those of all control tokens; `always` are the ones given to the template as variables."""
        written = {name for name in names if name in source} | {name for name in always if name in names}
        ordered = sorted(written, key=len, reverse=True)[:_MOST]
        self._signs = {name: chr(_FIRST + at) for at, name in enumerate(ordered)}
        self._names = {sign: name for name, sign in self._signs.items()}
        self._source = source
        others = [name for name in names if name not in self._signs]
        self._written = one_of(ordered)
        self._signed = re.compile(f"[{''.join(self._names)}]") if ordered else None
        self._others = one_of(others)
        begun = f"(?={self._others.pattern})(.)" if self._others else ""
        self._beginning = re.compile(begun, re.IGNORECASE | re.DOTALL) if begun else None
        self._composed: frozenset[str] = frozenset()
        """Names that the template composes itself."""
        self.seen: frozenset[str] = frozenset()
        """Names that the template has written around messages."""

    def sign(self, text: str) -> str:
        """Replaces names in the template's own text with signs."""
        return self._written.sub(lambda found: self._signs[found[0]], text) if self._written else text

    def spell(self, text: str) -> str:
        """Replaces signs with the names that they stand for."""
        text = self._signed.sub(lambda found: self._names[found[0]], text) if self._signed else text
        return text.replace(BREAK, "")

    def as_in(self, text: str, looked_for: object) -> object:
        """Spells what a program looks for with signs, if the text has it so because the program wrote it."""
        signed = self.sign(looked_for) if isinstance(looked_for, str) else looked_for
        return signed if isinstance(signed, str) and signed != looked_for and signed in text else looked_for

    def said(self, text: str) -> str:
        """Breaks names in a message, so that the template cannot compose one from it."""
        text = text.encode("utf-8", "replace").decode()
        return self._beginning.sub(rf"\1{BREAK}", text) if self._beginning else text

    def role(self, role: str) -> str:
        """Breaks a role, unless it is a known one, which may be part of a name."""
        return role if self._is_known(role) else BREAK.join(self.said(role))

    def learn(self, rendered: str) -> None:
        """Learns from a rendered conversation whose messages name no control token."""
        self.seen |= frozenset(self._names[sign] for sign in set(rendered) & set(self._names))
        if self._others:
            self._composed |= frozenset(self._others.findall(rendered))

    def segments(self, rendered: str, roles: Collection[str]) -> list[Segment]:
        """Splits into the control tokens that the template has written, and text."""
        known = {role.casefold() for role in roles if self._is_known(role)}
        marked = self._marked(rendered, known)
        return [
            Segment("".join(text for text, _ in group), special)
            for special, group in groupby((part for part in marked if part[0]), key=lambda part: part[1])
        ]

    def _marked(self, rendered: str, roles: Collection[str]) -> Iterator[tuple[str, bool]]:
        begin = 0
        for found in self._signed.finditer(rendered) if self._signed else ():
            yield from self._between(rendered[begin : found.start()], roles)
            yield self._names[found[0]], True
            begin = found.end()
        yield from self._between(rendered[begin:], roles)

    def _between(self, text: str, roles: Collection[str]) -> Iterator[tuple[str, bool]]:
        begin = 0
        for found in self._others.finditer(text) if self._others else ():
            if found[0] in self._composed or not set(_WORD.findall(found[0].casefold())).isdisjoint(roles):
                yield text[begin : found.start()].replace(BREAK, ""), False
                yield found[0], True
                begin = found.end()
        yield text[begin:].replace(BREAK, ""), False

    def _is_known(self, role: str) -> bool:
        return role in _ROLES or (role.isidentifier() and re.search(f"['\"]{role}['\"]", self._source) is not None)

    def mark(self, template: nodes.Template) -> None:
        """Makes the program write signs; where it searches messages for a name, it still searches for the name."""
        if self._written:
            _Writer(self, template).visit(template, written=True)

    def is_written(self, value: object) -> bool:
        """Whether a value of the program contains a name."""
        return isinstance(value, str) and self._written is not None and self._written.search(value) is not None


_VARIABLES = (nodes.Name, nodes.NSRef)


class _Writer:
    """Walks through a program once and rewrites it."""

    def __init__(self, marks: Marks, template: nodes.Template) -> None:
        self._marks = marks
        self._holders = {"bos_token", "eos_token"}
        """Variables and attributes that may hold a name."""
        assigned = [(_targets(one), one) for one in template.find_all((nodes.Assign, nodes.For, nodes.Keyword))]
        while found := [targets for targets, one in assigned if not targets <= self._holders and self._holds(one)]:
            self._holders.update(*found)

    def _holds(self, assigned: nodes.Node) -> bool:
        """Whether an assigned value contains a name, or a variable that may hold one."""
        value = assigned.iter if isinstance(assigned, nodes.For) else getattr(assigned, "node", None) or assigned
        return any(
            self._marks.is_written(one.value) if isinstance(one, nodes.Const) else self._is_holder(one)
            for one in (value, *value.find_all((nodes.Const, nodes.Name, nodes.Getattr)))
            if isinstance(one, nodes.Const | nodes.Name | nodes.Getattr)
        )

    def _is_holder(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name(name=name) | nodes.Getattr(attr=name):
                return name in self._holders
            case _:
                return False

    def visit(self, node: nodes.Node, *, written: bool) -> nodes.Node:
        """Returns the node's replacement; `written` is false if it is only searched for or compared."""
        if isinstance(node, nodes.TemplateData):
            node.data = self._marks.sign(node.data)
        elif isinstance(node, nodes.Const):
            if written and isinstance(node.value, str):
                node.value = self._marks.sign(node.value)
        else:
            self._visit_below(node, written)
            if not written and isinstance(node, nodes.Name | nodes.Getattr) and self._is_holder(node):
                return nodes.Filter(node, "spelled_", [], [], None, None)
        return node

    def _visit_below(self, node: nodes.Node, written: bool) -> None:
        for field, value in list(node.iter_fields()):
            if isinstance(value, list):
                below = [
                    self.visit(one, written=_is_written(node, field, at, written))
                    if isinstance(one, nodes.Node)
                    else one
                    for at, one in enumerate(value)
                ]
                setattr(node, field, below)
            elif isinstance(value, nodes.Node):
                setattr(node, field, self.visit(value, written=_is_written(node, field, 0, written)))


def _targets(assigned: nodes.Node) -> set[str]:
    """Returns the variables and attributes that are assigned to."""
    if isinstance(assigned, nodes.Keyword):
        return {assigned.key}
    target: nodes.Node = getattr(assigned, "target", assigned)
    found = (target, *target.find_all((nodes.Name, nodes.NSRef)))
    return {one.attr if isinstance(one, nodes.NSRef) else one.name for one in found if isinstance(one, _VARIABLES)}


def _is_written(node: nodes.Node, field: str, at: int, written: bool) -> bool:
    """Whether a node's child in this field may be written, if the node itself may be."""
    match node:
        case nodes.Compare() | nodes.Test():
            return False
        case nodes.If() | nodes.CondExpr() if field == "test":
            return False
        case nodes.Getitem() if field == "arg":
            return False
        case nodes.Pair() if field == "key":
            return False
        case nodes.Call(node=nodes.Getattr(attr=name)) if field == "args" and name in LOOKING:
            return written and name == "replace" and at == 1
        case nodes.Filter(name=name) if field == "args" and name not in _WRITING:
            return written and name == "replace" and at == 1
        case _:
            return written


def unescaped(text: str) -> str:
    """Restores signs that Python or JSON has escaped."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
