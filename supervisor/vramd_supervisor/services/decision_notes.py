"""Writes down what was decided, in a thread of its own: the loop never waits for the disk. Decides nothing."""

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from ..core.decisions import Decision
from ..files.journal import Journal, Record

log = logging.getLogger(__name__)


class DecisionNotes:
    """The journal, for the loop's thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # More than that the journal would forget at once.
        self._pending: deque[tuple[float, Decision]] = deque(maxlen=journal.rows_kept)
        # One thread: what is asked of it is done in this order.
        self._thread = ThreadPoolExecutor(1, "decisions")
        self._asked = False
        """The thread is about to write all that is pending."""

    def note(self, decision: Decision) -> None:
        """Called by the loop for each decision; never waits. What comes while the thread writes is written together."""
        self._pending.append((time.time(), decision))
        if not self._asked:
            self._asked = True
            self._thread.submit(self._write).add_done_callback(_tell_of_fault)

    async def newest(self, model: str, limit: int) -> list[Record]:
        """At most so many about a model, or about all for an empty id; newest first. All noted before is among them."""
        return await asyncio.wrap_future(self._thread.submit(self._journal.newest, model, limit))

    async def close(self) -> None:
        """Returns when all that was noted is written, or cannot be."""
        await asyncio.wrap_future(self._thread.submit(self._write))

    def _write(self) -> None:
        self._asked = False
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        if batch:
            self._journal.append(batch)


def _tell_of_fault(written: "Future[None]") -> None:
    if error := written.exception():
        log.error("decisions could not be written down", exc_info=error)
