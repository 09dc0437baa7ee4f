"""Any message to a live supervisor: it answers, or refuses with one reason, and no process dies of it."""

import grpc
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from support.message_strategies import METHODS, raw
from support.supervisor_process import CARD, SupervisorProcess, simulated
from support.wire import Caller, Refused, refused
from vramd_proto.v1 import supervisor_pb2

SHORT, LONG = 30, 2000
EXAMPLES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
"""The short form is the same at each run, the long one is not."""

CONFIGURATION = CARD + simulated("talker", load_s=0) + simulated("other", load_s=0)
WORDS = ("talker", "other", "host", "card", "task:chat", "user", "system", "code")

ENDING = {"vramd.v1.SupervisorService/Shutdown", "vramd.v1.SupervisorService/Drain"}
"""They would end the test."""
HOLD, WATCH, TAIL = (f"vramd.v1.SupervisorService/{name}" for name in ("HoldModel", "WatchEvents", "TailLogs"))
BOUND_S = 60.0
_MOST_READ = 3


def answered(caller: Caller, name: str, request: bytes) -> None:
    """Makes a call and reads what comes at first. Raises grpc.RpcError if it is refused."""
    if not METHODS[name].server_streaming:
        unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = caller.channel.unary_unary(f"/{name}")
        unary(request, metadata=caller.metadata, timeout=BOUND_S)
        return
    stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = caller.channel.unary_stream(f"/{name}")
    call = stream(request, metadata=caller.metadata, timeout=BOUND_S)
    try:
        if name == WATCH:
            call.initial_metadata()  # says that it is accepted; it may be silent from then on
            if call.is_active():
                return
        for number, _ in enumerate(call, 1):
            if number == _MOST_READ or name == HOLD:  # a hold is silent once the model is ready
                return
    finally:
        call.cancel()


def may_be_silent(name: str, request: bytes) -> bool:
    """Whether a call need not answer: a log that is followed might say nothing until the test ends."""
    try:
        return name == TAIL and supervisor_pb2.TailLogsRequest.FromString(request).follow
    except DecodeError:
        return False


def told(error: grpc.RpcError) -> Refused:
    def fails() -> None:
        raise error

    return refused(fails)


@pytest.mark.parametrize("examples", EXAMPLES)
@pytest.mark.parametrize("name", sorted(METHODS.keys() - ENDING), ids=lambda name: name.rpartition("/")[2])
def test_any_message_is_answered_or_refused_with_one_reason(
    shared: SupervisorProcess, name: str, examples: int
) -> None:
    caller = shared.caller()

    @settings(max_examples=examples, derandomize=examples == SHORT, database=None)
    @given(raw(METHODS[name].input_type, WORDS))
    def check(request: bytes) -> None:
        if may_be_silent(name, request):
            return
        try:
            answered(caller, name, request)
        except grpc.RpcError as error:
            why = told(error)
            assert len(why.infos) == 1, why
            assert why.code not in {"UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "UNAVAILABLE"}, why

    check()


def test_no_process_has_died_of_it_and_nothing_is_a_fault(shared: SupervisorProcess) -> None:
    client = shared.client()
    assert shared.process.poll() is None
    assert not [decision for decision in client.decisions() if decision.cause == "crashed"]
    assert "Traceback" not in shared.log
    client.update("talker", pinned=False)
    for reservation in client.reservations():
        client.release(reservation)
    assert client.generate("talker", "x", max_tokens=3).text
