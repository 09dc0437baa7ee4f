"""Requests of more fields than anybody needs are refused before they are read."""

import pytest
from google.protobuf.descriptor import Descriptor
from vramd_proto.v1 import inference_pb2
from vramd_supervisor.domain.errors import RefusedError
from vramd_supervisor.services.field_count import MOST_FIELDS, check

CHAT, GENERATE, EMBED = (
    inference_pb2.ChatRequest.DESCRIPTOR,
    inference_pb2.GenerateRequest.DESCRIPTOR,
    inference_pb2.EmbedRequest.DESCRIPTOR,
)


def field_of(raw: bytes, kind: Descriptor) -> str:
    with pytest.raises(RefusedError) as caught:
        check(raw, kind)
    assert str(MOST_FIELDS) in str(caught.value)
    return caught.value.refusal.metadata["field"]


def chat(turns: int, parts: int = 1, text: str = "hello") -> bytes:
    message = inference_pb2.ChatMessage(role="user", parts=[inference_pb2.ContentPart(text=text)] * parts)
    return inference_pb2.ChatRequest(model="m", messages=[message] * turns).SerializeToString()


def test_empty_messages_and_parts_are_counted_wherever_they_lie() -> None:
    assert field_of(b"\x12\x00" * 600_000, CHAT) == "messages"
    assert field_of(chat(1, 100_000, ""), CHAT) == "messages"
    assert (
        field_of(inference_pb2.EmbedRequest(inputs=[inference_pb2.EmbedInput()] * 70_000).SerializeToString(), EMBED)
        == "inputs"
    )
    stops = inference_pb2.GenerateRequest(limits=inference_pb2.Limits(stop=[""] * 70_000)).SerializeToString()
    assert field_of(stops, GENERATE) == "limits"


def test_what_nobody_knows_counts_too() -> None:
    assert field_of(b"\xf8\x06\x01" * 70_000, CHAT) == "request"
    assert field_of(b"\xf3\x06\xf4\x06" * 70_000, CHAT) == "request"


def test_long_texts_and_long_talks_pass() -> None:
    check(chat(1, text="x" * 8_000_000), CHAT)
    check(chat(16_000), CHAT)
    check(
        inference_pb2.DetokenizeRequest(token_ids=range(1 << 20)).SerializeToString(),
        inference_pb2.DetokenizeRequest.DESCRIPTOR,
    )


def test_what_cannot_be_read_is_left_to_the_reader() -> None:
    for junk in (b"\xff" * 300_000, b"\x0a\xff\xff\xff\xff\x0f" + b"a" * 200_000, b"\x12\x05" * 65_600):
        try:
            check(junk, CHAT)
        except RefusedError:
            continue
