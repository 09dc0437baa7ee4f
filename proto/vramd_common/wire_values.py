"""Between a message's fields and plain values, by name: a word stands for a value of an enum. Pure."""

from typing import Any, TypeVar

from google.protobuf.message import Message

AnyMessage = TypeVar("AnyMessage", bound=Message)


class UnknownValueError(ValueError):
    """A word or number that an enum does not have."""


def put(message: Message, field: str, value: object) -> None:
    """Sets a field. Raises UnknownValueError for an unknown word, TypeError and ValueError as protobuf does."""
    if field in message.DESCRIPTOR.oneofs_by_name and isinstance(value, str) and value.removeprefix("-").isdecimal():
        value = int(value)
    target = carrier(message, field, isinstance(value, str))
    setattr(message, target.name, number_of(target.enum_type, value) if target.enum_type else value)


def get(message: Message, field: str) -> Any:
    """The value of a field; None where it is not set. Raises UnknownValueError for a number of a newer version."""
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
    """The message with each of its fields as the value's attribute of that name says."""
    for target in message.DESCRIPTOR.fields:
        found = getattr(value, target.name)
        if target.is_repeated:
            getattr(message, target.name).extend(found)
        else:
            put(message, target.name, found)
    return message


def carrier(message: Message, field: str, is_word: bool) -> Any:
    """The field that carries a value; of a oneof by this name the one for words, or the one for numbers."""
    oneof = message.DESCRIPTOR.oneofs_by_name.get(field)
    if oneof is None:
        return message.DESCRIPTOR.fields_by_name[field]
    return next(one for one in oneof.fields if bool(one.enum_type) == is_word)


def number_of(enum: Any, word: object) -> int:
    """Raises UnknownValueError for a word that the enum does not have."""
    known = words(enum)
    if not isinstance(word, str) or word not in known:
        raise UnknownValueError(f"{word!r} is not one of {', '.join(known)}")
    return known[word]


def word_of(enum: Any, number: int) -> str:
    """Raises UnknownValueError for a number that the enum does not have."""
    for word, known in words(enum).items():
        if known == number:
            return word
    raise UnknownValueError(f"{number} is not one that this version knows")


def words(enum: Any) -> dict[str, int]:
    """Every value but the unspecified one, by its name without what all names begin with, in small letters."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}
