"""Remembers what loads really took, so that the next quote is nearer the truth. Decides nothing."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.actions import Load
from ..core.learning import Lessons, Observation, Place
from ..core.quote import DeviceBytes
from ..files.memory_book import MemoryBook
from .quotes import EngineFacts, Quotes


@dataclass(frozen=True)
class Lesson:
    """One load that is being remembered."""

    name: str
    """Of this load and no other."""
    key: str
    places: Mapping[str, Place]
    engine: Mapping[str, DeviceBytes]
    """By llama.cpp's own count."""


class Teacher:
    """Writes the book in a thread, and hands what it teaches to the quotes."""

    def __init__(self, book: MemoryBook, quotes: Quotes) -> None:
        self._book = book
        self._quotes = quotes

    async def begin(self) -> None:
        """Reads what earlier supervisors have learned."""
        self._quotes.lessons = await asyncio.to_thread(self._book.lessons)

    def lesson(self, action: Load, facts: EngineFacts, engine: Mapping[str, DeviceBytes]) -> Lesson | None:
        """The start of remembering; None for a load that teaches nothing."""
        quote = action.plan.quote
        if not quote.key or not engine:
            return None
        return Lesson(uuid.uuid4().hex, quote.key, self._quotes.places(engine, facts), engine)

    async def observed(self, lesson: Lesson, taken: Mapping[str, int | None]) -> None:
        """A load takes this now; may be told again, the most counts."""
        seen = [
            Observation(lesson.places[device], need.engine_bytes, taken.get(device))
            for device, need in lesson.engine.items()
        ]
        self._quotes.lessons = await asyncio.to_thread(self._record, lesson, seen)

    def _record(self, lesson: Lesson, seen: list[Observation]) -> Lessons:
        self._book.record(lesson.name, lesson.key, seen)
        return self._book.lessons()

    async def exhausted(self, action: Load, facts: EngineFacts) -> None:
        """A load ran out of memory although it had its room: the next quote for it is larger."""
        device, key = action.plan.settings.device, action.plan.quote.key
        if key:
            place = self._quotes.places({device}, facts)[device]
            await asyncio.to_thread(self._book.bump, key, place.device)
            await self.begin()
