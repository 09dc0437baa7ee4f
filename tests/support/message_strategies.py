"""Any message of the wire, for hypothesis: each field at its limits, beyond them, or with something that is known."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

METHODS: Mapping[str, MethodDescriptor] = {
    f"{service.full_name}/{method.name}": method
    for file in (inference_pb2, model_pb2, supervisor_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Every public method, by Service/Method."""

ODD_TEXTS = (
    "",
    " ",
    "\0",
    "\n",
    "a" * 600,
    "../../etc/passwd",
    "task:",
    "task:chat",
    "\N{RIGHT-TO-LEFT OVERRIDE}x",
    "host",
)
_MOST_REPEATED = 3
_MOST_DEEP = 4

_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
}
_NUMBERS = (float("nan"), float("inf"), float("-inf"), -1.0, -0.0, 0.0, 1e-45, 0.5, 1.0, 2.0, 1e9, 3e38)


@cache
def messages(descriptor: Descriptor, words: tuple[str, ...], depth: int = 0) -> "st.SearchStrategy[Any]":
    """Any message of this kind; of its texts about half are among `words`."""
    fields = list(descriptor.fields)
    chosen = st.lists(st.sampled_from(fields), unique_by=lambda field: field.name) if fields else st.just([])

    @st.composite
    def filled(draw: st.DrawFn) -> Message:
        message: Message = GetMessageClass(descriptor)()
        for field in draw(chosen):
            _fill(draw, message, field, words, depth)
        return message

    return filled()


def raw(descriptor: Descriptor, words: tuple[str, ...]) -> "st.SearchStrategy[bytes]":
    """Bytes of a message, sometimes cut off or with something behind it."""
    whole = messages(descriptor, words).map(lambda message: message.SerializeToString())
    return st.one_of(whole, whole, whole, st.builds(_broken, whole, st.integers(0, 1 << 16), st.binary(max_size=8)))


def _broken(whole: bytes, place: int, further: bytes) -> bytes:
    return whole[: place % (len(whole) + 1)] + further


def _fill(draw: st.DrawFn, message: Any, field: FieldDescriptor, words: tuple[str, ...], depth: int) -> None:
    if field.message_type and depth >= _MOST_DEEP:
        return
    if field.message_type and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        getattr(message, field.name)[draw(_scalars(key, words))] = draw(_scalars(value, words))
    elif field.message_type:
        inner = messages(field.message_type, words, depth + 1)
        if field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(inner, max_size=_MOST_REPEATED)))
        else:
            getattr(message, field.name).CopyFrom(draw(inner))
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(_scalars(field, words), max_size=_MOST_REPEATED)))
    else:
        setattr(message, field.name, draw(_scalars(field, words)))


@cache
def _scalars(field: FieldDescriptor, words: tuple[str, ...]) -> "st.SearchStrategy[Any]":
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=64)
        return st.one_of(st.sampled_from(words), st.sampled_from(ODD_TEXTS), st.text(max_size=20))
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        any_number = st.floats(width=32) if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT else st.floats()
        return st.one_of(st.sampled_from(_NUMBERS), any_number)
    if field.enum_type:
        return st.one_of(st.sampled_from([value.number for value in field.enum_type.values]), st.sampled_from([-1, 99]))
    least, most = _BITS[field.cpp_type]
    return st.one_of(st.sampled_from([least, 0, 1, 2, 16, 256, 4096, most]), st.integers(least, most))
