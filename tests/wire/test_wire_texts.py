"""Every text of every request has a bound: what is too long, or would forge a line, is refused in few words."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from support.wire import Caller, parts, question, refused
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

CONTENT = {"text"}
"""What a model reads: as long as a request may be, and any text."""
SERVICES = {
    "inference": inference_pb2.DESCRIPTOR.services_by_name["InferenceService"],
    "models": model_pb2.DESCRIPTOR.services_by_name["ModelService"],
    "supervisor": supervisor_pb2.DESCRIPTOR.services_by_name["SupervisorService"],
}
KNOWN = {
    "model": "talker",
    "task": "dialogue",
    "device": "card",
    "messages": question(),
    "prompt": parts("x"),
    "inputs": [inference_pb2.EmbedInput(parts=parts("x"))],
    "size_bytes": 1,
    "ttl_s": 1.0,
}
"""With which a request is a good one."""


def texts(message: Descriptor, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING and field.name not in CONTENT:
            yield (*path, field.name)
        elif field.message_type is not None and field.name not in path:
            yield from texts(field.message_type, (*path, field.name))


ALL = [
    (service, method.name, path)
    for service, descriptor in SERVICES.items()
    for method in descriptor.methods
    for path in texts(method.input_type)
]


def put(message: Message, path: tuple[str, ...], text: str) -> None:
    name, *further = path
    held = getattr(message, name)
    if further:
        put(held if isinstance(held, Message) else (held[0] if held else held.add()), tuple(further), text)
    elif isinstance(held, str):
        setattr(message, name, text)
    else:
        held.append(text)


@pytest.mark.parametrize(("service", "method", "path"), ALL, ids=[f"{one[1]}.{'.'.join(one[2])}" for one in ALL])
@pytest.mark.parametrize("text", ["x" * 2_000_000, "gpu9\nforged\x1b[31m" * 100])
def test_a_text_that_is_too_long_is_refused_in_few_words(
    caller: Caller, service: str, method: str, path: tuple[str, ...], text: str
) -> None:
    stub = getattr(caller, service)
    request = GetMessageClass(SERVICES[service].methods_by_name[method].input_type)()
    for name, value in KNOWN.items():
        if (field := request.DESCRIPTOR.fields_by_name.get(name)) is None:
            continue
        if field.is_repeated:
            getattr(request, name).extend(value)
        else:
            setattr(request, name, value)
    put(request, path, text)

    def call() -> object:
        answer = getattr(stub, method)(request)
        return list(answer) if hasattr(answer, "__next__") else answer

    answer = refused(call)
    assert answer.code in ("INVALID_ARGUMENT", "NOT_FOUND")
    assert len(answer.message.encode()) <= 1000
    assert answer.message.isprintable()
    assert "x" * 600 not in answer.message
