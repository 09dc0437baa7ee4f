"""Turns messages of the wire into values: each field of a value is the message's field of the same name. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from vramd_common import timeline

from vramd.enum_words import words
from vramd.values.answers import Embeddings, Timeline, Usage
from vramd.values.plans import NearestSettings, PlanSettings

Value = TypeVar("Value")
Get = Callable[[Any], Any]
"""Gets the value of a field from a message."""


def read(kind: type[Value], message: Message) -> Value:
    """Makes a value of a message.

    None stands for what the message does not set; where the wire cannot tell, for zero and the empty text. The words
    of an enum are in small letters unless the value's type says otherwise; one of the future is its number. A oneof is
    a value of the type that is called like its message.
    """
    return _EXCEPTIONS[kind](message) if kind in _EXCEPTIONS else kind(**_read_fields(kind, message))


def read_timeline(trailer: Mapping[str, str | bytes]) -> Timeline | None:
    """Reads where the time of a call went from the metadata of its end; None if that does not say it in our words."""
    value = trailer.get(timeline.KEY)
    told = timeline.unpack(value) if isinstance(value, str) else None
    if told is None:
        return None
    seconds = {phase: told.seconds.get(phase) for phase in timeline.PHASES}
    return Timeline(
        **seconds,
        model=told.model,
        worker_id=told.worker_id,
        resumes=told.resumes,
        resume=told.resume,
        cached_prompt_tokens=told.cached_prompt_tokens,
    )


def _embeddings(message: Any) -> Embeddings:
    """Sorts the vectors in the order of the texts."""
    ordered = sorted(message.embeddings, key=lambda embedding: embedding.index)
    vectors = tuple(tuple(embedding.values) for embedding in ordered)
    return Embeddings(message.model, message.dimensions, vectors, read(Usage, message.usage))


def _nearest(message: Any) -> NearestSettings:
    """Has the settings, which are a message inside, among its own fields."""
    return NearestSettings(**_read_fields(PlanSettings, message.settings), **_read_fields(NearestSettings, message))


_EXCEPTIONS: Mapping[type, Get] = {Embeddings: _embeddings, NearestSettings: _nearest}


def _read_fields(kind: type, message: Message) -> dict[str, Any]:
    return {name: get(message) for name, get in _getters(kind, message.DESCRIPTOR)}


@cache
def _getters(kind: Any, message: Descriptor) -> list[tuple[str, Get]]:
    """Prepares to get each field of a value; fields that the message does not have are left out."""
    hints = get_type_hints(kind)
    getters = []
    for name in (field.name for field in fields(kind)):
        if name in message.oneofs_by_name:
            getters.append((name, _oneof(name, hints[name])))
        # Counts of tokens have that in their name on the wire.
        elif field := message.fields_by_name.get(name) or message.fields_by_name.get(f"{name}_tokens"):
            getters.append((name, _getter(field, hints[name])))
    return getters


def _oneof(name: str, hint: Any) -> Get:
    kinds = {kind.__name__: kind for kind in _kinds(hint)}

    def get(message: Any) -> Any:
        which = message.WhichOneof(name)
        part = getattr(message, which) if which else None
        return None if part is None else read(kinds[part.DESCRIPTOR.name], part)

    return get


def _getter(field: FieldDescriptor, hint: Any) -> Get:
    name, convert = field.name, _converter(field, hint)
    if field.message_type and field.message_type.GetOptions().map_entry:
        return lambda message: dict(sorted(getattr(message, name).items()))  # the wire keeps no order
    if get_origin(hint) is tuple:
        return lambda message: tuple(map(convert, getattr(message, name)))
    if type(None) not in get_args(hint):
        plain = not field.message_type and not field.enum_type
        return attrgetter(name) if plain else lambda message: convert(getattr(message, name))
    if field.has_presence:
        return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
    return lambda message: convert(getattr(message, name)) or None


def _converter(field: FieldDescriptor, hint: Any) -> Get:
    """Makes the value of one element."""
    kinds = list(_kinds(hint))
    if field.message_type and kinds:
        return lambda part: read(kinds[0], part)
    if field.enum_type:
        shouted = any(word.isupper() for kind in kinds for word in get_args(kind))
        known = {number: word if shouted else word.lower() for number, word in words(field.enum_type).items()}
        return lambda number: known.get(number, str(number))
    return lambda value: value


def _kinds(hint: Any) -> Iterator[Any]:
    """The types of values and the words that stand in an annotation."""
    if is_dataclass(hint) or get_origin(hint) is Literal:
        yield hint
    else:
        for part in get_args(hint):
            yield from _kinds(part)
