"""The service over a real channel, with an engine that does what the test says, when it says so."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import grpc
import psutil
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from vramd_common.reasons import Reason
from vramd_common.rendezvous import NONCE_KEY
from vramd_proto.internal.v1 import worker_pb2
from vramd_proto.internal.v1.worker_pb2_grpc import WorkerServiceStub, add_WorkerServiceServicer_to_server
from vramd_proto.v1 import inference_pb2
from vramd_worker import service_worker
from vramd_worker.engine import (
    Activity,
    Emit,
    Engine,
    EngineError,
    Finish,
    FinishReason,
    Job,
    Loaded,
    Piece,
    Task,
    Vectors,
)
from vramd_worker.loading import Loading
from vramd_worker.service_worker import WorkerService

if TYPE_CHECKING:  # the generated stubs alone know this class
    from vramd_proto.internal.v1.worker_pb2_grpc import WorkerServiceAsyncStub

BOUND_S = 60.0
NONCE = ((NONCE_KEY, "n"),)
END = Piece("", (), Finish(FinishReason.STOP, 1, 1, 0, 0))


class ToldTask:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.cancelled = asyncio.Event()

    def cancel(self) -> None:
        self._loop.call_soon_threadsafe(self.cancelled.set)


class ToldEngine:
    """Notes what it is asked, in order; a test takes the `Emit` of a job and speaks."""

    def __init__(self, load: Callable[[Callable[[float], None]], Loaded] | None = None) -> None:
        self.asked: list[object] = []
        self.emits: asyncio.Queue[Emit] = asyncio.Queue()
        self.task = ToldTask(asyncio.get_running_loop())
        self._load = load

    def load(self, progress: Callable[[float], None]) -> Loaded:
        return self._load(progress) if self._load is not None else Loaded(10)

    def generate(self, job: Job, emit: Emit) -> Task:
        self.asked.append(job)
        self.emits.put_nowait(emit)
        return self.task

    def embed(self, texts: Sequence[str], done: Callable[[Vectors | EngineError], None]) -> Task:
        self.asked.append(tuple(texts))
        done(EngineError(Reason.EMBEDDING_UNSUPPORTED, "it gives none"))
        return self.task

    def tokenize(
        self, text: str, add_special: bool, parse_special: bool, done: Callable[[Sequence[int] | EngineError], None]
    ) -> Task:
        self.asked.append((text, add_special, parse_special))
        done([1])
        return self.task

    def detokenize(self, token_ids: Sequence[int], done: Callable[[bytes | EngineError], None]) -> Task:
        done(b"caf\xc3")
        return self.task

    def set_threads(self, threads: int) -> None:
        self.asked.append(threads)

    def activities(self) -> Sequence[Activity]:
        return (Activity("decode", True, 7, 0.5),)


@asynccontextmanager
async def served(engine: ToldEngine, folder: Path) -> AsyncIterator["WorkerServiceAsyncStub"]:
    server = grpc.aio.server()
    add_WorkerServiceServicer_to_server(WorkerService("n", lambda _spec, _threads: engine), server)
    server.add_insecure_port(f"unix:{folder}/s")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{folder}/s") as channel:
            stub: WorkerServiceAsyncStub = WorkerServiceStub(channel)
            yield stub
    finally:
        await server.stop(None)


async def load(stub: "WorkerServiceAsyncStub") -> list[worker_pb2.WorkerLoadResponse]:
    request = worker_pb2.WorkerLoadRequest(model="m", simulated=worker_pb2.SimulatedModel())
    return [step async for step in stub.Load(request, metadata=NONCE, timeout=BOUND_S)]


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, BOUND_S)

    asyncio.run(bounded())


async def reason_of(call: Awaitable[object]) -> tuple[str, dict[str, str], str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    ((_, packed),) = failed.value.trailing_metadata()
    assert isinstance(packed, bytes)
    info = ErrorInfo()
    assert Status.FromString(packed).details[0].Unpack(info)
    return info.reason, dict(info.metadata), failed.value.details() or ""


def asked_for(text: str, threads: int = 0) -> worker_pb2.WorkerGenerateRequest:
    prompt = [inference_pb2.ContentPart(text=text)]
    return worker_pb2.WorkerGenerateRequest(request=inference_pb2.GenerateRequest(prompt=prompt), threads=threads)


def test_threads_are_set_before_the_job_and_left_alone_at_zero(tmp_path: Path) -> None:
    async def test() -> None:
        engine = ToldEngine()
        async with served(engine, tmp_path) as stub:
            await load(stub)
            for threads in (3, 0):
                call = stub.Generate(asked_for("a", threads), metadata=NONCE)
                (await engine.emits.get())(END)
                assert len([message async for message in call]) == 1
            await stub.SetThreads(worker_pb2.WorkerSetThreadsRequest(threads=5), metadata=NONCE)
        assert engine.asked == [3, Job("a"), Job("a"), 5]

    run(test())


def test_each_piece_leaves_before_the_next_exists(tmp_path: Path) -> None:
    async def test() -> None:
        engine = ToldEngine()
        async with served(engine, tmp_path) as stub:
            await load(stub)
            call = stub.Generate(asked_for("a"), metadata=NONCE)
            emit = await engine.emits.get()
            messages = aiter(call)
            for token in range(3):
                emit(Piece(str(token), (token,)))
                assert (await anext(messages)).text == str(token)
            emit(END)
            assert (await anext(messages)).HasField("finish")

    run(test())


def test_an_error_in_the_middle_ends_the_stream_with_its_reason(tmp_path: Path) -> None:
    async def test() -> None:
        engine = ToldEngine()
        async with served(engine, tmp_path) as stub:
            await load(stub)
            call = stub.Generate(asked_for("a"), metadata=NONCE)
            emit = await engine.emits.get()
            emit(Piece("some", (1,)))
            emit(EngineError(Reason.CHAT_TEMPLATE_UNUSABLE, "no"))
            messages = aiter(call)
            assert (await anext(messages)).text == "some"
            assert await reason_of(anext(messages)) == ("CHAT_TEMPLATE_UNUSABLE", {"model": "m"}, "no")

    run(test())


def test_a_client_that_leaves_cancels_the_task(tmp_path: Path) -> None:
    async def test() -> None:
        engine = ToldEngine()
        async with served(engine, tmp_path) as stub:
            await load(stub)
            call = stub.Generate(asked_for("a"), metadata=NONCE)
            await engine.emits.get()
            assert not engine.task.cancelled.is_set()
            call.cancel()
            await engine.task.cancelled.wait()

    run(test())


def test_a_refused_embedding_names_the_model(tmp_path: Path) -> None:
    async def test() -> None:
        engine = ToldEngine()
        async with served(engine, tmp_path) as stub:
            await load(stub)
            call = stub.Embed(worker_pb2.WorkerEmbedRequest(threads=2), metadata=NONCE)
            assert await reason_of(call) == ("EMBEDDING_UNSUPPORTED", {"model": "m"}, "it gives none")
        assert engine.asked == [2, ()]

    run(test())


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    async def test() -> None:
        engine = ToldEngine()
        async with served(engine, tmp_path) as stub:
            await load(stub)
            assert (await stub.Detokenize(inference_pb2.DetokenizeRequest(), metadata=NONCE)).text == "caf\ufffd"
            await stub.Tokenize(inference_pb2.TokenizeRequest(text="t", parse_special=True), metadata=NONCE)
        assert engine.asked == [("t", False, True)]

    run(test())


def test_progress_is_passed_on_by_the_hundredth(tmp_path: Path) -> None:
    def of_many_tensors(progress: Callable[[float], None]) -> Loaded:
        for tensor in range(5000):
            progress((tensor + 1) / 5000)
        return Loaded(10)

    async def test() -> None:
        async with served(ToldEngine(of_many_tensors), tmp_path) as stub:
            *shares, last = await load(stub)
        assert 50 <= len(shares) <= 100
        assert last.loaded == worker_pb2.WorkerLoaded(context_tokens=10)

    run(test())


def test_beats_tell_how_far_a_load_is_and_then_what_the_engine_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_worker, "BEAT_S", 0.01)
    goes_on = threading.Semaphore(0)

    def in_parts(progress: Callable[[float], None]) -> Loaded:
        for part in range(2):
            assert goes_on.acquire(timeout=BOUND_S)
            progress(part / 2)
        assert goes_on.acquire(timeout=BOUND_S)
        return Loaded(10)

    async def test() -> None:
        async with served(ToldEngine(in_parts), tmp_path) as stub:
            beats = stub.Beat(worker_pb2.WorkerBeatRequest(), metadata=NONCE)

            async def beat(holds: Callable[[list[worker_pb2.WorkerActivity]], bool]) -> int:
                """Waits for a beat of which this holds; returns the steps of its first thread."""
                async for one in beats:
                    if holds(list(one.activities)):
                        return one.activities[0].steps if one.activities else 0
                raise AssertionError("no more beats")

            await beat(lambda threads: not threads)
            loading = asyncio.ensure_future(load(stub))
            steps = await beat(lambda threads: [(one.name, one.at_work) for one in threads] == [("load", True)])
            goes_on.release()
            await beat(lambda threads: threads[0].steps > steps)
            goes_on.release(2)
            await loading
            await beat(
                lambda threads: [(one.name, one.at_work) for one in threads] == [("load", False), ("decode", True)]
            )
            assert (await anext(aiter(beats))).activities[1].step_s == 0.5

    run(test())


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (EngineError(Reason.MODEL_FILE_INVALID, "no GGUF"), ("MODEL_FILE_INVALID", "no GGUF")),
        (ValueError("a secret"), ("INTERNAL", "a fault of vramd")),
    ],
)
def test_a_load_that_fails_says_why(failure: Exception, expected: tuple[str, str], tmp_path: Path) -> None:
    def failing(_progress: Callable[[float], None]) -> Loaded:
        raise failure

    async def test() -> None:
        async with served(ToldEngine(failing), tmp_path) as stub:
            reason, _, message = await reason_of(load(stub))
            assert (reason, message[:16]) == (expected[0], expected[1])
            assert "secret" not in message
            assert (await reason_of(anext(aiter(stub.Generate(asked_for("a"), metadata=NONCE)))))[0] == "INTERNAL"

    run(test())


def test_a_text_that_no_reply_can_carry_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with served(ToldEngine(), tmp_path) as stub:
            await load(stub)
            request = inference_pb2.DetokenizeRequest(token_ids=[1])
            assert (await stub.Detokenize(request, metadata=NONCE)).text == "caf\ufffd"
            monkeypatch.setattr(service_worker, "MOST_MESSAGE_BYTES", service_worker.SPARE_BYTES + 5)
            reason, metadata, _ = await reason_of(stub.Detokenize(request, metadata=NONCE))
            assert (reason, metadata["field"]) == ("FIELD_INVALID", "token_ids"), "three and three bytes"

    run(test())


@pytest.mark.parametrize("fault", [psutil.AccessDenied(), OSError(), AttributeError()])
def test_a_load_tells_what_it_does_where_the_bytes_read_are_not_told(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> NoReturn:
        raise fault

    monkeypatch.setattr(psutil, "Process", fails)
    assert Loading(cast(Engine, None)).activity() == Activity("load", True, 0)
