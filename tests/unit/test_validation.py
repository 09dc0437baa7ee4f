"""The edge: every field that is wrong is told, at once and within bounds."""

from collections.abc import Callable

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from vramd_common.reasons import Reason
from vramd_common.statuses import pack, unpack
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2
from vramd_supervisor.domain.errors import RefusedError
from vramd_supervisor.services import validation

NAN = float("nan")
NEWER = 99
"""A value of an enum that only a newer version knows."""


def fields(check: Callable[[], object]) -> list[str]:
    with pytest.raises(RefusedError) as caught:
        check()
    refusal = caught.value.refusal
    assert refusal.reason is Reason.FIELD_INVALID
    assert refusal.metadata == {"field": refusal.violations[0].field}
    assert all(f"{field}: {problem}" in refusal.message for field, problem in refusal.violations)
    return [field for field, _ in refusal.violations]


def test_every_wrong_field_of_a_request_is_told_at_once() -> None:
    request = inference_pb2.ChatRequest(
        messages=[inference_pb2.ChatMessage(role="a\nb", parts=[inference_pb2.ContentPart()])],
        sampling=inference_pb2.Sampling(temperature=NAN, top_p=2, repeat_penalty=0),
        limits=inference_pb2.Limits(max_tokens=0, stop=["x", ""], max_tokens_per_s=float("inf")),
        load=load_pb2.LoadOptions(context_tokens=0, kv_type=NEWER, threads=100_000),  # type: ignore[arg-type]
        scheduling=load_pb2.Scheduling(priority=NEWER, prefer=NEWER, on_crash=NEWER),  # type: ignore[arg-type]
    )
    assert fields(lambda: validation.chat(request)) == [
        "model",
        "load.kv_type",
        "load.context_tokens",
        "load.threads",
        "scheduling.priority",
        "scheduling.prefer",
        "scheduling.on_crash",
        "messages[0].role",
        "messages[0].parts[0]",
        "sampling.temperature",
        "sampling.top_p",
        "sampling.repeat_penalty",
        "limits.max_tokens",
        "limits.max_tokens_per_s",
        "limits.stop[1]",
    ]


@pytest.mark.parametrize("session", ["x" * 65, "tea\n"])
def test_a_conversation_has_a_name_and_a_known_cache(session: str) -> None:
    prompt = [inference_pb2.ContentPart(text="x")]
    request = inference_pb2.GenerateRequest(model="m", prompt=prompt, session=session, cache=NEWER)  # type: ignore[arg-type]
    assert fields(lambda: validation.generate(request)) == ["session", "cache"]


def select(**given: object) -> Callable[[], object]:
    return lambda: validation.wish(model_pb2.SelectModelRequest(**given))  # type: ignore[arg-type]


def reserve(**given: object) -> Callable[[], object]:
    request = supervisor_pb2.ReserveMemoryRequest(**given)  # type: ignore[arg-type]
    return lambda: validation.reservation(request, ("host",))


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (select(task="", role="\x1b", prefer=NEWER), ["task", "role", "prefer"]),
        (reserve(device="x", ttl_s=NAN, label="\n"), ["device", "size_bytes", "ttl_s", "label"]),
        (reserve(device="host", size_bytes=1, ttl_s=-1.0), ["ttl_s"]),
        (
            lambda: validation.changes(
                model_pb2.UpdateModelRequest(keep_alive_s=-2, priority=NEWER)  # type: ignore[arg-type]
            ),
            ["model", "keep_alive_s", "priority"],
        ),
        (lambda: validation.load("", load_pb2.LoadOptions(parallel=0), "\t"), ["model", "load.parallel", "label"]),
        (lambda: validation.listed("x" * 513, 5001), ["model", "limit"]),
        (
            lambda: validation.kinds(
                supervisor_pb2.WatchEventsRequest(kinds=[supervisor_pb2.EVENT_KIND_MODEL, NEWER])  # type: ignore[list-item]
            ),
            ["kinds[1]"],
        ),
        (lambda: validation.embed(inference_pb2.EmbedRequest(model="m")), ["inputs"]),
        (lambda: validation.detokenize(inference_pb2.DetokenizeRequest(model="m", token_ids=[-1])), ["token_ids"]),
    ],
)
def test_other_requests(check: Callable[[], object], wrong: list[str]) -> None:
    assert fields(check) == wrong


def test_what_is_right_is_let_through() -> None:
    turns = [inference_pb2.ChatMessage(role="user", parts=[inference_pb2.ContentPart(text="")])]
    validation.chat(inference_pb2.ChatRequest(model="m", messages=turns))
    validation.kinds(supervisor_pb2.WatchEventsRequest(kinds=supervisor_pb2.EventKind.values()))
    select(task="code", prefer=load_pb2.PREFER_LIGHT_NOW)()
    reserve(device="host", size_bytes=1, ttl_s=1.0)()


def test_of_very_many_some_are_told() -> None:
    request = inference_pb2.ChatRequest(model="m", messages=[inference_pb2.ChatMessage()] * 100_000)
    assert len(fields(lambda: validation.chat(request))) == 16


def unpacked(detail: AnyMessage) -> BadRequest | ErrorInfo:
    wrong, info = BadRequest(), ErrorInfo()
    if detail.Unpack(wrong):
        return wrong
    assert detail.Unpack(info)
    return info


@pytest.mark.parametrize("letter", ["x", "\N{SNOWMAN}", "\x1b"])
def test_the_details_name_the_fields_and_stay_small(letter: str) -> None:
    violations = [(f"{letter * 300}[{place}]", letter * 3000) for place in range(16)]
    packed = pack(Reason.FIELD_INVALID, letter * 30_000, {"field": letter * 3000}, violations=violations)
    assert len(packed.details) <= 4096
    info, wrong = map(unpacked, Status.FromString(packed.details).details)
    assert isinstance(info, ErrorInfo)
    assert isinstance(wrong, BadRequest)
    assert wrong.field_violations
    told = unpack(packed.details)
    assert told
    assert told.reason == "FIELD_INVALID"


def test_short_ones_come_whole() -> None:
    violations = [("a", "is wrong"), ("b[1].c", "is wrong too")]
    packed = pack(Reason.FIELD_INVALID, "a: is wrong", {"field": "a"}, violations=violations)
    wrong = unpacked(Status.FromString(packed.details).details[1])
    assert isinstance(wrong, BadRequest)
    assert [(one.field, one.description) for one in wrong.field_violations] == violations


def test_one_field_in_the_metadata_is_enough() -> None:
    packed = pack(Reason.FIELD_INVALID, "a: is wrong", {"field": "a"})
    wrong = unpacked(Status.FromString(packed.details).details[1])
    assert isinstance(wrong, BadRequest)
    assert [(one.field, one.description) for one in wrong.field_violations] == [("a", "is wrong")]
