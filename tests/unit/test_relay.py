"""The relay of an answer whose worker is lost: the caller has each message once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from vramd_common.reasons import Reason
from vramd_common.rendezvous import TOKEN_KEY
from vramd_proto.internal.v1.worker_pb2 import WorkerCut, WorkerCuts
from vramd_proto.v1.inference_pb2 import PROMPT_CACHE_SHARED, Finish, GenerateRequest, GenerateResponse
from vramd_supervisor.core.actions import Grant
from vramd_supervisor.domain.errors import RefusedError, refusal
from vramd_supervisor.loop import Ticket
from vramd_supervisor.services.service_inference import METHODS, Asked, InferenceService

LOST = refusal(Reason.WORKER_CRASHED_MID_STREAM, "it died", model="m", exit="killed by SIGKILL")
GRANT = Grant(1, 1, 1)
CUTS = WorkerCuts(cuts=[WorkerCut(tokens=64, computed=64, times=3)])
MESSAGES = [GenerateResponse(text="x", token_ids=[token]) for token in range(4)]
MESSAGES.append(GenerateResponse(token_ids=[4], finish=Finish()))


class Call:
    """A call to a worker that has said everything already."""

    def __init__(self) -> None:
        self.cancelled = False
        self.cuts = CUTS

    def cancel(self) -> None:
        self.cancelled = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for message in MESSAGES:
            if self.cancelled:
                raise asyncio.CancelledError
            yield message.SerializeToString()
        if self.cancelled:
            raise asyncio.CancelledError


class Context:
    """The caller's side: what has reached it, and what happens while it does."""

    def __init__(self, while_writing: Callable[[int], None]) -> None:
        self.tokens: list[int] = []
        self._while_writing = while_writing

    async def write(self, message: bytes) -> None:
        self.tokens += GenerateResponse.FromString(message).token_ids
        self._while_writing(len(self.tokens))
        await asyncio.sleep(0)


@pytest.mark.parametrize("lost_at", range(1, 6))
def test_another_worker_is_told_exactly_what_the_caller_has_had(lost_at: int) -> None:
    async def relayed() -> None:
        ticket = Ticket(1)
        asked = Asked(ticket, METHODS[0], GenerateRequest(model="m"), "", progress=False)
        context = Context(lambda tokens: ticket.interrupt(LOST) if tokens == lost_at else None)
        begun: list[Ticket] = []
        service = InferenceService(cast(Any, SimpleNamespace(loop=SimpleNamespace(streamed=begun.append))))
        ended = await service._relay(asked, cast(Any, Call()), cast(Any, context))
        assert begun == [ticket], "the core hears of the first message only"
        assert context.tokens == list(range(lost_at)) == asked.delivered.token_ids()
        assert ended == (lost_at == len(MESSAGES)), "whose last message was there has ended well"
        if ended:
            assert (asked.resumes, asked.lost) == (0, None), "nothing was to be resumed"
        else:
            assert (asked.resumes, ticket.interrupted) == (1, None)
            assert asked.lost is LOST
        assert asked.cuts == CUTS

    asyncio.run(relayed())


def test_a_whole_answer_ends_well_if_its_request_is_refused_then() -> None:
    async def relayed() -> bool:
        ticket = Ticket(1)
        ticket.outcome.set_result(GRANT)
        asked = Asked(ticket, METHODS[0], GenerateRequest(model="m"), "", progress=False)
        context = Context(lambda tokens: ticket.refuse(LOST) if tokens == len(MESSAGES) else None)
        service = InferenceService(cast(Any, SimpleNamespace(loop=SimpleNamespace(streamed=lambda _: None))))
        return await service._relay(asked, cast(Any, Call()), cast(Any, context))

    assert asyncio.run(relayed())


def test_a_request_that_is_aborted_before_it_is_waked_gets_no_worker() -> None:
    async def granted() -> None:
        ticket = Ticket(1)
        ticket.outcome.set_result(GRANT)
        ticket.refuse(LOST)
        asked = Asked(ticket, METHODS[0], GenerateRequest(model="m"), "", progress=False)
        service = InferenceService(cast(Any, SimpleNamespace(loop=None, workers=None)))
        with pytest.raises(RefusedError) as failed:
            await service._granted(asked, cast(Any, None))
        assert failed.value.refusal is LOST

    asyncio.run(granted())


def test_the_next_worker_draws_with_the_same_seed_and_has_the_tokens() -> None:
    first, again = asyncio.run(asked_again(alike=True))
    assert (first.scope, again.scope) == ("caller", "caller")
    assert (list(first.resume_token_ids), list(again.resume_token_ids)) == ([], [0])
    assert first.HasField("drawn_seed")
    assert first.drawn_seed == again.drawn_seed


def test_each_token_has_a_scope_and_the_token_is_not_in_it() -> None:
    def scope(service: InferenceService, token: str) -> str:
        metadata = ((TOKEN_KEY, f"Bearer {token}"),)
        return service._scope(cast(Any, SimpleNamespace(invocation_metadata=lambda: metadata)))

    one, other = (InferenceService(cast(Any, SimpleNamespace(loop=None))) for _ in range(2))
    assert scope(one, "secret") == scope(one, " secret") != scope(one, "other")
    assert scope(one, "secret") != scope(other, "secret"), "it cannot be computed from outside"
    assert "secret" not in scope(one, "secret")


@pytest.mark.parametrize("changed", [{"session": "b"}, {"cache": PROMPT_CACHE_SHARED}, {"every_token": True}])
def test_a_request_that_is_delivered_otherwise_is_the_same_suspect(changed: Any) -> None:
    service = InferenceService(cast(Any, SimpleNamespace(loop=None)))
    plain: Any = {"model": "m", "session": "a"}

    def mark(request: GenerateRequest) -> str:
        return service._fingerprint(METHODS[0], request)

    assert mark(GenerateRequest(**(plain | changed))) == mark(GenerateRequest(**plain))
    assert mark(GenerateRequest(**plain, show_special=True)) != mark(GenerateRequest(**plain))


def test_the_next_worker_cuts_the_prompt_as_the_last_did_if_it_is_like_that_one() -> None:
    first, again = asyncio.run(asked_again(alike=True))
    assert not first.HasField("resume_cuts")
    assert again.resume_cuts == CUTS
    _, another = asyncio.run(asked_again(alike=False))
    assert not another.HasField("resume_cuts")


@pytest.mark.parametrize(
    ("cuts", "tokens", "alike", "exact"),
    [
        (CUTS, 256, True, True),
        (CUTS, 257, True, False),
        (CUTS, 1, False, False),
        (None, 1, True, False),
        (WorkerCuts(), 1, True, True),
        (None, 0, True, True),
    ],
)
def test_an_answer_goes_on_exactly_if_all_is_computed_as_it_was(
    cuts: WorkerCuts | None, tokens: int, alike: bool, exact: bool
) -> None:
    told: list[bool] = []

    async def granted() -> None:
        ticket = Ticket(1)
        asked = Asked(ticket, METHODS[0], GenerateRequest(model="m"), "caller", progress=False)
        asked.granted(GRANT)
        asked.cuts = cuts
        if tokens:
            asked.delivered.add(GenerateResponse(token_ids=range(tokens)).SerializeToString())
        asked.interrupted(LOST)
        ticket.outcome.set_result(replace(GRANT, alike=alike))
        loop = SimpleNamespace(resumed=lambda _ticket, _tokens, *, exact: told.append(exact))
        workers = SimpleNamespace(client=lambda _: None)
        await InferenceService(cast(Any, SimpleNamespace(loop=loop, workers=workers)))._granted(asked, cast(Any, None))

    asyncio.run(granted())
    assert told == [exact]


async def asked_again(*, alike: bool) -> tuple[Any, Any]:
    """The requests to the first worker and to the next."""
    asked = Asked(Ticket(1), METHODS[0], GenerateRequest(model="m"), "caller", progress=False)
    asked.granted(replace(GRANT, alike=alike))
    first = asked.message()
    asked.delivered.add(MESSAGES[0].SerializeToString())
    asked.cuts = CUTS
    asked.interrupted(LOST)
    return first, asked.message()
