"""Writes decisions to the journal on another thread, so that the loop never waits for the disk."""

import logging
import time
from collections import deque
from concurrent.futures import Future

from vramd_common.reasons import Reason

from ..domain.decisions import Decision
from ..domain.errors import RefusedError, refusal
from ..files.journal import Journal, Record
from ..threads.serial_calls import NoAnswerError, SerialCalls

log = logging.getLogger(__name__)

JOURNAL_S = 6.0
"""Reading and writing take milliseconds, and some seconds while another supervisor writes."""


class DecisionWriter:
    """The journal, for the loop's thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # More than that the journal would forget at once.
        self._pending: deque[tuple[float, Decision]] = deque(maxlen=journal.rows_kept)
        # Serial: what is asked of it is done in this order.
        self._calls = SerialCalls("the journal of decisions", JOURNAL_S)
        self._asked = False
        """All that is pending is about to be written."""

    def note(self, decision: Decision) -> None:
        """Called by the loop for each decision; never waits. What comes while the thread writes is written together."""
        self._pending.append((time.time(), decision))
        if not self._asked:
            self._asked = True
            try:
                self._calls.submit(self._write).add_done_callback(_tell_of_fault)
            except NoAnswerError:  # what is pending waits for the next one
                self._asked = False

    async def newest(self, model: str, limit: int) -> list[Record]:
        """Returns the newest records about a model, or about all for an empty id; all that was noted is among them.

        Raises RefusedError where the file does not answer.
        """
        try:
            return await self._calls.run(lambda: self._journal.newest(model, limit))
        except NoAnswerError as error:
            text = f"{error}; is its drive there?"
            raise RefusedError(refusal(Reason.FILE_UNANSWERED, text, path=self._journal.path)) from None

    async def close(self) -> None:
        """Waits, bounded, until everything noted is written or cannot be."""
        try:
            await self._calls.run(self._write)
        except NoAnswerError as error:
            log.error("the last decisions are not written down: %s", error)

    def _write(self) -> None:
        self._asked = False
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        if batch:
            self._journal.append(batch)


def _tell_of_fault(written: "Future[None]") -> None:
    if error := written.exception():
        log.error("decisions could not be written down", exc_info=error)
