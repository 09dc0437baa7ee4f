"""The pieces of one answer on their way from the engine's thread to the event loop, packed by time.

The first leaves at once, then at most one message per `PACK_S`, and the last at once. While tokens come faster than
that, the engine's thread wakes nobody: the loop comes by itself at the end of each pause.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator

from vramd_worker.engine import EngineError, Piece

PACK_S = 0.03
"""Least time between two messages of an answer, but for the last."""
MOST_PACKED_TOKENS = 256
MOST_PACKED_CHARACTERS = 16 * 1024
"""Of one message, where more has piled up behind a caller that reads slowly."""


class Bell:
    """Wakes what waits in the event loop that it was made in, once for all that is to be woken."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._rung: list[asyncio.Event] = []

    def ring(self, event: asyncio.Event) -> None:
        """Sets an event of the loop. Thread-safe; never blocks. Raises RuntimeError if the loop is closed."""
        with self._lock:
            self._rung.append(event)
            first = len(self._rung) == 1
        if first:
            try:
                self._loop.call_soon_threadsafe(self._set_all)
            except RuntimeError:
                with self._lock:
                    self._rung.clear()  # the next one is not the first, and would not be told
                raise

    def _set_all(self) -> None:
        with self._lock:
            rung, self._rung = self._rung, []
        for event in rung:
            event.set()


class Outbox:
    """Takes the pieces of one answer from any thread, and gives messages to the event loop of its bell."""

    def __init__(self, bell: Bell, every_token: bool = False) -> None:
        """`every_token` leaves each piece as it is, and sends it at once."""
        self._bell = bell
        self._loop = asyncio.get_running_loop()
        self._pack_s, self._most_tokens = (0.0, 1) if every_token else (PACK_S, MOST_PACKED_TOKENS)
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._held: list[Piece | EngineError] = []
        self._awaited = True
        """Whether the loop waits for the next piece, and not for the end of a pause."""

    def put(self, piece: Piece | EngineError) -> None:
        """Takes the next piece. Thread-safe; never blocks."""
        with self._lock:
            self._held.append(piece)
            wakes = self._awaited or isinstance(piece, EngineError) or piece.finish is not None
            self._awaited = False
        if wakes:
            self._bell.ring(self._news)

    async def messages(self) -> AsyncIterator[Piece]:
        """Yields what leaves, until the answer ends. Raises the EngineError that it ends with."""
        while True:
            await self._news.wait()
            self._news.clear()
            with self._lock:
                held, self._held = self._held, []
                self._awaited = not held
            if held:
                self._loop.call_later(self._pack_s, self._news.set)
            for piece in packed(held, self._most_tokens):
                if isinstance(piece, EngineError):
                    raise piece
                yield piece
                if piece.finish is not None:
                    return


def packed(pieces: Iterable[Piece | EngineError], most_tokens: int) -> Iterator[Piece | EngineError]:
    """Joins pieces that follow each other, as far as one message takes them."""
    joined: Piece | None = None
    for piece in pieces:
        if isinstance(piece, EngineError):
            if joined:
                yield joined
            yield piece
            return
        if joined is None:
            joined = piece
        elif len(joined.token_ids) + len(piece.token_ids) > most_tokens or len(joined.text) >= MOST_PACKED_CHARACTERS:
            yield joined
            joined = piece
        else:
            joined = Piece(joined.text + piece.text, joined.token_ids + piece.token_ids, piece.finish, joined.cuts)
    if joined:
        yield joined
