"""Each fault of the simulated engine shows its failure, and only that."""

import signal

import grpc
import pytest
from support.worker_process import BOUND_S, WorkerProcess, error_info
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import inference_pb2
from vramd_worker.simulated import Fault

GONE = grpc.StatusCode.UNAVAILABLE


def code_of(error: BaseException) -> grpc.StatusCode:
    assert isinstance(error, grpc.Call)
    return error.code()


@pytest.mark.parametrize(
    ("fault", "exit_code", "words"), [(Fault.EXIT_IN_LOAD, 3, b""), (Fault.OOM, -signal.SIGABRT, b"out of memory")]
)
def test_dies_in_the_load(fault: Fault, exit_code: int, words: bytes, worker: WorkerProcess) -> None:
    worker.meet()
    steps = worker.load(worker_pb2.SimulatedModel(manners=[fault.value], load_s=0.2, context_tokens=128))
    with pytest.raises(grpc.RpcError) as failed:
        list(steps)
    assert code_of(failed.value) == GONE
    assert worker.exit_code() == exit_code
    assert worker.heard(words)


def test_hangs_in_the_load(worker: WorkerProcess) -> None:
    worker.meet()
    steps = worker.load(worker_pb2.SimulatedModel(manners=[Fault.HANG_IN_LOAD.value], context_tokens=128))
    assert [next(steps).progress for _ in range(10)][-1] == pytest.approx(0.5)
    assert worker.process.poll() is None


def test_dies_in_decode(worker: WorkerProcess) -> None:
    # What has arrived and is not read when the process dies is lost.
    worker.ready(Fault.EXIT_IN_DECODE.value, tokens_per_s=2)
    stream = worker.generate(max_tokens=50)
    assert sum(len(next(stream).token_ids) for _ in range(3)) == 3
    with pytest.raises(grpc.RpcError) as failed:
        next(stream)
    assert code_of(failed.value) == GONE
    assert worker.exit_code() == 3


def test_hangs_in_decode(worker: WorkerProcess) -> None:
    worker.ready(Fault.HANG_IN_DECODE.value)
    stream = worker.generate(max_tokens=50)
    for _ in range(3):
        next(stream)
    # The engine hangs, the process does not: what needs no step is still answered.
    back = worker.stub.Tokenize(inference_pb2.TokenizeRequest(text="a"), metadata=worker.metadata, timeout=BOUND_S)
    assert list(back.token_ids) == [97]
    assert stream.is_active()
    stream.cancel()


def test_sigterm_ends_a_worker_unless_it_ignores_it() -> None:
    with WorkerProcess() as polite, WorkerProcess() as rude:
        polite.ready()
        rude.ready(Fault.IGNORE_SIGTERM.value)
        for worker in (polite, rude):
            worker.process.send_signal(signal.SIGINT)
            worker.process.terminate()
        assert polite.exit_code() == -signal.SIGTERM
        assert len(list(rude.generate(max_tokens=3))) == 3


def test_floods_stderr_and_still_answers(worker: WorkerProcess) -> None:
    worker.ready(Fault.FLOOD_STDERR.value)
    assert len(list(worker.generate(max_tokens=8))) == 8
    assert worker.heard(b"flood ")
    assert len(worker.printed) > 4 * 1024 * 1024


def test_garbage_on_stdout_ends_up_on_stderr(worker: WorkerProcess) -> None:
    worker.ready(Fault.GARBAGE_ON_STDOUT.value)
    assert worker.heard(bytes(range(256)))
    assert worker.stdout.read() == b""


def test_a_bug_is_an_incident_and_the_worker_goes_on(worker: WorkerProcess) -> None:
    worker.ready(Fault.BUG.value)
    with pytest.raises(grpc.RpcError) as failed:
        list(worker.generate())
    info = error_info(failed.value)
    assert info.reason == "INTERNAL"
    assert worker.heard(info.metadata["incidentId"].encode())
    assert worker.heard(b"RuntimeError: a simulated model with the fault 'bug'")
    assert "RuntimeError" not in str(failed.value)
    worker.stub.SetThreads(worker_pb2.WorkerSetThreadsRequest(threads=1), metadata=worker.metadata, timeout=BOUND_S)
