"""Refusals: a canonical status with exactly one ErrorInfo of ours, whatever the call was."""

from collections.abc import Callable

import grpc
import pytest
from support.wire import BOUND_S, Caller, Refused, parts, question, refused
from vramd_common.reasons import DOMAIN, Reason
from vramd_common.rendezvous import TOKEN_KEY
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

MIB = 1024 * 1024


def get(caller: Caller, model: str) -> object:
    return caller.models.GetModel(model_pb2.GetModelRequest(model=model))


def chat(caller: Caller, request: inference_pb2.ChatRequest) -> object:
    return list(caller.inference.Chat(request))


def hot(caller: Caller) -> object:
    sampling = inference_pb2.Sampling(temperature=float("nan"))
    return chat(caller, inference_pb2.ChatRequest(model="talker", messages=question(), sampling=sampling))


def unload(caller: Caller) -> object:
    return caller.models.UnloadModel(model_pb2.UnloadModelRequest(model="unused"))


def logs(caller: Caller) -> object:
    return list(caller.supervisor.TailLogs(supervisor_pb2.TailLogsRequest(model="nobody")))


def hold(caller: Caller) -> object:
    return list(caller.supervisor.HoldModel(supervisor_pb2.HoldModelRequest(model="nobody")))


def embed(caller: Caller) -> object:
    request = inference_pb2.EmbedRequest(model="talker", inputs=[inference_pb2.EmbedInput(parts=parts(""))])
    return caller.inference.Embed(request)


def reserve(caller: Caller, **changed: str | float) -> object:
    request = supervisor_pb2.ReserveMemoryRequest(device="card", size_bytes=1, ttl_s=60)
    for field, value in changed.items():
        setattr(request, field, value)
    return caller.supervisor.ReserveMemory(request)


def decisions(caller: Caller) -> object:
    return caller.supervisor.ListDecisions(supervisor_pb2.ListDecisionsRequest(limit=20_000))


def many_messages(caller: Caller) -> object:
    turns = [inference_pb2.ChatMessage()] * 600_000
    return chat(caller, inference_pb2.ChatRequest(model="talker", messages=turns))


def many_tokens(caller: Caller) -> object:
    request = inference_pb2.DetokenizeRequest(model="talker", token_ids=[1] * ((1 << 20) + 1))
    return caller.inference.Detokenize(request)


def heavy_penalty(caller: Caller) -> object:
    sampling = inference_pb2.Sampling(repeat_penalty=1e-38)
    return chat(caller, inference_pb2.ChatRequest(model="talker", messages=question(), sampling=sampling))


CALLS: dict[str, tuple[Reason, Callable[[Caller], object]]] = {
    "unary, unknown model": (Reason.MODEL_NOT_FOUND, lambda caller: get(caller, "nobody")),
    "unary, empty field": (Reason.FIELD_INVALID, lambda caller: get(caller, "")),
    "stream, unknown model": (Reason.MODEL_NOT_FOUND, logs),
    "stream, no messages": (Reason.FIELD_INVALID, lambda caller: chat(caller, inference_pb2.ChatRequest(model="m"))),
    "stream, not a number": (Reason.FIELD_INVALID, hot),
    "more messages than anybody says": (Reason.FIELD_INVALID, many_messages),
    "more tokens than any text has": (Reason.FIELD_INVALID, many_tokens),
    "more records than anybody reads": (Reason.FIELD_INVALID, decisions),
    "a penalty that no number can hold": (Reason.FIELD_INVALID, heavy_penalty),
    "nothing to unload": (Reason.MODEL_NOT_LOADED, unload),
    "a hold on nobody": (Reason.MODEL_NOT_FOUND, hold),
    "nothing to embed": (Reason.FIELD_INVALID, embed),
    "no such device": (Reason.FIELD_INVALID, lambda caller: reserve(caller, device="gpu7")),
    "no bytes": (Reason.FIELD_INVALID, lambda caller: reserve(caller, size_bytes=0)),
    "no time": (Reason.FIELD_INVALID, lambda caller: reserve(caller, ttl_s=0)),
    "time without end": (Reason.FIELD_INVALID, lambda caller: reserve(caller, ttl_s=float("inf"))),
    "time that is no number": (Reason.FIELD_INVALID, lambda caller: reserve(caller, ttl_s=float("nan"))),
    "a label of two lines": (Reason.FIELD_INVALID, lambda caller: reserve(caller, label="a\nb")),
    "more than the device has": (Reason.RESERVATION_TOO_LARGE, lambda caller: reserve(caller, size_bytes=9 << 30)),
    "a name of many bytes": (Reason.MODEL_NOT_FOUND, lambda caller: get(caller, "\N{SNOWMAN}" * 512)),
}


def check(answer: Refused, reason: Reason) -> None:
    meaning = reason.value
    assert [(info.domain, info.reason) for info in answer.infos] == [(DOMAIN, reason.name)]
    assert set(meaning.metadata) <= set(answer.infos[0].metadata)
    assert answer.code == meaning.code
    assert answer.message == answer.status.message != ""
    assert len(answer.retries) == (meaning.retry_after_s is not None)
    assert answer.details_bytes < 4096
    wrong = [one.field_violations[0].field for one in answer.wrong]
    assert wrong == ([answer.infos[0].metadata["field"]] if reason is Reason.FIELD_INVALID else [])


@pytest.mark.parametrize("what", CALLS)
def test_a_refusal_is_one_error_info(caller: Caller, what: str) -> None:
    reason, call = CALLS[what]
    check(refused(lambda: call(caller)), reason)


SERVICES = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (inference_pb2, "InferenceService"),
        (model_pb2, "ModelService"),
        (supervisor_pb2, "SupervisorService"),
    )
]
METHODS = [f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods]


@pytest.mark.parametrize("method", METHODS)
def test_junk_is_refused_by_every_method(caller: Caller, method: str) -> None:
    ask: grpc.UnaryStreamMultiCallable[bytes, bytes] = caller.channel.unary_stream(method)
    check(
        refused(lambda: list(ask(b"\xff" * 50, metadata=caller.metadata, timeout=BOUND_S))), Reason.REQUEST_UNREADABLE
    )


TOKENS = {
    "none": ((), Reason.TOKEN_MISSING),
    "another": (((TOKEN_KEY, "Bearer another"),), Reason.TOKEN_INVALID),
    "no bearer": (((TOKEN_KEY, "another"),), Reason.TOKEN_INVALID),
    "empty": (((TOKEN_KEY, ""),), Reason.TOKEN_INVALID),
}


@pytest.mark.parametrize("token", TOKENS)
def test_every_service_asks_for_the_token(caller: Caller, token: str) -> None:
    metadata, reason = TOKENS[token]
    caller.metadata = metadata
    check(refused(lambda: get(caller, "talker")), reason)
    check(refused(lambda: hot(caller)), reason)
    request = supervisor_pb2.GetStatusRequest()
    check(refused(lambda: caller.supervisor.GetStatus(request)), reason)


def test_a_field_is_named_with_its_whole_path(caller: Caller) -> None:
    scheduling = load_pb2.Scheduling(priority=99)  # type: ignore[arg-type]  # of a later contract
    request = inference_pb2.ChatRequest(model="talker", messages=question(), scheduling=scheduling)
    assert refused(lambda: chat(caller, request)).infos[0].metadata["field"] == "scheduling.priority"
    update = model_pb2.UpdateModelRequest(model="talker", priority=99)  # type: ignore[arg-type]
    answer = refused(lambda: caller.models.UpdateModel(update))
    assert answer.infos[0].metadata["field"] == "priority"


def generate(caller: Caller, prompt: str) -> Refused:
    request = inference_pb2.GenerateRequest(model="talker", prompt=parts(prompt))
    return refused(lambda: list(caller.inference.Generate(request)))


def test_five_megabytes_pass_to_the_model(caller: Caller) -> None:
    """A context that holds them is nobody's, so the model itself says so, with the numbers."""
    answer = generate(caller, "word " * (5 * MIB // 5))
    check(answer, Reason.CONTEXT_OVERFLOW)
    metadata = answer.infos[0].metadata
    assert int(metadata["promptTokens"]) > int(metadata["contextTokens"])


def test_nine_mebibytes_are_too_many(caller: Caller) -> None:
    answer = generate(caller, "x" * (9 * MIB))
    check(answer, Reason.PROMPT_TOO_LARGE)
    metadata = answer.infos[0].metadata
    assert int(metadata["bytes"]) > 9 * MIB > int(metadata["limitBytes"])


def test_after_a_refusal_the_channel_goes_on(caller: Caller) -> None:
    generate(caller, "x" * (9 * MIB))
    assert get(caller, "talker")
