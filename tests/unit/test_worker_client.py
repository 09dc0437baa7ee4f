"""The channel to a worker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from vramd_common.reasons import Reason
from vramd_common.replay import CUTS_KEY, MOST_REPLAYED_CHUNKS
from vramd_common.statuses import DETAILS_KEY, pack
from vramd_proto.internal.v1.worker_pb2 import WorkerBeat, WorkerCut, WorkerCuts, WorkerGenerateRequest
from vramd_proto.internal.v1.worker_pb2_grpc import WorkerServiceServicer, add_WorkerServiceServicer_to_server
from vramd_proto.v1 import inference_pb2
from vramd_supervisor.domain.errors import RefusedError
from vramd_supervisor.workers import worker_client
from vramd_supervisor.workers.breach import BreachError
from vramd_supervisor.workers.worker_client import MOST_MESSAGE_BYTES, WorkerClient

BOUND_S = 30.0


@pytest.mark.parametrize("before", [True, False])
def test_a_channel_that_is_closed_is_no_connection(tmp_path: Path, before: bool) -> None:
    async def story() -> bool:
        client = WorkerClient(f"unix:{tmp_path}/nobody", "nonce", lambda *_: None)
        if before:
            await client.close()
        connecting = asyncio.ensure_future(client.connect())
        await asyncio.sleep(0)
        await client.close()
        return await asyncio.wait_for(connecting, BOUND_S)

    assert asyncio.run(story()) is False


class Worker(WorkerServiceServicer):
    """One that misbehaves, but does not lie."""

    async def Beat(self, _request: object, context: Any) -> AsyncIterator[WorkerBeat]:
        yield WorkerBeat()
        packed = pack(Reason.INTERNAL, "a fault", {"incidentId": "1"})
        await context.abort(grpc.StatusCode[packed.code], packed.message, ((DETAILS_KEY, packed.details),))

    async def Detokenize(self, _request: object, _context: object) -> inference_pb2.DetokenizeResponse:
        return inference_pb2.DetokenizeResponse(text="x" * (MOST_MESSAGE_BYTES + 1))

    async def Generate(
        self, request: WorkerGenerateRequest, context: Any
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """Tells the chunks that the request has as those of its prompt; without them it does not end."""
        if request.HasField("resume_cuts"):
            await context.send_initial_metadata(((CUTS_KEY, request.resume_cuts.SerializeToString()),))
        yield inference_pb2.GenerateResponse(finish=inference_pb2.Finish())
        if not request.HasField("resume_cuts"):
            await asyncio.sleep(BOUND_S)


def told_by(folder: Path, story: Callable[[WorkerClient], Awaitable[None]], most_sent: int = -1) -> list[str]:
    """The breaches of such a worker in a story."""
    breaches: list[str] = []

    @asynccontextmanager
    async def client() -> AsyncIterator[WorkerClient]:
        server = grpc.aio.server(options=[("grpc.max_send_message_length", most_sent)])
        add_WorkerServiceServicer_to_server(Worker(), server)  # type: ignore[abstract]
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        client = WorkerClient(f"unix:{folder}/s", "nonce", lambda how, _: breaches.append(how))
        try:
            yield client
        finally:
            await client.close()
            await server.stop(None)

    async def run() -> None:
        async with client() as one:
            await asyncio.wait_for(story(one), BOUND_S)

    asyncio.run(run())
    return breaches


def test_a_worker_whose_beats_end_with_a_refusal_is_not_left_unwatched(tmp_path: Path) -> None:
    async def story(client: WorkerClient) -> None:
        assert [told async for told in client.beats()] == [[]]

    assert told_by(tmp_path, story) == ["it no longer tells what it does: a fault"]


@pytest.mark.parametrize("most_sent", [-1, MOST_MESSAGE_BYTES])
def test_a_reply_that_no_message_can_carry_is_refused_to_its_caller(tmp_path: Path, most_sent: int) -> None:
    async def story(client: WorkerClient) -> None:
        with pytest.raises(RefusedError) as failed:
            await client.ask("Detokenize", inference_pb2.DetokenizeRequest(token_ids=[1] * (1 << 20)))
        assert failed.value.refusal.reason is Reason.FIELD_INVALID
        assert failed.value.refusal.metadata == {"field": "token_ids"}

    assert told_by(tmp_path, story, most_sent) == []


def test_a_reply_that_is_larger_than_any_to_its_request_ends_the_process(tmp_path: Path) -> None:
    async def story(client: WorkerClient) -> None:
        with pytest.raises(BreachError):
            await client.ask("Detokenize", inference_pb2.DetokenizeRequest(token_ids=[1]))

    assert len(told_by(tmp_path, story)) == 1


def test_an_answer_is_whole_if_its_stream_does_not_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_client, "ENDS_S", 0.1)

    async def story(client: WorkerClient) -> None:
        assert len([message async for message in client.stream("Generate", WorkerGenerateRequest())]) == 1
        while client.calls:
            await asyncio.sleep(0.01)

    assert told_by(tmp_path, story) == [], "whether it hangs is told by its beats"


@pytest.mark.parametrize(
    "cuts",
    [
        [],
        [WorkerCut(tokens=64, computed=64, times=MOST_REPLAYED_CHUNKS - 1), WorkerCut(tokens=3, computed=64, times=1)],
    ],
)
def test_how_a_prompt_was_computed_is_known_with_the_first_message(tmp_path: Path, cuts: list[WorkerCut]) -> None:
    told = WorkerCuts(cuts=cuts)

    async def story(client: WorkerClient) -> None:
        answer = client.stream("Generate", WorkerGenerateRequest(resume_cuts=told))
        assert answer.cuts is None
        async for _ in answer:
            assert answer.cuts == told

    assert told_by(tmp_path, story) == []


@pytest.mark.parametrize(
    "cut",
    [
        WorkerCut(tokens=0, computed=64, times=1),
        WorkerCut(tokens=65, computed=64, times=1),
        WorkerCut(tokens=64, computed=64, times=0),
        WorkerCut(tokens=1, computed=(1 << 31) + 1, times=1),
        WorkerCut(tokens=1, computed=1, times=MOST_REPLAYED_CHUNKS + 1),
    ],
)
def test_chunks_that_no_prompt_has_end_the_process(tmp_path: Path, cut: WorkerCut) -> None:
    async def story(client: WorkerClient) -> None:
        with pytest.raises(BreachError):
            async for _ in client.stream("Generate", WorkerGenerateRequest(resume_cuts=WorkerCuts(cuts=[cut]))):
                pass

    assert len(told_by(tmp_path, story)) == 1
