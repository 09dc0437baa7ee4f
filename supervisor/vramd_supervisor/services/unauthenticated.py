"""Bounds calls without the token to the open methods."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vramd_common.heap import Heap
from vramd_common.reasons import Reason

from ..domain.errors import Refusal, RefusedError, refusal
from ..wire_status import Context

MOST_CALLS = 256
MOST_READING = 4
"""Each of them may send a whole message before it can be refused."""
READING_S = 0.25
"""The request of an open method comes in one piece with its head; a slow one would keep others waiting."""
MOST_REQUEST_BYTES = 64 * 1024


class UnauthenticatedCalls:
    """Counts the calls of one server."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap
        self._calls = 0
        self._reading = asyncio.Semaphore(MOST_READING)

    @asynccontextmanager
    async def one(self, context: Context, without: Refusal) -> AsyncIterator[bytes]:
        """The request of a call for as long as the call lasts; `without` says what its token lacks.

        Raises RefusedError.
        """
        if self._calls >= MOST_CALLS:
            text = f"{self._calls} calls without the token are answered already; with it there is no such limit"
            raise RefusedError(Refusal(without.reason, f"{text}: {without.message}", without.metadata))
        self._calls += 1
        try:
            yield await self._request(context, without)
        finally:
            self._calls -= 1

    async def _request(self, context: Context, without: Refusal) -> bytes:
        async with self._reading:
            reading = asyncio.ensure_future(context.read())
            try:
                # Not `wait_for`: an event loop that was held up finds the request there and the time over at once.
                await asyncio.wait({reading}, timeout=READING_S)
                if not reading.done():
                    text = f"no request came within {READING_S:g} s of a call without the token"
                    raise RefusedError(Refusal(without.reason, text, without.metadata))
                raw = reading.result()
            finally:
                reading.cancel()
        if not isinstance(raw, bytes):
            raise RefusedError(refusal(Reason.REQUEST_UNREADABLE, "the call carries no request"))
        if len(raw) > MOST_REQUEST_BYTES:
            self._heap.freed(len(raw))
            text = f"the request has {len(raw)} bytes; without the token at most {MOST_REQUEST_BYTES} are taken"
            metadata = {"bytes": str(len(raw)), "limitBytes": str(MOST_REQUEST_BYTES)}
            raise RefusedError(Refusal(Reason.PROMPT_TOO_LARGE, text, metadata))
        return raw
