"""Converts TOML tables into the values of `config`, without coercing one kind into another. Pure."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.cols import is_mapping, mapping_structure_factory
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn
from vramd_common.load_settings import LOAD_SETTINGS, LoadOptions
from vramd_common.settings_table import Setting, WrongKindError
from vramd_common.sizes import SIZE_WORDS

from ..domain.config import Config, Headroom, ModelConfig, Size
from ..domain.sizes import HEADROOM_WORDS, parse_headroom, parse_size
from .settings_checks import Fault, nearest

_OWN = [own for own in fields(ModelConfig) if own.name != "load"]
_MODEL_TABLE = make_dataclass(
    "_ModelTable",
    [
        *((own.name, own.type, field(default=own.default, default_factory=own.default_factory)) for own in _OWN),
        *((row.name, Annotated[object, row.name], field(default=None)) for row in LOAD_SETTINGS),
    ],
)
"""`[models.ID]` as written in the file: the keys of `ModelConfig`, and beside them the load settings."""


class ExpectedError(Exception):
    """Raised for a value of another kind than the key takes."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value


def structure(raw: Mapping[str, object]) -> Config:
    """Converts tables into a configuration. Raises cattrs' BaseValidationError; `mistakes` lists its contents."""
    return _CONVERTER.structure(raw, Config)


def mistakes(error: BaseValidationError) -> Iterator[Fault]:
    """Yields unknown and missing keys, and values of the wrong kind."""
    for path, cause in _causes(error):
        if isinstance(cause, ForbiddenExtraKeysError):
            known = [field.name for field in fields(cause.cl)]
            yield from (((*path, unknown), f"unknown key{nearest(unknown, known)}") for unknown in cause.extra_fields)
        elif isinstance(cause, ExpectedError):
            seconds = " of seconds" if path[-1].endswith("_s") else ""
            yield path, f"expected {cause.expected}{seconds}, got {_shown(cause.value)}"
        elif isinstance(cause, KeyError):
            yield path, "is missing"
        elif isinstance(cause, ValueError):
            yield path, str(cause)
        else:
            raise cause


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)


def _causes(error: BaseException) -> Iterator[tuple[tuple[str, ...], BaseException]]:
    """Yields every fault with its path."""
    if not isinstance(error, BaseValidationError):
        yield (), error
        return
    for inner in error.exceptions:
        keys: list[str] = []
        for note in getattr(inner, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                keys.append(note.name)
            elif isinstance(note, IterableValidationNote):
                keys.append(note.index if isinstance(note.index, str) else f"{note.index + 1}")
        yield from (((*keys, *path), cause) for path, cause in _causes(inner))


Hook = Callable[[object, object], object]


def _only_tables(hook: Callable[[Mapping[str, object], Any], object]) -> Hook:
    def structured(value: object, kind: object) -> object:
        if not isinstance(value, Mapping):
            raise ExpectedError("a table", value)
        return hook(value, kind)

    return structured


def whole(value: object, _: object) -> int:
    """Raises ExpectedError, for a truth value too."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExpectedError("a whole number", value)
    return value


def number(value: object, _: object) -> float:
    """Raises ExpectedError, for infinity and NaN too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ExpectedError("a number", value)
    return float(value)


def _truth(value: object, _: object) -> bool:
    if not isinstance(value, bool):
        raise ExpectedError("true or false", value)
    return value


def _words(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise ExpectedError("text in quotes", value)
    return value


def _several(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ExpectedError('a list of texts such as ["…"]', value)
    return tuple(value)


def _size(value: object, _: object) -> Size:
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ExpectedError(SIZE_WORDS, value)
    return Size(value)


def _headroom(value: object, _: object) -> Headroom:
    if isinstance(value, str):
        return parse_headroom(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ExpectedError(HEADROOM_WORDS, value)
    return Headroom(size_bytes=value)


def _literal(value: object, kind: object) -> object:
    choices = get_args(kind)
    if value not in choices:
        raise ExpectedError("one of " + ", ".join(choices), value)
    return value


def _setting(row: Setting) -> Hook:
    def structured(value: object, _: object) -> object:
        try:
            return row.read(value)
        except WrongKindError as error:
            raise ExpectedError(error.expected, value) from error

    return structured


def _plain(kind: object) -> Hook | None:
    """Returns the hook that reads a plain value; None for tables."""
    if get_origin(kind) is Annotated:
        return _setting(next(row for row in LOAD_SETTINGS if row.name == get_args(kind)[1]))
    hooks: dict[object, Hook] = {
        int: whole,
        float: number,
        bool: _truth,
        str: _words,
        tuple[str, ...]: _several,
        Size: _size,
        Headroom: _headroom,
    }
    return _literal if get_origin(kind) is Literal else hooks.get(kind)


def _structure_plain(value: object, kind: object) -> object:
    hook = _plain(kind)
    assert hook is not None
    return hook(value, kind)


def _model(table: Any) -> ModelConfig:
    own = {one.name: getattr(table, one.name) for one in _OWN}
    load = LoadOptions(**{row.field: getattr(table, row.name) for row in LOAD_SETTINGS})
    return ModelConfig(**own, load=load)


def converter() -> Converter:
    """Returns a converter that takes tables as dataclasses, and refuses unknown keys."""
    made = Converter(forbid_extra_keys=True)
    made.register_structure_hook_factory(
        is_dataclass,
        lambda kind: _only_tables(make_dict_structure_fn(kind, made, _cattrs_forbid_extra_keys=True)),
    )
    made.register_structure_hook_factory(is_mapping, lambda kind: _only_tables(mapping_structure_factory(kind, made)))
    made.register_structure_hook_func(lambda kind: _plain(kind) is not None, _structure_plain)
    made.register_structure_hook(ModelConfig, lambda value, _: _model(made.structure(value, _MODEL_TABLE)))
    for kind in (int, float, bool, str):
        made.register_structure_hook(kind, _structure_plain)
    return made


_CONVERTER = converter()
