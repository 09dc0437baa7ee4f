"""Where the time of a call went: what travels in the trailing metadata."""

import json

import pytest
from vramd_common.timeline import KEY, PHASES, Told, pack, unpack
from vramd_proto.v1 import inference_pb2
from vramd_supervisor.services import service_inference


def test_what_is_packed_is_unpacked() -> None:
    told = Told("talker", 3, {phase: place + 0.25 for place, phase in enumerate(PHASES)}, cached_prompt_tokens=7)
    assert unpack(pack(told)) == told


def test_only_what_happened_is_told_in_the_order_in_which_it_came() -> None:
    value = pack(Told("talker", 3, {"decode_s": 1.5, "queued_s": 0.123456789, "slept_s": 9}))
    assert value == '{"queued_s":0.123457,"decode_s":1.5,"model":"talker","worker_id":3}'


@pytest.mark.parametrize("model", ["дом", "\U0001f600" * 512, "a\tb\x7f\r\n", "\udcff", ' "quoted" '])
def test_any_model_travels_as_printable_ascii(model: str) -> None:
    value = pack(Told(model, 1, {}))
    assert all(" " <= character <= "~" for character in value)
    assert len(value) < 8000
    told = unpack(value)
    assert told is not None
    assert told.model == model


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "7",
        "null",
        "[]",
        '"queued_s"',
        "{}",
        '{"model":"a"}',
        '{"model":"a","worker_id":"x"}',
        '{"model":"a","worker_id":1,"queued_s":"long"}',
    ],
)
def test_what_is_no_timeline_is_none(value: str) -> None:
    assert unpack(value) is None


def test_phases_of_a_newer_supervisor_are_left_out() -> None:
    told = unpack('{"dreamed_s":1,"queued_s":2,"model":"a","worker_id":1}')
    assert told == Told("a", 1, {"queued_s": 2.0})


def test_the_trailing_metadata_of_a_call() -> None:
    [(key, value)] = service_inference.trailing(Told("talker", 3, {"queued_s": 0.5, "loaded_s": 2.0, "prompt_s": 0.25}))
    assert key == KEY
    assert json.loads(value) == {
        "queued_s": 0.5,
        "loaded_s": 2.0,
        "prompt_s": 0.25,
        "model": "talker",
        "worker_id": 3,
    }


@pytest.mark.parametrize("kind", [inference_pb2.GenerateResponse, inference_pb2.ChatResponse])
def test_the_last_message_of_an_answer_tells_what_the_worker_took(
    kind: type[inference_pb2.GenerateResponse | inference_pb2.ChatResponse],
) -> None:
    usage = inference_pb2.Usage(
        prompt_tokens=5, completion_tokens=2, prompt_s=0.5, generation_s=1.5, cached_prompt_tokens=3
    )
    last = kind(text="end", token_ids=[1, 2], finish=inference_pb2.Finish(usage=usage))
    assert service_inference.generated(last.SerializeToString()) == ({"prompt_s": 0.5, "decode_s": 1.5}, 3)
    assert service_inference.generated(kind(text="middle", token_ids=[1]).SerializeToString()) == ({}, 0)
    assert service_inference.generated(b"") == ({}, 0)
