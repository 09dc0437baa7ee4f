"""Converts between fields of messages and plain values, by name: an enum's values are words. Pure."""

from typing import Any, TypeVar

from google.protobuf.message import Message

AnyMessage = TypeVar("AnyMessage", bound=Message)


class UnknownValueError(ValueError):
    """An enum has no such word or number."""


def put(message: Message, field: str, value: object) -> None:
    """Sets a field. Raises UnknownValueError for an unknown word, TypeError and ValueError as protobuf does."""
    if field in message.DESCRIPTOR.oneofs_by_name and isinstance(value, str) and value.removeprefix("-").isdecimal():
        value = int(value)
    target = carrier(message, field, isinstance(value, str))
    setattr(message, target.name, number_of(target.enum_type, value) if target.enum_type else value)


def get(message: Message, field: str) -> Any:
    """Returns the value of a field; None if it is unset. Raises UnknownValueError for a number of a newer version."""
    if field in message.DESCRIPTOR.oneofs_by_name:
        field = message.WhichOneof(field) or ""
        if not field:
            return None
    target: Any = message.DESCRIPTOR.fields_by_name[field]
    value = getattr(message, field)
    if target.enum_type:
        return word_of(target.enum_type, value) if value else None
    return value if not target.has_presence or message.HasField(field) else None


def filled(message: AnyMessage, value: object) -> AnyMessage:
    """Sets each field of the message from the value's attribute of the same name, and returns the message."""
    for target in message.DESCRIPTOR.fields:
        found = getattr(value, target.name)
        if target.is_repeated:
            getattr(message, target.name).extend(found)
        else:
            put(message, target.name, found)
    return message


def carrier(message: Message, field: str, is_word: bool) -> Any:
    """Returns the field that carries a value; in a oneof of this name, the one for words or the one for numbers."""
    oneof = message.DESCRIPTOR.oneofs_by_name.get(field)
    if oneof is None:
        return message.DESCRIPTOR.fields_by_name[field]
    return next(one for one in oneof.fields if bool(one.enum_type) == is_word)


def number_of(enum: Any, word: object) -> int:
    """Returns the number of a word. Raises UnknownValueError if the enum does not have it."""
    known = words(enum)
    if not isinstance(word, str) or word not in known:
        raise UnknownValueError(f"{word!r} is not one of {', '.join(known)}")
    return known[word]


def word_of(enum: Any, number: int) -> str:
    """Returns the word of a number. Raises UnknownValueError if the enum does not have it."""
    for word, known in words(enum).items():
        if known == number:
            return word
    raise UnknownValueError(f"{number} is not one that this version knows")


def words(enum: Any) -> dict[str, int]:
    """Returns the numbers of all values but the unspecified one, by lower-case name without the common prefix."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}
