"""Turns tables of TOML into the values of `config`, and turns nothing into something else on the way. Pure."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin

from cattrs import BaseValidationError, Converter
from cattrs.cols import is_mapping, mapping_structure_factory
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn
from vramd_common.sizes import SIZE_WORDS

from ..domain.config import Config, Headroom, Outputs, Size
from ..domain.sizes import HEADROOM_WORDS, OUTPUTS_WORDS, parse_headroom, parse_outputs, parse_size


class ExpectedError(Exception):
    """A value of another kind than the key takes."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.value = value


def structure(raw: Mapping[str, object]) -> Config:
    """Raises cattrs' BaseValidationError; `causes` says what is in it."""
    return _CONVERTER.structure(raw, Config)


def causes(error: BaseException) -> Iterator[tuple[tuple[str, ...], BaseException]]:
    """Everything that is wrong, each with the path to it."""
    if not isinstance(error, BaseValidationError):
        yield (), error
        return
    for inner in error.exceptions:
        keys: list[str] = []
        for note in getattr(inner, "__notes__", ()):
            if isinstance(note, AttributeValidationNote):
                keys.append(note.name)
            elif isinstance(note, IterableValidationNote) and isinstance(note.index, str):
                keys.append(note.index)
        yield from (((*keys, *path), cause) for path, cause in causes(inner))


Hook = Callable[[object, object], object]


def _only_tables(hook: Callable[[Mapping[str, object], Any], object]) -> Hook:
    def structured(value: object, kind: object) -> object:
        if not isinstance(value, Mapping):
            raise ExpectedError("a table", value)
        return hook(value, kind)

    return structured


def _whole(value: object, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExpectedError("a whole number", value)
    return value


def _number(value: object, _: object) -> float:
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


def _outputs(value: object, _: object) -> Outputs:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ExpectedError(OUTPUTS_WORDS, value)
    return parse_outputs(str(value))


def _literal(value: object, kind: object) -> object:
    choices = get_args(kind)
    if value not in choices:
        raise ExpectedError("one of " + ", ".join(choices), value)
    return value


def _plain(kind: object) -> Hook | None:
    """How a value without parts is read; None for tables."""
    hooks: dict[object, Hook] = {
        int: _whole,
        float: _number,
        bool: _truth,
        str: _words,
        tuple[str, ...]: _several,
        Size: _size,
        Headroom: _headroom,
        Outputs: _outputs,
    }
    return _literal if get_origin(kind) is Literal else hooks.get(kind)


def _structure_plain(value: object, kind: object) -> object:
    hook = _plain(kind)
    assert hook is not None
    return hook(value, kind)


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook_factory(
        is_dataclass,
        lambda kind: _only_tables(make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)),
    )
    converter.register_structure_hook_factory(
        is_mapping, lambda kind: _only_tables(mapping_structure_factory(kind, converter))
    )
    converter.register_structure_hook_func(lambda kind: _plain(kind) is not None, _structure_plain)
    for kind in (int, float, bool, str):
        converter.register_structure_hook(kind, _structure_plain)
    return converter


_CONVERTER = _converter()
