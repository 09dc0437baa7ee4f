"""Turns values of the core into JSON and back, by their declared types; no event or action is known by name. Pure.

A dataclass is an object with the fields that differ from their defaults, so that a recording can be read after a field
was added. In a union of dataclasses each carries its name under "is". Enums travel by name.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum, IntEnum
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.cols import is_mapping
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.v import format_exception

from ..core.actions import Action
from ..core.events import Event

NAME = "is"
"""Key of a dataclass's name in a union."""

SPELLED = {
    "worker_id": "incarnation",
    "expendable": "sacrificial",
    "available_if_evicted": "attainable",
    "alternatives": "nearest",
    "ReservationRequested": "MemoryAnnounced",
    "ReservationReleased": "AnnouncementWithdrawn",
    "ReservationExpired": "AnnouncementExpired",
    "GrantReservation": "Reserve",
}
"""How recordings spell fields and classes whose names have changed since the format began."""

Value = TypeVar("Value")


class UnreadableValueError(Exception):
    """The data is no value of its type."""


def encode(value: object, kind: Any) -> object:
    """Returns what `json.dumps` takes."""
    return _CONVERTER.unstructure(value, kind)


def decode(data: object, kind: type[Value]) -> Value:
    """Returns the value; sequences come back as tuples. Raises UnreadableValueError."""
    try:
        return _CONVERTER.structure(data, kind)
    except (BaseValidationError, UnreadableValueError) as error:
        raise UnreadableValueError("; ".join(transform_error(error, format_exception=_in_words))) from error


def encode_event(event: Event) -> object:
    """Returns the event with the name of its class."""
    return encode(event, Event)


def decode_event(data: object) -> Event:
    """Raises UnreadableValueError."""
    return cast(Event, decode(data, cast(Any, Event)))


def encode_action(action: Action) -> object:
    """Returns the action with the name of its class."""
    return encode(action, Action)


def _in_words(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, UnreadableValueError) else format_exception(error, kind)


def _plain(data: object, kind: type) -> object:
    """An integer will do for a float, as JSON has one kind of number; a truth value is neither."""
    if not isinstance(data, (int, float) if kind is float else kind) or isinstance(data, bool) is not (kind is bool):
        raise UnreadableValueError(f"{data!r} is no {kind.__name__}")
    return data


def _member(name: object, kind: type[Enum]) -> Enum:
    if not isinstance(name, str) or name not in kind.__members__:
        raise UnreadableValueError(f"{name!r} is no {kind.__name__}")
    return kind[name]


def _is_named(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and all(map(is_dataclass, get_args(kind)))


def _read_named(kind: Any) -> Callable[[object, Any], object]:
    hooks = {_spelled(part.__name__): (_CONVERTER.get_structure_hook(part), part) for part in get_args(kind)}

    def read(data: object, _: Any) -> object:
        found = dict(data) if isinstance(data, dict) else {}
        name = found.pop(NAME, None)
        if not isinstance(name, str) or name not in hooks:
            raise UnreadableValueError(f"{name!r} is not one of {', '.join(sorted(hooks))}")
        hook, part = hooks[name]
        return hook(found, part)

    return read


def _write_named(kind: Any) -> Callable[[Any], object]:
    hooks = {part: _CONVERTER.get_unstructure_hook(part) for part in get_args(kind)}
    return lambda value: {NAME: _spelled(type(value).__name__), **hooks[type(value)](value)}


def _spelled(name: str) -> str:
    return SPELLED.get(name, name)


def _fields(kind: Any) -> Any:
    return {field.name: override(rename=_spelled(field.name)) for field in fields(kind)}


def _is_sequence(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Sequence


def _is_numbered(kind: Any) -> bool:
    """JSON has no table by numbers: it travels as pairs."""
    return is_mapping(kind) and get_args(kind)[0] is int


def _converter() -> Converter:
    made = Converter()
    made.register_structure_hook_factory(
        is_dataclass, lambda kind: make_dict_structure_fn(kind, made, _cattrs_forbid_extra_keys=True, **_fields(kind))
    )
    made.register_unstructure_hook_factory(
        is_dataclass, lambda kind: make_dict_unstructure_fn(kind, made, _cattrs_omit_if_default=True, **_fields(kind))
    )
    for plain in (int, float, str, bool):
        made.register_structure_hook(plain, _plain)
    for enum in (Enum, IntEnum):
        made.register_structure_hook(enum, _member)
        made.register_unstructure_hook(enum, lambda member: member.name)
    made.register_structure_hook_func(
        _is_sequence,
        lambda data, kind: made.structure(data, _TUPLE[get_args(kind)[0], ...]),
    )
    made.register_structure_hook_func(
        _is_numbered, lambda data, kind: dict(made.structure(data, _TUPLE[_TUPLE[get_args(kind)], ...]))
    )
    made.register_unstructure_hook_func(_is_numbered, lambda table: [list(pair) for pair in table.items()])
    made.register_structure_hook_factory(_is_named, _read_named)
    made.register_unstructure_hook_factory(_is_named, _write_named)
    return made


_TUPLE: Any = tuple
_CONVERTER = _converter()
