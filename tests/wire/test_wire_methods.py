"""Every public method, once, over the generated stubs."""

from collections.abc import Callable

import pytest
from support.wire import BOUND_S, Caller, parts, question, refused
from vramd_common.reasons import Reason
from vramd_common.rendezvous import API
from vramd_proto.v1 import inference_pb2, load_pb2, model_pb2, supervisor_pb2

FEW = inference_pb2.Limits(max_tokens=5)


def generate(caller: Caller) -> None:
    request = inference_pb2.GenerateRequest(model="talker", prompt=parts("Once"), limits=FEW)
    answers = list(caller.inference.Generate(request))
    assert sum(len(answer.token_ids) for answer in answers) == 5
    assert [answer.HasField("finish") for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert answers[-1].finish.reason == inference_pb2.FINISH_REASON_LENGTH
    assert answers[-1].finish.usage.completion_tokens == 5


def chat(caller: Caller) -> None:
    request = inference_pb2.ChatRequest(model="talker", messages=question(), limits=FEW)
    answers = list(caller.inference.Chat(request))
    assert "".join(answer.text for answer in answers).strip()
    assert answers[-1].finish.reason == inference_pb2.FINISH_REASON_LENGTH


def embed(caller: Caller) -> None:
    inputs = [inference_pb2.EmbedInput(parts=parts(text)) for text in ("a cat", "a dog", "a cat")]
    answer = caller.inference.Embed(inference_pb2.EmbedRequest(model="talker", inputs=inputs))
    assert [vector.index for vector in answer.embeddings] == [0, 1, 2]
    assert {len(vector.values) for vector in answer.embeddings} == {answer.dimensions}
    cat, dog, again = (list(vector.values) for vector in answer.embeddings)
    assert cat == again != dog


def tokenize(caller: Caller) -> None:
    request = inference_pb2.TokenizeRequest(model="talker", text="a small cat")
    assert caller.inference.Tokenize(request).token_ids


def detokenize(caller: Caller) -> None:
    request = inference_pb2.GenerateRequest(model="talker", prompt=parts("Once"), limits=FEW)
    answers = list(caller.inference.Generate(request))
    ids = [token for answer in answers for token in answer.token_ids]
    answer = caller.inference.Detokenize(inference_pb2.DetokenizeRequest(model="talker", token_ids=ids))
    assert answer.text == "".join(answer.text for answer in answers)


def list_models(caller: Caller) -> None:
    answer = caller.models.ListModels(model_pb2.ListModelsRequest())
    assert [model.id for model in answer.models] == ["slow", "talker", "unused"]


def get_model(caller: Caller) -> None:
    answer = caller.models.GetModel(model_pb2.GetModelRequest(model="talker"))
    assert (answer.model.id, answer.model.engine) == ("talker", model_pb2.ENGINE_SIMULATED)


def rescan_models(caller: Caller) -> None:
    answer = caller.models.RescanModels(model_pb2.RescanModelsRequest())
    assert (answer.known, list(answer.added), list(answer.removed)) == (3, [], [])


def plan_load(caller: Caller) -> None:
    answer = caller.models.PlanLoad(model_pb2.PlanLoadRequest(model="talker"))
    assert (answer.model, answer.fits, answer.quote.source) == ("talker", True, model_pb2.QUOTE_SOURCE_DECLARED)
    assert answer.verdict in {model_pb2.PLAN_VERDICT_BEGINS, model_pb2.PLAN_VERDICT_LOADED}


def select_model(caller: Caller) -> None:
    answer = caller.models.SelectModel(model_pb2.SelectModelRequest(task="dialogue"))
    assert answer.fits
    assert answer.reasons[0] == "made for dialogue: it is simulated"
    assert {answer.model, *(other.model for other in answer.considered)} == {"slow", "talker", "unused"}
    assert all(other.score <= answer.score and other.why_not for other in answer.considered)


def load_model(caller: Caller) -> None:
    answers = list(caller.models.LoadModel(model_pb2.LoadModelRequest(model="talker")))
    assert answers[-1].state == model_pb2.MODEL_STATE_READY
    assert answers[-1].resident.pid
    assert {use.id for use in answers[-1].resident.devices} == {"card", "host"}


def unload_model(caller: Caller) -> None:
    load_model(caller)
    receipt = caller.models.UnloadModel(model_pb2.UnloadModelRequest(model="talker")).receipt
    assert (receipt.model, {device.id for device in receipt.devices}) == ("talker", {"card", "host"})
    assert receipt.pid
    assert (receipt.exit, receipt.message) == (model_pb2.EXIT_ENDED, "ended")


def update_model(caller: Caller) -> None:
    for pinned in (True, False):
        priority = load_pb2.PRIORITY_INTERACTIVE
        request = model_pb2.UpdateModelRequest(model="talker", pinned=pinned, priority=priority)
        answer = caller.models.UpdateModel(request)
        assert (answer.model.id, answer.model.pinned) == ("talker", pinned)


def restart_model(caller: Caller) -> None:
    load_model(caller)
    before = caller.models.GetModel(model_pb2.GetModelRequest(model="talker")).resident
    after = caller.models.RestartModel(model_pb2.RestartModelRequest(model="talker")).resident
    assert after.pid != before.pid
    assert after.worker_id > before.worker_id
    assert after.state == model_pb2.MODEL_STATE_READY


def reset_model(caller: Caller) -> None:
    assert caller.models.ResetModel(model_pb2.ResetModelRequest(model="talker")).model.id == "talker"


def get_status(caller: Caller) -> None:
    answer = caller.supervisor.GetStatus(supervisor_pb2.GetStatusRequest())
    assert answer.supervisor.pid
    assert answer.supervisor.rss_bytes > 1 << 20
    assert answer.supervisor.api == API
    assert {"card", "host"} <= {device.id for device in answer.devices}


def list_devices(caller: Caller) -> None:
    answer = caller.supervisor.ListDevices(supervisor_pb2.ListDevicesRequest())
    card = next(device for device in answer.devices if device.id == "card")
    assert (card.kind, card.total_bytes) == (supervisor_pb2.DEVICE_KIND_VIRTUAL, 8 << 30)


def watch_events(caller: Caller) -> None:
    """One load or unload at least has happened by then, and is remembered from the first event on."""
    load_model(caller)
    unload_model(caller)
    request = supervisor_pb2.WatchEventsRequest(kinds=[supervisor_pb2.EVENT_KIND_MODEL], after_sequence=1)
    stream = caller.supervisor.WatchEvents(request)
    event = next(stream)
    stream.cancel()
    assert event.kind == supervisor_pb2.EVENT_KIND_MODEL
    assert event.WhichOneof("detail") == "model_changed"
    assert event.sequence > 1


def tail_logs(caller: Caller) -> None:
    lines = list(caller.supervisor.TailLogs(supervisor_pb2.TailLogsRequest(lines=50)))
    assert any("serves at" in answer.line for answer in lines)


def hold_model(caller: Caller) -> None:
    """The lease lasts until somebody unloads the model; meanwhile it is told whose it is."""
    stream = caller.supervisor.HoldModel(supervisor_pb2.HoldModelRequest(model="talker", label="game"))
    steps = [next(stream)]
    while steps[-1].state != model_pb2.MODEL_STATE_READY:
        steps.append(next(stream))
    assert all(step.message for step in steps)
    nameless = caller.supervisor.HoldModel(supervisor_pb2.HoldModelRequest(model="talker"))
    next(nameless)
    held = caller.models.GetModel(model_pb2.GetModelRequest(model="talker")).resident
    named, peer = held.holders
    assert named == "game"
    assert "127.0.0.1" in peer
    assert not held.HasField("keep_alive_left_s")
    nameless.cancel()
    assert caller.models.UnloadModel(model_pb2.UnloadModelRequest(model="talker")).receipt.pid
    assert [info.reason for info in refused(lambda: list(stream)).infos] == [Reason.MODEL_UNLOADED.name]


def list_decisions(caller: Caller) -> None:
    """A load at least has been decided by then."""
    load_model(caller)
    request = supervisor_pb2.ListDecisionsRequest(model="talker", limit=3)
    decisions = caller.supervisor.ListDecisions(request).decisions
    assert 1 <= len(decisions) <= 3
    assert {decision.model for decision in decisions} == {"talker"}
    ids = [decision.id for decision in decisions]
    assert ids == sorted(ids, reverse=True)
    assert all(decision.cause and decision.time_s for decision in decisions)


def reserve_memory(caller: Caller) -> None:
    request = supervisor_pb2.ReserveMemoryRequest(device="card", size_bytes=1 << 20, ttl_s=60, label="game")
    answer = caller.supervisor.ReserveMemory(request)
    assert answer.reservation
    assert 0 <= answer.waited_s < BOUND_S
    ended = supervisor_pb2.ReleaseMemoryRequest(reservation=answer.reservation)
    assert caller.supervisor.ReleaseMemory(ended).released


def list_reservations(caller: Caller) -> None:
    """One that nobody knows the number of any more is found, and released by it."""
    request = supervisor_pb2.ReserveMemoryRequest(device="card", size_bytes=1 << 20, ttl_s=600, label="lost")
    made = caller.supervisor.ReserveMemory(request).reservation
    asked = supervisor_pb2.ListReservationsRequest()
    listed = caller.supervisor.ListReservations(asked).reservations
    (lost,) = [one for one in listed if one.label == "lost"]
    assert (lost.id, lost.device, lost.size_bytes, lost.taken_bytes) == (made, "card", 1 << 20, 0)
    assert 0 < lost.left_s <= 600
    assert caller.supervisor.ReleaseMemory(supervisor_pb2.ReleaseMemoryRequest(reservation=lost.id)).released
    after = caller.supervisor.ListReservations(asked).reservations
    assert lost.id not in {one.id for one in after}


def release_memory(caller: Caller) -> None:
    unknown = supervisor_pb2.ReleaseMemoryRequest(reservation=1 << 60)
    assert not caller.supervisor.ReleaseMemory(unknown).released


def reload_config(caller: Caller) -> None:
    answer = caller.supervisor.ReloadConfig(supervisor_pb2.ReloadConfigRequest(check_only=True))
    assert answer.file
    assert not answer.changes


def drain(caller: Caller) -> None:
    try:
        assert caller.supervisor.Drain(supervisor_pb2.DrainRequest()).running == 0
        assert caller.supervisor.GetStatus(supervisor_pb2.GetStatusRequest()).supervisor.draining
        answer = refused(lambda: list(caller.models.LoadModel(model_pb2.LoadModelRequest(model="talker"))))
        assert [info.reason for info in answer.infos] == [Reason.DRAINING.name]
    finally:
        undrain(caller)


def undrain(caller: Caller) -> None:
    caller.supervisor.Undrain(supervisor_pb2.UndrainRequest())
    assert not caller.supervisor.GetStatus(supervisor_pb2.GetStatusRequest()).supervisor.draining


CALLS: dict[str, Callable[[Caller], None]] = {
    "Generate": generate,
    "Chat": chat,
    "Embed": embed,
    "Tokenize": tokenize,
    "Detokenize": detokenize,
    "ListModels": list_models,
    "GetModel": get_model,
    "RescanModels": rescan_models,
    "LoadModel": load_model,
    "PlanLoad": plan_load,
    "SelectModel": select_model,
    "UnloadModel": unload_model,
    "UpdateModel": update_model,
    "RestartModel": restart_model,
    "ResetModel": reset_model,
    "GetStatus": get_status,
    "ListDevices": list_devices,
    "WatchEvents": watch_events,
    "TailLogs": tail_logs,
    "HoldModel": hold_model,
    "ListDecisions": list_decisions,
    "ReserveMemory": reserve_memory,
    "ListReservations": list_reservations,
    "ReleaseMemory": release_memory,
    "ReloadConfig": reload_config,
    "Drain": drain,
    "Undrain": undrain,
}


@pytest.mark.parametrize("method", CALLS)
def test_the_method_answers(caller: Caller, method: str) -> None:
    CALLS[method](caller)


@pytest.mark.parametrize("progress", [True, False])
def test_a_stream_tells_what_it_waits_for_if_it_is_asked_to(caller: Caller, progress: bool) -> None:
    unload_model(caller)
    waits = load_pb2.Scheduling(progress=progress)
    request = inference_pb2.ChatRequest(model="talker", messages=question(), limits=FEW, scheduling=waits)
    answers = list(caller.inference.Chat(request))
    told = [answer.waiting for answer in answers if answer.HasField("waiting")]
    assert bool(told) == progress
    assert all(step.message for step in told)
    assert not any(answer.HasField("waiting") for answer in answers[len(told) :])
    assert not any(answer.text or answer.token_ids for answer in answers[: len(told)])


def test_a_model_that_is_loaded_otherwise_is_reloaded_if_that_is_asked_for(caller: Caller) -> None:
    load_model(caller)
    options = load_pb2.LoadOptions(parallel=2)
    request = model_pb2.LoadModelRequest(model="talker", load=options)
    load = caller.models.LoadModel
    answer = refused(lambda: list(load(request)))
    assert [info.reason for info in answer.infos] == [Reason.MODEL_LOADED_DIFFERENTLY.name]
    request.reload = True
    assert list(load(request))[-1].resident.parallel == 2
    back = model_pb2.LoadModelRequest(model="talker", load=load_pb2.LoadOptions(parallel=4), reload=True)
    assert list(load(back))[-1].resident.parallel == 4


def test_every_method_is_among_these() -> None:
    """Shutdown is in a test of its own."""
    files = (inference_pb2, model_pb2, supervisor_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    assert {method.name for service in services for method in service.methods} == {*CALLS, "Shutdown"}
