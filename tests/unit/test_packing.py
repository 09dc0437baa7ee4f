"""The messages that the pieces of an answer become: which leave at once, and what waits for the end of a pause."""

import asyncio
from collections.abc import Awaitable, Callable
from unittest.mock import Mock

import pytest
from vramd_common.reasons import Reason
from vramd_worker import packing
from vramd_worker.engine import Cut, EngineError, Finish, FinishReason, Piece
from vramd_worker.packing import MOST_PACKED_CHARACTERS, MOST_PACKED_TOKENS, Bell, Outbox, packed

BOUND_S = 20.0
FINISH = Finish(FinishReason.STOP, 1, 1, 0, 0)
NEVER_S = 3600.0


def piece(token: int) -> Piece:
    return Piece(str(token), (token,))


def run(test: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch, pack_s: float) -> None:
    monkeypatch.setattr(packing, "PACK_S", pack_s)
    asyncio.run(asyncio.wait_for(test(), BOUND_S))


async def put(outbox: Outbox, *pieces: Piece | EngineError) -> None:
    """From another thread, as engines do."""
    for one in pieces:
        await asyncio.to_thread(outbox.put, one)


def test_the_first_token_and_the_last_leave_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        outbox = Outbox(Bell())
        messages = aiter(outbox.messages())
        await put(outbox, piece(1))
        assert await anext(messages) == piece(1)
        rest = asyncio.ensure_future(anext(messages))
        await put(outbox, piece(2), piece(3))
        assert not rest.done(), "they wait for the end of the pause"
        await put(outbox, Piece("4", (4,), FINISH))
        assert await rest == Piece("234", (2, 3, 4), FINISH)
        assert [message async for message in messages] == []

    run(test, monkeypatch, NEVER_S)


def test_what_came_in_a_pause_leaves_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        outbox = Outbox(Bell())
        messages = aiter(outbox.messages())
        for token in range(3):  # the second round waits for a pause that is over, or for one that is not
            await put(outbox, piece(2 * token), piece(2 * token + 1))
            had: tuple[int, ...] = ()
            while had != (2 * token, 2 * token + 1):
                had += (await anext(messages)).token_ids

    run(test, monkeypatch, 0.001)


def test_a_token_that_comes_after_the_pause_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        outbox = Outbox(Bell())
        messages = aiter(outbox.messages())
        await put(outbox, piece(1))
        await anext(messages)
        rest = asyncio.ensure_future(anext(messages))
        while not outbox._awaited:  # until the pause is over, and nothing came in it
            await asyncio.sleep(0)
        outbox._pack_s = NEVER_S
        await put(outbox, piece(2))
        assert await rest == piece(2)

    run(test, monkeypatch, 0.001)


def test_every_token_comes_by_itself_to_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        outbox = Outbox(Bell(), every_token=True)
        sent = [*map(piece, range(4)), Piece("4", (4,), FINISH)]
        await put(outbox, *sent)
        assert [message async for message in outbox.messages()] == sent

    run(test, monkeypatch, NEVER_S)


def test_an_error_comes_behind_what_was_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        outbox = Outbox(Bell())
        messages = aiter(outbox.messages())
        await put(outbox, piece(1), piece(2), EngineError(Reason.INTERNAL, "no"), piece(3))
        assert await anext(messages) == Piece("12", (1, 2))
        with pytest.raises(EngineError, match="no"):
            await anext(messages)

    run(test, monkeypatch, NEVER_S)


def test_what_comes_together_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        bell = Bell()
        boxes = [Outbox(bell) for _ in range(3)]
        answers = [aiter(box.messages()) for box in boxes]
        with monkeypatch.context() as patch:
            wake = Mock(side_effect=bell._loop.call_soon_threadsafe)
            patch.setattr(bell._loop, "call_soon_threadsafe", wake)
            for wakes, sent in enumerate((piece(1), Piece("2", (2,), FINISH)), 1):
                for box in boxes:
                    box.put(sent)
                assert wake.call_count == wakes
                assert [await anext(answer) for answer in answers] == [sent] * 3
        assert [message for answer in answers async for message in answer] == []

    run(test, monkeypatch, NEVER_S)


def test_each_answer_hears_that_the_loop_is_closed() -> None:
    async def made() -> Bell:
        return Bell()

    bell = asyncio.run(made())
    for _ in range(2):
        with pytest.raises(RuntimeError):
            bell.ring(asyncio.Event())


def test_no_message_outgrows_its_bounds() -> None:
    many = list(packed([piece(1)] * (2 * MOST_PACKED_TOKENS + 1), MOST_PACKED_TOKENS))
    assert [len(one.token_ids) for one in many if isinstance(one, Piece)] == [MOST_PACKED_TOKENS] * 2 + [1]
    long = Piece("x" * MOST_PACKED_CHARACTERS, (1,))
    assert list(packed([long, piece(2), piece(3)], MOST_PACKED_TOKENS)) == [long, Piece("23", (2, 3))]
    assert list(packed([], MOST_PACKED_TOKENS)) == []


def test_how_the_prompt_was_computed_stays_with_the_first_piece() -> None:
    first = Piece("1", (1,), cuts=(Cut(64, 64),))
    assert list(packed([first, piece(2)], MOST_PACKED_TOKENS)) == [Piece("12", (1, 2), cuts=first.cuts)]
