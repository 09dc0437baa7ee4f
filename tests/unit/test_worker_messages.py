"""Requests become the engine's values, and errors become statuses within their bounds."""

from dataclasses import fields

import pytest
from vramd_common import wire_values
from vramd_common.load_settings import Settings
from vramd_common.reasons import Reason
from vramd_common.replay import CUTS_KEY
from vramd_common.sampling import Sampling
from vramd_common.statuses import unpack
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import inference_pb2, load_pb2
from vramd_worker import translate
from vramd_worker.engine import Cut, DeviceMemory, EngineError, Finish, FinishReason, Job, Loaded, Message, Piece
from vramd_worker.llama import LlamaSpec
from vramd_worker.service_worker import incident, refusal
from vramd_worker.simulated import Fault, SimulatedSpec


def parts(*texts: str) -> list[inference_pb2.ContentPart]:
    return [inference_pb2.ContentPart(text=text) for text in texts]


def test_what_is_not_set_takes_the_defaults() -> None:
    request = inference_pb2.GenerateRequest(prompt=parts("a", "b"))
    assert translate.generate_job(worker_pb2.WorkerGenerateRequest(request=request)) == Job("ab")


def test_every_setting_arrives_also_where_it_is_zero() -> None:
    sampling = inference_pb2.Sampling(
        temperature=0,
        top_p=0.5,
        top_k=0,
        min_p=0,
        repeat_penalty=1.5,
        frequency_penalty=-1,
        presence_penalty=1,
        penalty_last_tokens=0,
        seed=0,
    )
    limits = inference_pb2.Limits(max_tokens=7, stop=["x", "y"], max_tokens_per_s=2.5)
    request = inference_pb2.ChatRequest(
        messages=[
            inference_pb2.ChatMessage(role="system", parts=parts("be ", "brief")),
            inference_pb2.ChatMessage(role="user", parts=parts("hi")),
        ],
        sampling=sampling,
        limits=limits,
        session="tea",
        cache=inference_pb2.PROMPT_CACHE_SHARED,
    )
    wanted = worker_pb2.WorkerChatRequest(request=request, drawn_seed=7, resume_token_ids=[3, 1], scope="mine")
    assert translate.chat_job(wanted) == Job(
        (Message("system", "be brief"), Message("user", "hi")),
        Sampling(0, 0.5, 0, 0, 1.5, -1, 1, 0, 0),
        max_tokens=7,
        stop=("x", "y"),
        max_tokens_per_s=2.5,
        drawn_seed=7,
        resume=(3, 1),
        session="tea",
        scope="mine",
        shared=True,
    )


def test_how_a_prompt_was_cut_goes_out_and_comes_back() -> None:
    cuts = (Cut(64, 64, 3), Cut(20, 64), Cut(1, 1, 30))
    ((key, told),) = translate.cuts_metadata(cuts)
    assert key == CUTS_KEY
    request = worker_pb2.WorkerChatRequest(resume_cuts=worker_pb2.WorkerCuts.FromString(told))
    assert translate.chat_job(request).resume_cuts == cuts


def test_a_piece_becomes_a_message_of_either_kind() -> None:
    last = Piece("end", (1, 2), Finish(FinishReason.LENGTH, 3, 4, 0.5, 1.5, 2))
    usage = inference_pb2.Usage(
        prompt_tokens=3, completion_tokens=4, prompt_s=0.5, generation_s=1.5, cached_prompt_tokens=2
    )
    finish = inference_pb2.Finish(reason=inference_pb2.FINISH_REASON_LENGTH, usage=usage)
    assert translate.generate_response(last) == inference_pb2.GenerateResponse(
        text="end", token_ids=[1, 2], finish=finish
    )
    assert translate.chat_response(last) == inference_pb2.ChatResponse(text="end", token_ids=[1, 2], finish=finish)
    assert not translate.chat_response(Piece("a", (1,))).HasField("finish")


def test_each_engine_gets_what_it_is_loaded_with() -> None:
    simulated = worker_pb2.SimulatedModel(
        allocate_bytes=1, load_s=2, tokens_per_s=3, manners=["oom", "bug"], context_tokens=4, parallel=5
    )
    assert translate.spec(worker_pb2.WorkerLoadRequest(simulated=simulated)) == SimulatedSpec(
        1, 2, 3, frozenset({Fault.OOM, Fault.BUG}), 4, 5
    )
    settings = Settings(1, 2, "gpu0", -1, 3, "q8_0", 4, 5, "off", 6, True, True, (("gpu0", 0.25), ("gpu1", 0.75)))
    llama = worker_pb2.LlamaModel(
        path="p",
        settings=wire_values.filled(load_pb2.Settings(), settings),
        devices=["CUDA0", "CUDA1"],
        split=[0.25, 0.75],
        environment={"CUDA_VISIBLE_DEVICES": "u,v"},
        warm_up_batch=True,
        warm_prompt="Be brief.",
        stream_gap_s=0.25,
    )
    assert translate.spec(worker_pb2.WorkerLoadRequest(llama=llama)) == LlamaSpec(
        **{one.name: getattr(settings, one.name) for one in fields(settings)},
        path="p",
        device_names=("CUDA0", "CUDA1"),
        environment={"CUDA_VISIBLE_DEVICES": "u,v"},
        warm_up_batch=True,
        warm_prompt="Be brief.",
        stream_gap_s=0.25,
    )


def test_one_device_takes_all() -> None:
    settings = Settings(1, 2, "host", 0, 3, "f16", 4)
    sent = worker_pb2.LlamaModel(path="p", settings=wire_values.filled(load_pb2.Settings(), settings))
    told = translate.spec(worker_pb2.WorkerLoadRequest(llama=sent))
    assert told == LlamaSpec(**{one.name: getattr(settings, one.name) for one in fields(settings)}, path="p")


def test_a_load_tells_what_its_engine_counted() -> None:
    counted = (DeviceMemory("", 1, 2, 3), DeviceMemory("CUDA0", 4, 5, 6))
    told = translate.loaded(Loaded(7, counted)).loaded
    assert [(one.device, one.weights_bytes, one.context_bytes, one.compute_bytes) for one in told.memory] == [
        ("", 1, 2, 3),
        ("CUDA0", 4, 5, 6),
    ]
    assert not translate.loaded(Loaded(7)).loaded.memory


@pytest.mark.parametrize(
    "request_",
    [
        worker_pb2.WorkerLoadRequest(),
        worker_pb2.WorkerLoadRequest(simulated=worker_pb2.SimulatedModel(manners=["polite"])),
    ],
)
def test_a_load_of_nothing_we_know_is_a_fault(request_: worker_pb2.WorkerLoadRequest) -> None:
    with pytest.raises(ValueError, match=r"engine|polite"):
        translate.spec(request_)


def test_an_incident_tells_the_log_and_not_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise KeyError("a secret path")
    except KeyError as fault:
        error = incident(fault)
    assert "secret" not in str(error)
    printed = capsys.readouterr().err
    assert "KeyError: 'a secret path'" in printed
    assert f"incident {error.metadata['incidentId']}" in printed


def test_the_model_is_added_where_the_table_names_it() -> None:
    told = unpack(refusal(EngineError(Reason.EMBEDDING_UNSUPPORTED, ""), "m").details)
    assert told
    assert told.metadata == {"model": "m"}
    told = unpack(refusal(EngineError(Reason.FIELD_INVALID, "", field="f"), "m").details)
    assert told
    assert told.metadata == {"field": "f"}
