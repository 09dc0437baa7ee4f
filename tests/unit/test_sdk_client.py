"""The client over a real channel, against scripted answers."""

import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import vramd
from support.driven_client import Connect, Naps
from support.fake_supervisor import BOUND_S, FakeSupervisor, Refusal, Wait, answer, device, known, receipt, resident
from vramd.retry import JITTER
from vramd_common.reasons import Reason
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

CRASHED = Refusal(Reason.WORKER_CRASHED, retry_after_s=0.5)


def test_an_answer_comes_piece_by_piece(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    first, second, end = answer("Hel", "lo")
    fake.script("Chat", first, wait, second, end)
    with either.chat("talker", "Hi") as stream:
        assert next(stream) == "Hel"
        assert stream.received == "Hel"
        wait.go()
        assert list(stream) == ["lo"]
    assert (stream.text, stream.token_ids) == ("Hello", (0, 1))
    assert stream.finish == vramd.Finish("STOP", vramd.Usage(5, 2, 0.5, 1.5))


def test_the_whole_text_at_once(fake: FakeSupervisor, either: vramd.Client) -> None:
    generated = inference_pb2.GenerateResponse(finish=inference_pb2.Finish(reason=inference_pb2.FINISH_REASON_LENGTH))
    fake.script("Generate", inference_pb2.GenerateResponse(text="upon a time", token_ids=[7, 8]), generated)
    stream = either.generate("talker", "Once", seed=3, context=2048)
    assert (stream.finish.reason, stream.text, stream.token_ids) == ("LENGTH", "upon a time", (7, 8))
    request = fake.request(inference_pb2.GenerateRequest)
    assert (request.model, request.sampling.seed, request.load.context_tokens) == ("talker", 3, 2048)


def test_a_token_held_back_gives_no_empty_text(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", *answer("", "a", ""))
    stream = either.chat("talker", "Hi")
    assert list(stream) == ["a"]
    assert stream.token_ids == (0, 1, 2)


def test_leaving_the_block_ends_the_answer(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    fake.script("Chat", answer("Hel")[0], wait)
    with either.chat("talker", "Hi") as stream:
        next(stream)
        assert wait.reached.wait(BOUND_S)
    assert wait.left.wait(BOUND_S)
    assert list(stream) == []
    assert (stream.text, stream.finish.reason) == ("Hel", "CANCELLED")


def test_cancel_from_another_thread_ends_the_wait(fake: FakeSupervisor, client: vramd.Client) -> None:
    wait = Wait()
    fake.script("Chat", wait)
    stream = client.chat("talker", "Hi")

    def cancel() -> None:
        assert wait.reached.wait(BOUND_S)
        stream.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    assert list(stream) == []
    thread.join(BOUND_S)
    assert wait.left.wait(BOUND_S)


def test_an_error_in_the_middle_keeps_what_came(fake: FakeSupervisor, either: vramd.Client, naps: Naps) -> None:
    fake.script("Chat", answer("Hel")[0], Refusal(Reason.SHUTTING_DOWN, retry_after_s=2))
    stream = either.chat("talker", "Hi")
    assert next(stream) == "Hel"
    with pytest.raises(vramd.ShuttingDown):
        next(stream)
    assert stream.received == "Hel"
    with pytest.raises(vramd.ShuttingDown):
        _ = stream.text
    assert naps.seconds == []
    assert len(fake.calls) == 1


def test_an_answer_that_does_not_say_how_it_ended_is_a_fault(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Chat", answer("Hel")[0])
    with pytest.raises(vramd.Internal):
        _ = either.chat("talker", "Hi").text


def test_a_call_that_was_not_begun_is_made_again(fake: FakeSupervisor, either: vramd.Client, naps: Naps) -> None:
    fake.script("Chat", CRASHED)
    fake.script("Chat", CRASHED)
    fake.script("Chat", *answer("Hello"))
    assert either.chat("talker", "Hi").text == "Hello"
    assert len(naps.seconds) == 2
    assert all(0.5 <= seconds <= 0.5 * (1 + JITTER) for seconds in naps.seconds)


def test_a_call_is_made_three_times_at_most(fake: FakeSupervisor, either: vramd.Client, naps: Naps) -> None:
    fake.script("Embed", CRASHED)
    with pytest.raises(vramd.WorkerCrashed) as caught:
        either.embed("talker", "text")
    assert caught.value.retry_after_s == 0.5
    assert (len(fake.calls), len(naps.seconds)) == (3, 2)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(Reason.QUEUE_FULL, retry_after_s=2),  # not UNAVAILABLE: the caller decides
        Refusal(Reason.WORKER_CRASHED),  # no word that waiting helps
        Refusal(Reason.MODEL_NOT_FOUND),
    ],
)
def test_what_waiting_does_not_help_is_not_repeated(
    fake: FakeSupervisor, either: vramd.Client, naps: Naps, refusal: Refusal
) -> None:
    fake.script("Embed", refusal)
    with pytest.raises(vramd.VramdError):
        either.embed("talker", "text")
    assert (len(fake.calls), naps.seconds) == (1, [])


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.chat("nobody", "Hi").text,
        lambda client: list(client.chat("nobody", "Hi")),
        lambda client: client.status(),
        lambda client: client.load("nobody"),
        lambda client: client.hold("nobody").ready(),
    ],
)
def test_a_failure_is_told_in_few_lines(
    fake: FakeSupervisor, client: vramd.Client, call: Callable[[vramd.Client], object]
) -> None:
    """Of the program, and of the method that it called: nothing of gRPC, and no error behind the error."""
    for method in ("Chat", "GetStatus", "LoadModel", "HoldModel"):
        fake.script(method, CRASHED)
        fake.script(method, Refusal(Reason.MODEL_NOT_FOUND))
    with pytest.raises(vramd.NotFound) as caught:
        call(client)
    told = traceback.TracebackException.from_exception(caught.value)
    assert told.__cause__ is None
    assert told.__context__ is None
    assert len(told.stack) <= 5
    assert not [frame for frame in told.stack if "grpc" in frame.filename]


def test_no_wait_goes_past_the_deadline(fake: FakeSupervisor, either: vramd.Client, naps: Naps) -> None:
    fake.script("Embed", Refusal(Reason.LOAD_TIMEOUT, retry_after_s=60))
    fake.script("Chat", Refusal(Reason.LOAD_TIMEOUT, retry_after_s=60))
    with pytest.raises(vramd.LoadTimedOut):
        either.embed("talker", "text", timeout_s=30)
    with pytest.raises(vramd.LoadTimedOut):
        _ = either.chat("talker", "Hi", timeout_s=30).text
    assert (len(fake.calls), naps.seconds) == (2, [])


def test_a_timeout_ends_the_call_on_both_sides(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    fake.script("Chat", wait)
    for timeout_s in (0.2, 2.0, 20.0):  # on a busy machine it may be over before the call has come
        with pytest.raises(vramd.DeadlinePassed):
            _ = either.chat("talker", "Hi", timeout_s=timeout_s).text
        if fake.calls:
            break
    assert wait.left.wait(BOUND_S)


def test_the_timeout_of_the_client_is_that_of_its_calls(fake: FakeSupervisor, connect: Connect) -> None:
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    with connect(fake.folder.path, timeout_s=50) as client:
        client.status()
        client.status(timeout_s=500)
    left_s = [call.left_s for call in fake.calls]
    assert left_s[0] is not None
    assert left_s[1] is not None
    assert 0 < left_s[0] < 52 < left_s[1] < 502  # the two clocks are rounded differently


@pytest.mark.parametrize("timeout_s", [float("nan"), -1.0])
def test_what_is_no_duration_is_refused(either: vramd.Client, timeout_s: float) -> None:
    with pytest.raises(vramd.InvalidRequest, match="timeout_s"):
        either.status(timeout_s=timeout_s)


def test_an_endless_timeout_is_none(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    either.status(timeout_s=float("inf"))


def test_embed_tokenize_detokenize(fake: FakeSupervisor, either: vramd.Client) -> None:
    vector = inference_pb2.Embedding(index=0, values=[0.5, -0.5])
    fake.script("Embed", inference_pb2.EmbedResponse(model="m", dimensions=2, embeddings=[vector]))
    fake.script("Tokenize", inference_pb2.TokenizeResponse(token_ids=[1, 2]))
    fake.script("Detokenize", inference_pb2.DetokenizeResponse(text="ab"))
    assert either.embed("m", ["text"]).vectors == ((0.5, -0.5),)
    assert either.tokenize("m", "ab", add_special=True) == (1, 2)
    assert either.detokenize("m", (1, 2)) == "ab"
    request = fake.request(inference_pb2.TokenizeRequest)
    assert (request.add_special, request.parse_special) == (True, False)


def test_a_load_tells_its_steps(fake: FakeSupervisor, either: vramd.Client) -> None:
    loading = model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_LOADING, progress=0.5)
    queued = model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_QUEUED, message="waits for room")
    ready = model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident())
    fake.script("LoadModel", queued, loading, ready)
    steps: list[vramd.LoadProgress] = []
    loaded = either.load("talker", on_progress=steps.append, parallel=2)
    assert loaded.model == "talker"
    assert [(step.state, step.progress, step.message) for step in steps] == [
        ("QUEUED", None, "waits for room"),
        ("LOADING", 0.5, ""),
        ("READY", None, ""),
    ]


def test_a_load_without_an_end_is_a_fault(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_LOADING))
    fake.script("LoadModel", model_pb2.LoadModelResponse(state=model_pb2.MODEL_STATE_READY, resident=resident()))
    with pytest.raises(vramd.Internal):
        either.load("talker")
    assert either.load("talker").pid == 4711


def test_models_and_their_residency(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("ListModels", model_pb2.ListModelsResponse(models=[known("a"), known("b")]))
    fake.script("GetModel", model_pb2.GetModelResponse(model=known("a"), resident=resident("a")))
    fake.script("RescanModels", model_pb2.RescanModelsResponse(added=["c"], removed=["d"], known=3))
    fake.script("UnloadModel", model_pb2.UnloadModelResponse(receipt=receipt()))
    assert [model.id for model in either.models()] == ["a", "b"]
    there = either.model("a").resident
    assert there is not None
    assert there.model == "a"
    assert either.rescan() == vramd.Rescan(("c",), ("d",), 3)
    assert either.unload("a", force=True).observed_bytes == 198 << 20
    assert fake.requests("UnloadModel") == [model_pb2.UnloadModelRequest(model="a", force=True)]


def test_status_devices_and_shutdown(fake: FakeSupervisor, either: vramd.Client) -> None:
    info = supervisor_pb2.SupervisorInfo(pid=9, version="0.1.0", address="127.0.0.1:1", usable_cores=2)
    status = supervisor_pb2.GetStatusResponse(supervisor=info, devices=[device()], models=[resident()])
    fake.script("GetStatus", status)
    fake.script("ListDevices", supervisor_pb2.ListDevicesResponse(devices=[device("gpu0"), device("gpu1")]))
    fake.script("Shutdown", supervisor_pb2.ShutdownResponse())
    assert either.status().supervisor.usable_cores == 2
    assert either.resident() == either.status().models
    assert [card.id for card in either.devices()] == ["gpu0", "gpu1"]
    either.shutdown(force=True)
    assert fake.requests("Shutdown") == [supervisor_pb2.ShutdownRequest(force=True)]


def test_events_are_watched_until_the_block_is_left(fake: FakeSupervisor, either: vramd.Client) -> None:
    wait = Wait()
    evicted = supervisor_pb2.Evicted(
        model="a", cause=model_pb2.CAUSE_EVICTED_FOR_MODEL, message="least recently used", for_model="b"
    )
    event = supervisor_pb2.WatchEventsResponse(sequence=4, kind=supervisor_pb2.EVENT_KIND_EVICTION, evicted=evicted)
    fake.script("WatchEvents", event, wait)
    with either.watch(["EVICTION"], after_sequence=3) as events:
        assert next(events).detail == vramd.Evicted("a", 0, "evicted_for_model", "least recently used", "b", None)
        assert wait.reached.wait(BOUND_S)
    assert wait.left.wait(BOUND_S)
    wanted = supervisor_pb2.WatchEventsRequest(kinds=[supervisor_pb2.EVENT_KIND_EVICTION], after_sequence=3)
    assert fake.requests("WatchEvents") == [wanted]


def test_the_lines_of_a_log(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("TailLogs", *(supervisor_pb2.TailLogsResponse(line=line) for line in ("one", "two")))
    assert list(either.logs("talker", lines=2)) == ["one", "two"]


def test_without_the_token_nothing_is_told(
    fake: FakeSupervisor, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VRAMD_TOKEN", raising=False)
    monkeypatch.setenv("VRAMD_RUNTIME_DIR", str(fake.folder.path / "elsewhere"))
    for token, reason in ((None, "TOKEN_MISSING"), ("wrong", "TOKEN_INVALID")):
        with connect(address=fake.address, token=token) as client, pytest.raises(vramd.TokenRefused) as caught:
            client.status()
        assert caught.value.reason == reason


def test_a_supervisor_that_is_gone(tmp_path: Path, connect: Connect) -> None:
    with FakeSupervisor(tmp_path / "run") as fake:
        client = connect(fake.folder.path)
    with client:
        with pytest.raises(vramd.SupervisorUnreachable, match="vramd serve"):
            client.status()
        with pytest.raises(vramd.SupervisorUnreachable):
            client.on("memory", print)


def test_refusals_carry_their_details(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("RestartModel", Refusal(Reason.MODEL_NOT_FOUND, metadata={"model": "nobody"}))
    with pytest.raises(vramd.NotFound) as caught:
        either.restart("nobody")
    assert caught.value.metadata == {"model": "nobody"}


def test_an_older_supervisor(either: vramd.Client) -> None:
    with pytest.raises(vramd.Unimplemented):
        either.devices()


def test_a_reply_larger_than_grpcs_own_limit(fake: FakeSupervisor, either: vramd.Client) -> None:
    fake.script("Detokenize", inference_pb2.DetokenizeResponse(text="x" * (5 << 20)))
    assert len(either.detokenize("m", [1])) == 5 << 20


def test_a_proxy_of_the_environment_is_not_asked(fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.script("GetStatus", supervisor_pb2.GetStatusResponse())
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with vramd.Client(fake.folder.path, timeout_s=BOUND_S) as client:
        client.status()
