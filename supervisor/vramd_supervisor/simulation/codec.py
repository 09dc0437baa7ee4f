"""Values of the core as JSON and back, by their declared types: nothing here knows a single event or action. Pure.

A value of a dataclass is an object with the fields that differ from their defaults, so that a recording can be read
after a field was added. Of several dataclasses in one place each carries its name under "is". Enums travel by name.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from ..core.actions import Action
from ..core.events import Event

NAME = "is"
"""Key of the name of a dataclass, where there could be several."""

Value = TypeVar("Value")


class UnreadableValueError(Exception):
    """Data that is no value of the type it should be."""


class _Form(NamedTuple):
    """How values of one type are written and read."""

    write: Callable[[Any], object]
    read: Callable[[Any], object]


def encode(value: object, kind: Hashable) -> object:
    """What `json.dumps` takes. Raises TypeError for a type that has no form in JSON."""
    return _form(kind).write(value)


def decode(data: object, kind: type[Value]) -> Value:
    """The value again; sequences come back as tuples. Raises UnreadableValueError."""
    form = _form(cast(Hashable, kind))
    return cast(Value, form.read(data))


def encode_event(event: Event) -> object:
    """With the name of its class."""
    return _form(Event).write(event)


def decode_event(data: object) -> Event:
    """Raises UnreadableValueError."""
    return cast(Event, _form(Event).read(data))


def encode_action(action: Action) -> object:
    """With the name of its class."""
    return _form(Action).write(action)


@cache
def _form(kind: Any) -> _Form:
    kind = getattr(kind, "__supertype__", kind)
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _union(parts)
    if origin is Literal or kind in (int, float, str, bool, NoneType):
        allowed = tuple({type(part) for part in parts}) if origin is Literal else (kind,)
        return _Form(lambda value: value, lambda data: _plain(data, allowed))
    if origin is tuple and parts[-1] is not Ellipsis:
        return _fixed([_form(part) for part in parts])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_form(parts[0]), _form(parts[1]), named=parts[0] is str)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _several(_form(parts[0]), tuple)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _Form(lambda member: member.name, lambda name: _member(kind, name))
    if isinstance(kind, type) and is_dataclass(kind):
        return _fields(kind)
    raise TypeError(f"{kind} has no form in JSON")


def _plain(data: object, kinds: Sequence[type]) -> object:
    """JSON has one kind of number; a truth value is none."""
    wide = (*kinds, int) if float in kinds else tuple(kinds)
    if not isinstance(data, wide) or (isinstance(data, bool) and bool not in kinds):
        raise UnreadableValueError(f"{data!r} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return data


def _member(kind: type[Enum], name: object) -> Enum:
    if not isinstance(name, str) or name not in kind.__members__:
        raise UnreadableValueError(f"{name!r} is no {kind.__name__}")
    return kind[name]


def _items(data: object, count: int | None = None) -> list[object]:
    if not isinstance(data, list) or (count is not None and len(data) != count):
        raise UnreadableValueError(f"{data!r} is no list{f' of {count}' if count is not None else ''}")
    return data


def _fixed(forms: Sequence[_Form]) -> _Form:
    def read(data: object) -> object:
        return tuple(form.read(item) for form, item in zip(forms, _items(data, len(forms)), strict=True))

    return _Form(lambda values: [form.write(value) for form, value in zip(forms, values, strict=True)], read)


def _several(form: _Form, gather: Callable[[Any], object]) -> _Form:
    return _Form(
        lambda values: [form.write(value) for value in values],
        lambda data: gather([form.read(item) for item in _items(data)]),
    )


def _mapping(keys: _Form, values: _Form, *, named: bool) -> _Form:
    """An object where the keys are text, else a list of pairs; the order stays."""
    if named:
        return _Form(
            lambda table: {key: values.write(value) for key, value in table.items()},
            lambda data: {key: values.read(value) for key, value in _table(data).items()},
        )
    pairs = _several(_fixed((keys, values)), dict)
    return _Form(lambda table: pairs.write(table.items()), pairs.read)


def _table(data: object) -> dict[str, object]:
    if not isinstance(data, dict):
        raise UnreadableValueError(f"{data!r} is no object")
    return data


def _fields(kind: type) -> _Form:
    hints = get_type_hints(kind)
    forms = {field.name: _form(hints[field.name]) for field in fields(kind)}
    defaults = {field.name: _default(field) for field in fields(kind)}

    def write(value: object) -> object:
        found = {name: getattr(value, name) for name in forms}
        return {name: forms[name].write(one) for name, one in found.items() if not _same(one, defaults[name])}

    def read(data: object) -> object:
        table = {name: value for name, value in _table(data).items() if name != NAME}
        if unknown := table.keys() - forms.keys():
            raise UnreadableValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
        if missing := {name for name, default in defaults.items() if default is MISSING} - table.keys():
            raise UnreadableValueError(f"{kind.__name__} lacks {', '.join(sorted(missing))}")
        return kind(**{name: forms[name].read(value) for name, value in table.items()})

    return _Form(write, read)


def _default(field: "Field[Any]") -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _same(value: object, default: object) -> bool:
    """Whether it need not be written; 1, 1.0 and True are equal and not the same."""
    return default is not MISSING and type(value) is type(default) and value == default


def _union(parts: Sequence[Any]) -> _Form:
    """One dataclass or plain type and perhaps nothing, or several dataclasses, which then carry their names."""
    some = [part for part in parts if part is not NoneType]
    optional = len(some) < len(parts)
    if len(some) == 1:
        form = _form(some[0])
    elif all(isinstance(part, type) and is_dataclass(part) for part in some):
        form = _named({part.__name__: part for part in some})
    else:
        plain = {part for part in some if part in (int, float, str, bool)}
        if len(plain) < len(some):
            raise TypeError(f"{' | '.join(map(str, parts))} has no form in JSON")
        form = _Form(lambda value: value, lambda data: _plain(data, tuple(plain)))
    if not optional:
        return form
    return _Form(
        lambda value: None if value is None else form.write(value),
        lambda data: None if data is None else form.read(data),
    )


def _named(kinds: Mapping[str, type]) -> _Form:
    forms = {name: _form(kind) for name, kind in kinds.items()}

    def write(value: object) -> object:
        name = type(value).__name__
        return {NAME: name, **cast(dict[str, object], forms[name].write(value))}

    def read(data: object) -> object:
        name = _table(data).get(NAME)
        if not isinstance(name, str) or name not in forms:
            raise UnreadableValueError(f"{name!r} is not one of {', '.join(sorted(forms))}")
        return forms[name].read(data)

    return _Form(write, read)
