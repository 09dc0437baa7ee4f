"""Records the measured memory of loads, so that the next quotes are more accurate."""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..core.actions import Load
from ..domain.quote import DeviceBytes
from ..files.memory_book import MemoryBook
from ..quoting.learning import LearnedUsage, Observation, Place
from ..threads.serial_calls import NoAnswerError, SerialCalls
from .quotes import EngineFacts, Quotes

log = logging.getLogger(__name__)

BOOK_S = 10.0
"""Reading and writing take milliseconds, and some seconds while another supervisor writes."""
BEGIN_S = 2.0


@dataclass(frozen=True)
class LoadObservation:
    """A load that is being recorded."""

    name: str
    """Identifies this load."""
    key: str
    places: Mapping[str, Place]
    engine: Mapping[str, DeviceBytes]
    """By llama.cpp's own count."""


class UsageRecorder:
    """Writes the book on another thread and hands what was learned to the quotes."""

    def __init__(self, book: MemoryBook, quotes: Quotes) -> None:
        self._book = book
        self._quotes = quotes
        self._calls = SerialCalls("the book of what loads took", BOOK_S)
        self._beginning: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Reads what earlier supervisors have learned; waits a moment at most."""
        self._beginning = asyncio.create_task(self._learn(lambda: None))
        await asyncio.wait([self._beginning], timeout=BEGIN_S)

    async def _learn(self, write: Callable[[], None]) -> None:
        def work() -> LearnedUsage:
            write()
            return self._book.lessons()

        try:
            self._quotes.lessons = await self._calls.run(work)
        except NoAnswerError as error:
            log.warning("nothing is learned from loads: %s", error)

    def lesson(self, action: Load, facts: EngineFacts, engine: Mapping[str, DeviceBytes]) -> LoadObservation | None:
        """Begins a record; None for a load that teaches nothing."""
        quote = action.plan.quote
        if not quote.key or not engine:
            return None
        return LoadObservation(uuid.uuid4().hex, quote.key, self._quotes.places(engine, facts), engine)

    async def observed(self, lesson: LoadObservation, taken: Mapping[str, int | None]) -> None:
        """Records the memory of a load that is ready."""
        seen = [
            Observation(lesson.places[device], need.engine_bytes, taken.get(device))
            for device, need in lesson.engine.items()
        ]
        await self._learn(lambda: self._book.record(lesson.name, lesson.key, seen))

    async def exhausted(self, action: Load, facts: EngineFacts) -> None:
        """Records that a load ran out of memory although it fit, so that its next quote is larger."""
        device, key = action.plan.settings.device, action.plan.quote.key
        if key:
            place = self._quotes.places({device}, facts)[device]
            await self._learn(lambda: self._book.bump(key, place.device))
