"""Limits the work of a chat template: it is a program that comes with a file, and it must end.

Work is counted, not timed, so that a busy machine stops no template that an idle one renders: a step is a turn of a
loop, a call, or some characters of output. What one operation would make is counted before it is done.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from jinja2 import nodes
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context

from vramd_worker.llama.template_marks import LOOKING, unescaped

MOST_STEPS = 2_000_000
"""Steps in addition to those for the conversation's length: a second or two."""
STEPS_OF_A_PAIR = 10
"""Steps for each pair of the first `MOST_PAIRED` messages."""
MOST_PAIRED = 1000
"""Bounds the steps that a long conversation adds to some ten seconds."""
STEPS_OF_A_CALL = 4
LOOK_STEPS = 10_000
"""Steps between two checks whether the result is still wanted."""
STEP_CHARACTERS = 32
MOST_CHARACTERS = 1 << 25
"""Most characters of one text, or elements of one list."""
MOST_NUMBER = 100_000
"""Largest number as an argument: a width, a count, a range."""
MOST_BITS = 4096
"""Largest integer."""
MOST_INDENT = 16

_WIDE = re.compile(r"\d{5}|\*|\{[^{}]*\{")
"""Matches a format whose width is large, or is itself an argument."""
_NEEDLESS_FILTERS = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
"""Filters that take long for a long text, and that no conversation needs."""
_QUICK_FILTERS = frozenset(("count", "d", "default", "first", "last", "length"))
"""Filters that look at one element only."""
_DEEP_FILTERS = frozenset(
    ("dictsort", "format", "groupby", "join", "max", "min", "sort", "string", "sum", "tojson", "unique")
)
"""Filters that write or compare elements with all their contents."""
_SLOW_TESTS = frozenset(
    ("==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le", ">", "gt", "greaterthan", ">=", "ge", "in")
)
_EQUALITIES = frozenset(("eq", "ne", "lt", "lteq", "gt", "gteq"))
_BYTES_METHODS = frozenset(("decode", "hex"))

_Item = TypeVar("_Item")


class TooMuchWorkError(Exception):
    """Raised for a template that does more work than it may."""


class Work:
    """Counts the steps that one rendering has left."""

    def __init__(self, messages: int = 0, characters: int = 0, unwanted: Callable[[], bool] = lambda: False) -> None:
        # Many templates look at all other messages from each message.
        self._left = MOST_STEPS + STEPS_OF_A_PAIR * min(messages, MOST_PAIRED) ** 2 + characters
        self._unwanted = unwanted
        self._looks_at = self._left

    def spend(self, steps: int) -> None:
        """Raises TooMuchWorkError if no steps are left, or if the result is no longer wanted."""
        self._left -= steps
        if self._left < self._looks_at:
            self._looks_at = self._left - LOOK_STEPS
            if self._left < 0:
                raise TooMuchWorkError("it does too much work: it may not come to an end")
            if self._unwanted():
                raise TooMuchWorkError("its result is no longer wanted")

    def make(self, size: int) -> None:
        """Spends steps for a text or list of this size. Raises TooMuchWorkError, also if it is too large."""
        if size > MOST_CHARACTERS:
            raise TooMuchWorkError(f"it makes a text of {size} characters")
        self.spend(1 + size // STEP_CHARACTERS)

    def weigh(self, value: object) -> None:
        """Spends steps for a value with all its contents, each as often as it occurs."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, str | bytes):
                self.spend(1 + len(one) // STEP_CHARACTERS)
                continue
            self.spend(1)
            if isinstance(one, Mapping):
                waiting += (*one.keys(), *one.values())
            elif isinstance(one, list | tuple | set | frozenset):
                waiting += one
            elif isinstance(one, Namespace):
                waiting.append(object.__getattribute__(one, "_Namespace__attrs"))


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a limit of work for each rendering."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self, extensions: Sequence[Any], as_in: Callable[[str, Any], Any]) -> None:
        """`as_in` spells what a method of a text looks for as the text spells it."""
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=self._written)
        self.work = Work()
        self._as_in = as_in
        del self.globals["lipsum"]
        for name in _NEEDLESS_FILTERS:
            del self.filters[name]
        self.filters = {name: self.limited(name, function) for name, function in self.filters.items()}
        tests: dict[str, Any] = self.tests
        self.tests = tests | {name: self._compared(tests[name]) for name in _SLOW_TESTS}
        self.filters |= {"made_": self._copied, "weighed_": self._weighed}
        self.filters |= {"counted_": self._counted, "joined_": self._joined, "held_": self._held, "paid_": self._paid}

    def limit(self, template: nodes.Template) -> None:
        """Makes the program pay for its loops and calls, and for what it makes."""
        for loop in list(template.find_all(nodes.For)):
            weight = nodes.Const(_written_characters(loop.body) // STEP_CHARACTERS + 1)
            if loop.recursive:
                loop.body.insert(0, nodes.Output([_filtered(weight, "paid_")]))
                weight = nodes.Const(1)
            loop.iter = _filtered(loop.iter, "counted_", weight)
        for macro in list(template.find_all((nodes.Macro, nodes.CallBlock))):
            assert isinstance(macro, nodes.Macro | nodes.CallBlock)
            weight = nodes.Const(_written_characters(macro.body) // STEP_CHARACTERS + 1)
            macro.body.insert(0, nodes.Output([_filtered(weight, "paid_")]))
        _replace_all(template, (nodes.List, nodes.Tuple, nodes.Dict), _hold)
        _replace_all(template, nodes.Concat, lambda found: _filtered(nodes.List(found.nodes), "joined_"))
        _replace_all(template, nodes.Getitem, _copy)
        _replace_all(template, nodes.Compare, _compare)
        template.set_lineno(1)
        template.set_environment(self)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Called by the program for each operation."""
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, str | bytes | list | tuple) and isinstance(times, int):
                    self.work.make(len(sequence) * max(0, times))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * max(0, right))
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            self.work.make(len(left) + len(right))
        result = super().call_binop(context, operator, left, right)
        self._made(result)
        return result

    def call(__self, __context: Context, __function: Any, *args: Any, **kwargs: Any) -> Any:
        """Called by the program for each call."""
        self, function = __self, __function
        self.work.spend(STEPS_OF_A_CALL)
        if not isinstance(function, Macro):
            _check_numbers((*args, *kwargs.values()))
            self.work.weigh((*args, *kwargs.values()))
            method = getattr(function, "__wrapped__", function)  # the sandbox has its own `format`
            owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
            self._weighed(owner)
            if isinstance(owner, str):
                args = self._check_method(owner, name, args)
            elif isinstance(owner, bytes) and name not in _BYTES_METHODS:
                raise TooMuchWorkError(f"bytes.{name} is not to be had")
        result = super().call(__context, function, *args, **kwargs)
        self._made(result)
        return result

    def _check_method(self, text: str, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Pays for what a method of a text would make; returns its arguments, as iterators are used up by that."""
        if name in LOOKING and args:
            args = (self._as_in(text, args[0]), *args[1:])
        if name == "join" and args:
            items = self._items(args[0])
            self.work.make(sum(map(len, map(str, items))) + len(text) * len(items))
            return (items, *args[1:])
        if name == "replace" and len(args) > 1:
            self.work.make(_replaced_characters(text, str(args[0]), str(args[1])))
        elif name in ("format", "format_map"):
            _check_format(text)
        elif name in ("translate", "maketrans"):
            raise TooMuchWorkError(f"str.{name} is not to be had")
        return args

    def limited(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a filter so that it pays for its input and its result."""
        at = int(getattr(function, "jinja_pass_arg", None) is not None)

        @functools.wraps(function)
        def limited(*args: Any, **kwargs: Any) -> Any:
            value, given = args[at], (*args[at + 1 :], *kwargs.values())
            _check_numbers(given)
            if name in _DEEP_FILTERS:
                self.work.weigh((value, given))
            else:
                self.work.spend(1 if name in _QUICK_FILTERS else 1 + _turns(value))
            if name == "sum" and any(isinstance(start, Sequence) and not isinstance(start, str) for start in given):
                raise TooMuchWorkError("it sums up lists")
            if name == "join":
                items = self._items(value)
                self.work.make(sum(map(len, map(str, items))) + sum(map(_size, given)) * len(items))
                args = (*args[:at], items, *args[at + 1 :])
            elif name == "replace" and len(given) > 1:
                self.work.make(_replaced_characters(str(value), str(given[0]), str(given[1])))
            elif name == "format":
                _check_format(str(value))
            elif name in ("indent", "tojson"):
                _check_indent(given)
            result = function(*args, **kwargs)
            self.work.make(_size(result))
            return result

        return limited

    def _compared(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a test so that it pays for its operands."""

        @functools.wraps(function)
        def compared(*args: Any, **kwargs: Any) -> Any:
            for value in (*args, *kwargs.values()):
                self._weighed(value)
            return function(*args, **kwargs)

        return compared

    def _items(self, values: Iterable[_Item]) -> list[_Item]:
        return list(self._counted(values))

    def _made(self, value: object) -> None:
        if isinstance(value, str | bytes):
            self.work.make(len(value))
        elif isinstance(value, int):
            _check_bits(value.bit_length())
        elif isinstance(value, list | tuple | dict | Namespace):
            self._held(value)

    def _written(self, value: object) -> object:
        """Called by the program for each value that it prints."""
        if isinstance(value, str):
            self.work.make(len(value))
            return value
        self.work.weigh(value)
        return unescaped(str(value)) if isinstance(value, list | tuple | dict) else value

    def _counted(self, values: Iterable[_Item], weight: int = 1) -> Iterator[_Item]:
        spend = self.work.spend
        for value in values:
            spend(weight)
            yield value

    def _joined(self, values: Sequence[object]) -> str:
        texts = list(map(str, map(self._written, values)))
        self.work.make(sum(map(len, texts)))
        return "".join(texts)

    def _copied(self, value: _Item) -> _Item:
        self.work.make(_size(value))
        return value

    def _weighed(self, value: _Item) -> _Item:
        if isinstance(value, str):
            self.work.spend(1 + len(value) // STEP_CHARACTERS)
        elif isinstance(value, list | tuple | dict):
            self.work.weigh(value)
        return value

    def _held(self, value: _Item) -> _Item:
        """Pays for a new container with all its contents, so that one that holds itself many times over cannot grow."""
        if isinstance(value, list | tuple) and not any(
            isinstance(one, list | tuple | dict | Namespace) for one in value
        ):
            self.work.make(len(value))
        else:
            self.work.weigh(value)
        return value

    @pass_context  # so that the compiler does not evaluate it as a constant
    def _paid(self, _context: Context, weight: int) -> str:
        self.work.spend(weight)
        return ""


def _turns(value: object) -> int:
    return len(value) // STEP_CHARACTERS if isinstance(value, str | bytes) else _size(value)


def _size(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 0


def _replaced_characters(text: str, old: str, new: str) -> int:
    """Returns an upper bound of the characters of the result."""
    return len(text) + text.count(old) * len(new)


def _check_numbers(values: Iterable[object]) -> None:
    if any(isinstance(value, int) and abs(value) > MOST_NUMBER for value in values):
        raise TooMuchWorkError(f"it calls something with a number above {MOST_NUMBER}")


def _check_bits(bits: int) -> None:
    if bits > MOST_BITS:
        raise TooMuchWorkError(f"it makes a number of {bits} bits")


def _check_format(text: str) -> None:
    if _WIDE.search(text):
        raise TooMuchWorkError("it formats to a width that is large, or that is not known before")


def _check_indent(given: Iterable[object]) -> None:
    for value in given:
        wide = value if isinstance(value, int) else len(value) if isinstance(value, str) else 0
        if wide > MOST_INDENT:
            raise TooMuchWorkError(f"it indents by more than {MOST_INDENT}")


def _written_characters(body: Iterable[nodes.Node]) -> int:
    """Counts the template's own characters that each turn writes, without those of inner loops."""
    characters = 0
    for node in body:
        if isinstance(node, nodes.TemplateData):
            characters += len(node.data)
        elif not isinstance(node, nodes.For):
            characters += _written_characters(node.iter_child_nodes())
    return characters


def _copy(found: nodes.Getitem) -> nodes.Expr:
    """Makes a slice pay, as it is a new text or list."""
    return _filtered(found, "made_") if isinstance(found.arg, nodes.Slice) and found.ctx == "load" else found


def _compare(found: nodes.Compare) -> nodes.Expr:
    """Makes a comparison of long texts or lists pay; one with a literal is quick."""
    sides = [found.expr, *(operand.expr for operand in found.ops)]
    weighed = [
        side if isinstance(side, nodes.Const) or _is_quick(sides, found.ops, at) else _filtered(side, "weighed_")
        for at, side in enumerate(sides)
    ]
    found.expr = weighed[0]
    for operand, side in zip(found.ops, weighed[1:], strict=True):
        operand.expr = side
    return found


def _is_quick(sides: Sequence[nodes.Expr], operands: Sequence[nodes.Operand], at: int) -> bool:
    """Whether a side is compared with literals only, or is looked for in a list."""
    beside = [(operands[at - 1].op, sides[at - 1])] if at else []
    if at < len(operands):
        beside.append((operands[at].op, sides[at + 1]))
        if operands[at].op in ("in", "notin"):
            beside.pop()
    return all(op in _EQUALITIES and isinstance(side, nodes.Const) for op, side in beside)


def _hold(found: nodes.Node) -> nodes.Node:
    """Makes a container of values pay; constants cannot grow, and a tuple may be an assignment's target."""
    if getattr(found, "ctx", "load") != "load" or all(isinstance(one, nodes.Const) for one in found.iter_child_nodes()):
        return found
    return _filtered(found, "held_")


def _filtered(node: nodes.Node, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    assert isinstance(node, nodes.Expr)
    return nodes.Filter(node, name, list(arguments), [], None, None)


def _replace_all(
    node: nodes.Node, kind: type[nodes.Node] | tuple[type[nodes.Node], ...], by: Callable[[Any], nodes.Node]
) -> None:
    """Replaces all nodes of a kind below a node, the innermost first."""

    def changed(child: Any) -> Any:
        if not isinstance(child, nodes.Node):
            return child
        _replace_all(child, kind, by)
        return by(child) if isinstance(child, kind) else child

    for field, value in list(node.iter_fields()):
        setattr(node, field, [changed(one) for one in value] if isinstance(value, list) else changed(value))
