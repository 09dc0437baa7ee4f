"""What a worker answers, with the simulated engine, over its real wire."""

import os
import sys
from pathlib import Path

import grpc
import psutil
import pytest
from support.worker_process import BOUND_S, WorkerProcess, error_info
from vramd_common.rendezvous import NONCE_KEY, PROTOCOL
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.v1 import inference_pb2

MIB = 1024 * 1024


def test_hello_is_all_that_comes_on_stdout(worker: WorkerProcess) -> None:
    hello = worker.meet()
    assert (hello.protocol, hello.pid) == (PROTOCOL, worker.pid)
    assert hello.address.startswith("unix:")
    assert worker.stdout.read() == b""  # its end: the worker has closed it


def test_a_worker_can_listen_on_tcp() -> None:
    with WorkerProcess(over_tcp=True) as worker:
        assert worker.meet().address.startswith("127.0.0.1:")
        steps = list(worker.load(worker_pb2.SimulatedModel(context_tokens=128)))
        assert steps[-1].loaded.context_tokens == 128


@pytest.mark.parametrize("metadata", [(), ((NONCE_KEY, "guessed"),)])
def test_a_call_without_the_nonce_is_refused(metadata: tuple[tuple[str, str], ...], worker: WorkerProcess) -> None:
    worker.meet()
    with pytest.raises(grpc.RpcError) as unary:
        worker.stub.Tokenize(inference_pb2.TokenizeRequest(), metadata=metadata, timeout=BOUND_S)
    with pytest.raises(grpc.RpcError) as stream:
        list(worker.stub.Load(worker_pb2.WorkerLoadRequest(), metadata=metadata, timeout=BOUND_S))
    assert [error_info(refused.value).reason for refused in (unary, stream)] == ["TOKEN_INVALID"] * 2


def test_calls_before_a_load_and_a_second_load_are_refused(worker: WorkerProcess) -> None:
    worker.meet()
    with pytest.raises(grpc.RpcError) as early:
        list(worker.generate())
    assert error_info(early.value).reason == "INTERNAL"
    list(worker.load(worker_pb2.SimulatedModel(context_tokens=128)))
    with pytest.raises(grpc.RpcError) as second:
        list(worker.load(worker_pb2.SimulatedModel(context_tokens=128)))
    assert error_info(second.value).reason == "INTERNAL"
    assert list(worker.generate())[-1].HasField("finish")


def test_a_load_tells_its_progress(worker: WorkerProcess) -> None:
    worker.meet()
    *shares, last = worker.load(worker_pb2.SimulatedModel(context_tokens=128, load_s=0.1))
    assert [one.progress for one in shares] == sorted({one.progress for one in shares})
    assert shares[-1].progress == 1
    assert last.loaded == worker_pb2.WorkerLoaded(context_tokens=128)


def test_one_worker_answers_everything(worker: WorkerProcess) -> None:
    worker.ready()
    messages = list(worker.generate(max_tokens=8, threads=2))
    text = "".join(message.text for message in messages)
    ids = [one for message in messages for one in message.token_ids]
    assert len(ids) == 8
    assert [message.HasField("finish") for message in messages] == [False] * 7 + [True]
    assert messages[-1].finish.reason == inference_pb2.FINISH_REASON_LENGTH
    assert messages[-1].finish.usage.prompt_tokens == 4

    parts = [inference_pb2.ContentPart(text="a b "), inference_pb2.ContentPart(text="c")]
    chat = inference_pb2.ChatRequest(messages=[inference_pb2.ChatMessage(role="user", parts=parts)])
    answer = list(
        worker.stub.Chat(
            worker_pb2.WorkerChatRequest(request=chat, threads=1), metadata=worker.metadata, timeout=BOUND_S
        )
    )
    assert answer[-1].finish.reason == inference_pb2.FINISH_REASON_STOP
    assert answer[-1].finish.usage.prompt_tokens == 3

    ask = inference_pb2.EmbedRequest(model="m", inputs=[inference_pb2.EmbedInput(parts=parts)] * 2)
    embedded = worker.stub.Embed(worker_pb2.WorkerEmbedRequest(request=ask), metadata=worker.metadata, timeout=BOUND_S)
    assert (embedded.model, embedded.dimensions, embedded.usage.prompt_tokens) == ("m", 8, 6)
    assert [one.index for one in embedded.embeddings] == [0, 1]
    assert sum(value * value for value in embedded.embeddings[0].values) == pytest.approx(1)

    back = worker.stub.Detokenize(
        inference_pb2.DetokenizeRequest(token_ids=ids), metadata=worker.metadata, timeout=BOUND_S
    )
    assert back.text == text
    bytes_ = worker.stub.Tokenize(inference_pb2.TokenizeRequest(text="ü"), metadata=worker.metadata, timeout=BOUND_S)
    assert list(bytes_.token_ids) == [0xC3, 0xBC]
    worker.stub.SetThreads(worker_pb2.WorkerSetThreadsRequest(threads=1), metadata=worker.metadata, timeout=BOUND_S)


def test_a_refusal_names_model_and_numbers(worker: WorkerProcess) -> None:
    worker.ready()
    with pytest.raises(grpc.RpcError) as refused:
        list(worker.generate("word " * 100_000))
    info = error_info(refused.value)
    assert (info.domain, info.reason) == ("vramd", "CONTEXT_OVERFLOW")
    assert dict(info.metadata) == {"promptTokens": "100000", "contextTokens": "100000"}


def test_messages_of_many_megabytes_pass(worker: WorkerProcess) -> None:
    worker.ready()
    long = worker.stub.Tokenize(
        inference_pb2.TokenizeRequest(text="a" * 6 * MIB), metadata=worker.metadata, timeout=BOUND_S
    )
    assert len(long.token_ids) == 6 * MIB


def test_a_cancelled_call_gives_its_place_to_the_next(worker: WorkerProcess) -> None:
    worker.ready(parallel=1)
    endless = worker.generate(max_tokens=90_000)
    next(endless)
    waiting = worker.generate(max_tokens=2)
    endless.cancel()
    assert list(waiting)[-1].finish.usage.completion_tokens == 2


def test_the_first_message_leaves_before_the_second_token_exists(worker: WorkerProcess) -> None:
    worker.ready("block-after-first-token")
    blocked = worker.generate()
    assert len(next(blocked).token_ids) == 1
    assert blocked.is_active()
    blocked.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="PSS is Linux's")
def test_declared_memory_is_really_taken_also_when_others_share_libraries() -> None:
    with WorkerProcess() as worker, WorkerProcess() as second, WorkerProcess() as third:
        worker.ready(allocate_bytes=200 * MIB)
        list(worker.generate(max_tokens=64))
        process = psutil.Process(worker.pid)
        alone = share_bytes(process)
        second.meet()
        third.meet()
        shared = share_bytes(process)
        assert abs(alone - 200 * MIB) < 10 * MIB
        assert abs(shared - 200 * MIB) < 10 * MIB


def share_bytes(process: psutil.Process) -> int:
    used = process.memory_full_info()
    if sys.platform == "linux":
        return used.pss
    else:  # noqa: RET505  mypy leaves out a branch of another platform, not what follows it
        return used.uss


@pytest.mark.skipif(os.name != "posix", reason="nice and limits are Unix's")
@pytest.mark.unprivileged
def test_a_worker_claims_little(worker: WorkerProcess) -> None:
    worker.meet()
    process = psutil.Process(worker.pid)
    assert process.nice() == min(19, psutil.Process().nice() + 5)
    if sys.platform == "linux":
        assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert "NoNewPrivs:\t1" in Path(f"/proc/{worker.pid}/status").read_text()
        usual, own = (int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in ("self", worker.pid))
        assert own == max(usual, 500), "the kernel ends workers before the application"
