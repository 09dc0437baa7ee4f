"""Many calls over one channel, a call that is cancelled, and the end."""

import grpc
from support.supervisor_process import SupervisorProcess, until
from support.wire import CHANNEL_OPTIONS, Caller, parts
from vramd_proto.v1 import inference_pb2, model_pb2, supervisor_pb2

QUICK = 1000


def test_a_thousand_quick_calls(caller: Caller) -> None:
    """Half of them one after the other, half at once."""
    for number in range(QUICK // 2):
        request = inference_pb2.TokenizeRequest(model="talker", text=f"text {number}")
        assert caller.inference.Tokenize(request).token_ids
    asked = model_pb2.GetModelRequest(model="talker")
    calls = [caller.models.GetModel.future(asked) for _ in range(QUICK // 2)]
    assert {call.result().model.id for call in calls} == {"talker"}


def in_flight(caller: Caller, model: str) -> int:
    return caller.models.GetModel(model_pb2.GetModelRequest(model=model)).resident.in_flight


def test_a_cancelled_stream_leaves_the_model_free(caller: Caller) -> None:
    """The next request is answered although each of the others would have gone on for minutes."""
    request = inference_pb2.GenerateRequest(model="slow", prompt=parts("Once"))
    request.limits.max_tokens = 2000
    for _ in range(8):
        stream = caller.inference.Generate(request)
        assert next(stream).token_ids
        stream.cancel()
        assert stream.code() is grpc.StatusCode.CANCELLED
    request.limits.max_tokens = 2
    answers = list(caller.inference.Generate(request))
    assert answers[-1].finish.usage.completion_tokens == 2
    until("all have left", lambda: in_flight(caller, "slow") == 0)


def test_shutdown_is_answered_before_the_end() -> None:
    with SupervisorProcess() as process, grpc.insecure_channel(process.address.address, CHANNEL_OPTIONS) as channel:
        caller = Caller(channel, process.folder.token_file.read_text().strip())
        watch = caller.supervisor.WatchEvents(supervisor_pb2.WatchEventsRequest())
        watch.initial_metadata()  # says that it watches
        answer = caller.supervisor.Shutdown(supervisor_pb2.ShutdownRequest())
        assert answer == supervisor_pb2.ShutdownResponse()
        # Who watches gets the rest of the story, and its end.
        list(watch)
        assert watch.code() is grpc.StatusCode.OK
        assert process.exit_code() == 0
