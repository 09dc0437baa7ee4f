"""Any message: the validators answer or refuse, and the SDK reads any reply."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from support.message_strategies import messages
from vramd import calls
from vramd.errors import Internal
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2
from vramd_supervisor.domain.errors import RefusedError
from vramd_supervisor.services import messages as public
from vramd_supervisor.services import validation

WORDS = ("talker", "user", "host")
SHORT, LONG = 30, 3000
EXAMPLES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
"""The short form is the same at each run, the long one is not."""
REPLIES = {name: method for name, method in vars(calls).items() if isinstance(method, calls.Method)}

VALIDATORS: dict[type[Message], Callable[[Any], object]] = {
    inference_pb2.GenerateRequest: validation.generate,
    inference_pb2.ChatRequest: validation.chat,
    inference_pb2.EmbedRequest: validation.embed,
    inference_pb2.TokenizeRequest: validation.tokenize,
    inference_pb2.DetokenizeRequest: validation.detokenize,
    load_pb2.LoadOptions: validation.load_options,
    supervisor_pb2.ReserveMemoryRequest: lambda request: validation.reservation(request, {"host", "gpu0"}),
    model_pb2.SelectModelRequest: public.wish,
}


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("kind", VALIDATORS, ids=lambda kind: kind.DESCRIPTOR.name)
def test_a_validator_takes_or_refuses_any_request(kind: type[Message], examples: int) -> None:
    @settings(max_examples=examples, derandomize=examples == SHORT, database=None)
    @given(messages(kind.DESCRIPTOR, WORDS))
    def check(request: Message) -> None:
        try:
            VALIDATORS[kind](request)
        except RefusedError as error:
            assert str(error.refusal.message)

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("method", REPLIES.values(), ids=REPLIES)
def test_any_reply_is_read(method: "calls.Method[Any]", examples: int) -> None:
    @settings(max_examples=examples, derandomize=examples == SHORT, database=None)
    @given(
        st.one_of(messages(method.reply.DESCRIPTOR, WORDS).map(lambda reply: reply.SerializeToString()), st.binary())
    )
    def check(raw: bytes) -> None:
        try:
            method().read(raw)
        except Internal as error:
            assert "cannot be read" in error.message

    check()
